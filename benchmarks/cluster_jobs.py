"""How many jobs a cluster gets for a cohort: `python benchmarks/cluster_jobs.py --slides 10000`.

A dry run plans the groups of jobs too, and shows none of them; so they are counted where they are
made. The peer is one submission a job.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from dry_run import ROOT, make_cohort
from snakemake.cli import main as snakemake
from snakemake.dag import DAG


def main() -> None:
    """Plan one cohort with profiles/slurm and print the cluster jobs of each group and rule."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=10_000)
    slides = parser.parse_args().slides
    counted: Counter[str] = Counter()
    jobs, seconds = 0, 0.0
    original = DAG.update_groups

    def update_groups(dag: DAG) -> None:
        nonlocal jobs, seconds
        start = time.perf_counter()
        original(dag)
        seconds = time.perf_counter() - start
        counted.clear()
        groups = {id(group): group for group in dag._group.values()}.values()
        counted.update(re.match("[a-z]+", group.groupid)[0] for group in groups)
        for group in groups:  # each with slides that follow each other in the table
            slides = sorted({int(job.wildcards.slide[1:]) for job in group.jobs
                             if hasattr(job.wildcards, "slide")})  # fmt: skip
            assert slides == list(range(slides[0], slides[-1] + 1)) if slides else True, slides
        alone = [job for job in dag.needrun_jobs() if job.group is None and job.rule.script]
        counted.update(job.rule.name for job in alone)
        jobs = len(alone) + sum(len(group.jobs) for group in groups)

    DAG.update_groups = update_groups
    with tempfile.TemporaryDirectory() as name:
        make_cohort(Path(name), slides, experiments=3)
        os.chdir(name)
        arguments = ["-s", ROOT / "Snakefile", "--profile", ROOT / "profiles/slurm", "-n", "-q"]
        try:
            snakemake([*map(str, arguments), "all"])
        except SystemExit as end:
            if end.code:
                raise
    for what, number in counted.most_common():
        print(f"{number:8} {what}")
    print(f"{sum(counted.values()):8} cluster jobs for {jobs} jobs; grouped in {seconds:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
