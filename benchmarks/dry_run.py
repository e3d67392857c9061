"""Time and memory of planning a cohort: `python benchmarks/dry_run.py --slides 100 1000 10000`.

Slides are empty files, since planning opens none. The peer is the number of jobs: Snakemake's cost
grows with it, so the table gives seconds for 1,000 jobs too. CPU seconds are what travels from a
busy machine to an idle one. `--checkout` plans with the rules of another checkout.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
HEADS = ("adversarial", "cox", "nll", "time")


@dataclass(frozen=True)
class Planned:
    """What one dry run cost: jobs it counted, seconds, seconds of a core, largest MB."""

    jobs: int
    seconds: float
    cpu: float
    megabytes: float


def make_cohort(folder: Path, slides: int, experiments: int) -> None:
    """Write tables, empty slides and a configuration: one slide a patient, five folds."""
    (folder / "slides").mkdir()
    with open(folder / "slides.csv", "w") as table, open(folder / "patients.csv", "w") as patients:
        table.write("slide_id,patient_id,path\n")
        patients.write("patient_id,time,event\n")
        for i in range(slides):
            path = folder / f"slides/S{i:05}.svs"
            path.touch()
            table.write(f"S{i:05},P{i:05},{path}\n")
            patients.write(f"P{i:05},{i % 97 + 1},{i % 2}\n")
    entries = [
        {"name": f"abmil-{i:02}", "model": "abmil", "head": HEADS[i % len(HEADS)]}
        for i in range(experiments)
    ]
    config = {"slides": "slides.csv", "patients": "patients.csv", "experiments": entries}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def plan(folder: Path, checkout: Path) -> Planned:
    """Make a dry run in a folder with the rules of a checkout."""
    command = [sys.executable, "-m", "snakemake", "-s", str(checkout / "Snakefile"), "-n"]
    start = time.perf_counter()
    with open(folder / "plan.txt", "w+") as said:
        process = subprocess.Popen(
            [*command, "--cores", "2", "--quiet", "rules"], cwd=folder, stdout=said, stderr=said
        )
        _, status, used = os.wait4(process.pid, 0)  # of this process alone, unlike getrusage
        seconds = time.perf_counter() - start
        said.seek(0)
        text = said.read()
    found = re.search(r"^total\s+(\d+)$", text, re.MULTILINE)
    if status or not (found or "Nothing to be done" in text):
        raise SystemExit(text[-3000:])
    jobs = int(found[1]) if found else 0
    return Planned(jobs, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main() -> None:
    """Plan cohorts and print what each cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--experiments", type=int, nargs="+", default=[3])
    parser.add_argument("--checkout", type=Path, default=ROOT)
    chosen = parser.parse_args()
    print(
        f"{'slides':>8} {'experiments':>11} {'jobs':>8} {'seconds':>8} {'CPU s':>8} {'MB':>8} "
        f"{'CPU s/1,000 jobs':>17}"
    )
    for experiments in chosen.experiments:
        for slides in chosen.slides:
            with tempfile.TemporaryDirectory() as name:
                make_cohort(Path(name), slides, experiments)
                its = plan(Path(name), chosen.checkout)
            print(
                f"{slides:8} {experiments:11} {its.jobs:8} {its.seconds:8.1f} {its.cpu:8.1f} "
                f"{its.megabytes:8.0f} {1000 * its.cpu / its.jobs:17.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
