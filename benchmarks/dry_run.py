"""Time and memory of planning a cohort of any size: `python benchmarks/dry_run.py --slides 10000`.

Slides are empty files, since planning opens none. The peer is the number of jobs: Snakemake's cost
grows with it, so the table gives seconds and megabytes for 1,000 jobs too.
"""

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def make_cohort(folder: Path, slides: int) -> None:
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
    experiments = [
        {"name": f"abmil-{head}", "model": "abmil", "head": head}
        for head in ("adversarial", "cox", "nll")
    ]
    config = {"slides": "slides.csv", "patients": "patients.csv", "experiments": experiments}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def main() -> None:
    """Plan one cohort and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=10_000)
    slides = parser.parse_args().slides
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_cohort(folder, slides)
        command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-n"]
        start = time.perf_counter()
        result = subprocess.run(
            [*command, "--cores", "2", "--quiet", "rules"],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - start
    text = result.stdout + result.stderr
    found = re.search(r"^total\s+(\d+)$", text, re.MULTILINE)
    if result.returncode or not found:
        raise SystemExit(text[-3000:])
    jobs = int(found[1])
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{'slides':>8} {'jobs':>8} {'seconds':>8} {'MB':>8} {'s/1,000 jobs':>13}")
    print(f"{slides:8} {jobs:8} {seconds:8.1f} {megabytes:8.0f} {1000 * seconds / jobs:13.2f}")


if __name__ == "__main__":
    main()
