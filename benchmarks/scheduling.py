"""What Snakemake's own choosing costs: `python benchmarks/scheduling.py --slides 100 300`.

The real workflow, planned and driven by Snakemake on 64 CPU and 8 GPU slots, with jobs that only
wait (benchmarks/pretend) for the seconds of `makespan.py` divided by `--faster`. CPU seconds are of
Snakemake alone; those of a dry run are subtracted, the rest is what it does for each job.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dry_run import ROOT, make_cohort, plan
from makespan import seconds_of_slide

RULES = {
    "find_tissue": "tissue",
    "make_patches": "patches",
    "extract_features": "features",
    "build_graph": "graphs",
    "cluster_patches": "clusters",
}
CPU, GPU = 64, 8


def run(folder: Path, checkout: Path, faster: float, more: list[str]) -> tuple[float, float]:
    """Let Snakemake run the cohort of a folder; return seconds and CPU seconds."""
    stages = seconds_of_slide(500, rate=500)
    drawn = {rule: [s / faster for s in stages[stage]] for rule, stage in RULES.items()}
    (folder / "seconds.json").write_text(json.dumps(drawn))
    plugins = Path(__file__).parent / "pretend"
    slots = ["--cores", str(CPU + GPU), "--resources", f"gpu={GPU}"]  # a GPU job has a core
    command = [sys.executable, "-m", "snakemake", "-s", str(checkout / "Snakefile")]
    start = time.perf_counter()
    with open(folder / "run.txt", "w+") as said:
        process = subprocess.Popen(
            [*command, "--executor", "pretend", *slots, *more],
            cwd=folder,
            stdout=said,
            stderr=said,
            env={**os.environ, "PYTHONPATH": str(plugins), "PRETEND": "seconds.json"},
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        said.seek(0)
        text = said.read()
    if status or "Exception" in text:
        raise SystemExit(text[-3000:])
    return seconds, used.ru_utime + used.ru_stime


def main() -> None:
    """Run cohorts and print what each cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--faster", type=float, default=50.0)
    parser.add_argument("--checkout", type=Path, default=ROOT)
    parser.add_argument("--more", nargs="*", default=[], help="further arguments of snakemake")
    chosen = parser.parse_args()
    print(f"{'slides':>7} {'jobs':>7} {'seconds':>8} {'CPU s':>7} {'CPU ms a job':>12}")
    for slides in chosen.slides:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_cohort(folder, slides, 3)
            planned = plan(folder, chosen.checkout)
            seconds, cpu = run(folder, chosen.checkout, chosen.faster, chosen.more)
            again = plan(folder, chosen.checkout)
        each = 1000 * (cpu - planned.cpu) / planned.jobs
        print(f"{slides:7} {planned.jobs:7} {seconds:8.1f} {cpu:7.1f} {each:12.1f}", flush=True)
        print(f"{'':7} plan before: {planned.cpu:.1f} CPU s; after: {again.jobs} jobs, "
              f"{again.cpu:.1f} CPU s, {again.megabytes:.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
