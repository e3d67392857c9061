"""What a job costs that has nothing to do: `python benchmarks/job_start.py`.

A cohort of empty files: no slide opens, and every stage behind only passes that outcome on. Whole
runs of the real workflow on one core are timed, with few slides and with more; the difference is
that of the jobs. It has all of it: Snakemake's choosing and recording, its script, Python's start,
imports, the child process, files written. CPU seconds are what an idle machine takes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from dry_run import ROOT, make_cohort

STAGES = ("find_tissue", "make_patches", "extract_features", "build_graph", "cluster_patches")


def run(slides: int, checkout: Path, targets: list[str]) -> tuple[float, float, dict[str, float]]:
    """Return seconds and CPU seconds of a run, and the least seconds of a job of each stage."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_cohort(folder, slides, 1)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config |= {"max_failed_slides": 1.0, "features": {"weights": "random"}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "snakemake", "-s", str(checkout / "Snakefile")]
        start = time.perf_counter()
        with open(folder / "run.txt", "w+") as said:
            process = subprocess.Popen(
                [*command, "--cores", "1", *targets], cwd=folder, stdout=said, stderr=said
            )
            _, status, used = os.wait4(process.pid, 0)  # with its children
            seconds = time.perf_counter() - start
            said.seek(0)
            if status:
                raise SystemExit(said.read()[-3000:])
        least = {}
        for stage in STAGES:
            tables = (folder / "results/benchmarks" / stage).rglob("*.tsv")
            least[stage] = min(float(t.read_text().splitlines()[1].split("\t")[0]) for t in tables)
    return seconds, used.ru_utime + used.ru_stime, least


def main() -> None:
    """Time two runs and print what one job more costs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, nargs=2, default=[2, 22])
    parser.add_argument("--checkout", type=Path, default=ROOT)
    chosen = parser.parse_args()
    (few, cpu_few, _), (many, cpu_many, least) = (
        run(slides, chosen.checkout, ["graphs", "clusters"]) for slides in chosen.slides
    )
    jobs = len(STAGES) * (chosen.slides[1] - chosen.slides[0])
    print(f"a job more: {(many - few) / jobs:.2f} s, {(cpu_many - cpu_few) / jobs:.2f} CPU s")
    for stage, seconds in least.items():
        print(f"  {stage:>16}: script and stage {seconds:.2f} s (least of {chosen.slides[1]})")


if __name__ == "__main__":
    main()
