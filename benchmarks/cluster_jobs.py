"""How many jobs a cluster gets for a cohort: `python benchmarks/cluster_jobs.py --slides 10000`.

A dry run plans the groups of jobs too, and shows none of them; so they are counted where they are
made. The peer is one submission a job. `--further 2000` has the models predict a further cohort of
so many slides too, and tries how robust they are (occlusion, and one level each of blur and stain).
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml
from dry_run import ROOT, make_cohort
from snakemake.cli import main as snakemake
from snakemake.dag import DAG


def ask_for_more(slides: range) -> None:
    """Have the configuration of this folder ask for a further cohort, and for robustness."""
    with open("further.csv", "w") as table, open("further_patients.csv", "w") as patients:
        table.write("slide_id,patient_id,path\n")
        patients.write("patient_id,time,event\n")
        for i in slides:
            Path(f"slides/S{i:05}.svs").touch()
            table.write(f"S{i:05},P{i:05},slides/S{i:05}.svs\n")
            patients.write(f"P{i:05},{i % 97 + 1},{i % 2}\n")
    config = yaml.safe_load(Path("config.yaml").read_text())
    further = {"name": "further", "slides": "further.csv", "patients": "further_patients.csv"}
    names = [entry["name"] for entry in config["experiments"]]
    config["predict"] = [further]
    config["robustness"] = {"experiments": names, "blur": ["light"], "hed": ["light"]}
    Path("config.yaml").write_text(yaml.safe_dump(config))


def main() -> None:
    """Plan one cohort with profiles/slurm and print the cluster jobs of each group and rule."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=10_000)
    parser.add_argument("--further", type=int, default=0)
    chosen = parser.parse_args()
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
        make_cohort(Path(name), chosen.slides, experiments=3)
        os.chdir(name)
        if chosen.further:
            ask_for_more(range(chosen.slides, chosen.slides + chosen.further))
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
