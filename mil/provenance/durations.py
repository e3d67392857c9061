"""How long the jobs of a run took, from the tables that the workflow measured them with."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from mil.table_writer import write_table


@dataclass(frozen=True)
class Job:
    """One job, as it ran last.

    Attributes
    ----------
    rule : its rule.
    job : its wildcards as in the names of the files, e.g. ``abmil-cox/fold0``; may be empty.
    seconds, max_rss_mb : wall time and largest resident memory; memory is empty for short jobs.
    ended : when, seconds since 1970.
    """

    rule: str
    job: str
    seconds: float
    max_rss_mb: str
    ended: float

    @property
    def started(self) -> float:
        """When it began, seconds since 1970."""
        return self.ended - self.seconds


@dataclass(frozen=True)
class RuleTime:
    """What the jobs of a rule took together; times of the first start and of the last end."""

    rule: str
    jobs: int
    seconds: float
    median: float
    longest: float
    started: float
    ended: float


def read_jobs(benchmarks: Path) -> list[Job]:
    """Return the jobs measured below ``benchmarks`` as each ran last, by rule and name."""
    jobs = []
    for path in sorted(benchmarks.rglob("*.tsv")):
        rule, _, job = path.relative_to(benchmarks).with_suffix("").as_posix().partition("/")
        with open(path, newline="") as table:
            rows = list(csv.DictReader(table, delimiter="\t"))
        if rows:  # a job that was killed leaves none
            last = rows[-1]
            memory = last["max_rss"] if last["max_rss"] not in ("", "-", "NA", "0.00") else ""
            jobs.append(Job(rule, job, float(last["s"]), memory, path.stat().st_mtime))
    return jobs


def by_rule(jobs: Sequence[Job]) -> list[RuleTime]:
    """Return a line for each rule, in the order in which the rules began."""
    rules: dict[str, list[Job]] = {}
    for job in jobs:
        rules.setdefault(job.rule, []).append(job)
    times = [
        RuleTime(
            rule=rule,
            jobs=len(its),
            seconds=sum(job.seconds for job in its),
            median=median(job.seconds for job in its),
            longest=max(job.seconds for job in its),
            started=min(job.started for job in its),
            ended=max(job.ended for job in its),
        )
        for rule, its in rules.items()
    ]
    return sorted(times, key=lambda time: (time.started, time.rule))


def write_jobs(path: Path, jobs: Sequence[Job]) -> None:
    """Write ``rule,job,seconds,max_rss_mb,ended``."""
    columns = ["rule", "job", "seconds", "max_rss_mb", "ended"]
    rows = [[j.rule, j.job, f"{j.seconds:.2f}", j.max_rss_mb, moment(j.ended)] for j in jobs]
    write_table(path, columns, rows)


def moment(seconds: float) -> str:
    """Return a time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
