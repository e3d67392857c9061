"""A copy of the checkout with a small demo cohort, run once for all tests of the workflow.

The copy is run as a user would run it, so tests may change its slides, tables and code.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from demo.cohort import make_cohort

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "rules", "workflow_scripts", "wsi", "mil", "schemas", "envs", "report",
         "profiles", "CITATION.cff", "pyproject.toml", "requirements.lock")  # fmt: skip

SMALL = {
    "cohort": "small demo",
    "slides": "data/slides.csv",
    "patients": "data/patients.csv",
    "results": "results",
    "max_failed_slides": 0.4,
    # one coarse patch a slide and 16 fine ones of 64 px: real stages, little work
    "scale": {"by": "mpp", "coarse": 8.0, "fine": 2.0},
    "patches": {"size": 64, "min_tissue": 0.05},
    "features": {"weights": "random"},
    "folds": {"k": 2, "validation": 0.4},
    "training": {"epochs": 3, "patience": 2, "warmup": 0},
    "experiments": [
        {"name": "advmil", "model": "abmil", "head": "adversarial"},
        {"name": "nll", "model": "abmil", "head": "nll"},
    ],
    "evaluation": {"bootstrap": 50},
    "permutations": 1,
}


@dataclass
class Project:
    """A checkout with a cohort; `run` calls snakemake in it."""

    folder: Path

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        result = subprocess.run(
            self.command(*arguments), cwd=self.folder, capture_output=True, text=True
        )
        if check and result.returncode:
            raise AssertionError(result.stdout[-3000:] + result.stderr[-6000:])
        return result

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]

    def planned(self, *arguments: str) -> set[str]:
        """Return the messages of the jobs that a dry run would start."""
        text = self.run("-n", *arguments)
        return set(re.findall(r"^ *Job \d+: (.+)$", text.stderr + text.stdout, re.MULTILINE))

    def results(self) -> dict[str, bytes]:
        """Return every result by path, but for what was measured.

        Logs, benchmarks, provenance and the section Speed tell of a run, not of its results.
        """
        folder = self.folder / "results"
        found = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
            and path.relative_to(folder).parts[0] not in ("logs", "benchmarks", "provenance")
        }
        if "report.html" in found:
            speed = re.compile(rb'<section id="speed">.*?</section>', re.DOTALL)
            found["report.html"], measured = speed.subn(b"", found["report.html"])
            assert measured == 1
        return found


def copy_project(folder: Path) -> Project:
    folder.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / part)
    return Project(folder)


def make_project(folder: Path) -> Project:
    project = copy_project(folder)
    here = Path.cwd()
    os.chdir(folder)  # paths in the slide table are relative to where the workflow runs
    try:
        make_cohort(Path("data"), patients=10, side=2048, seed=3, jobs=1, report=lambda line: None)
    finally:
        os.chdir(here)
    (folder / "config.yaml").write_text(yaml.safe_dump(SMALL, sort_keys=False))
    return project


@pytest.fixture(scope="module")
def bare_project(tmp_path_factory) -> Project:
    """A copy of the checkout without a cohort."""
    return copy_project(tmp_path_factory.mktemp("bare") / "project")


@pytest.fixture(scope="session")
def new_project():
    """A function that makes the small cohort in a folder."""
    return make_project


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> Project:
    """The small cohort before anything has run."""
    return make_project(tmp_path_factory.mktemp("fresh") / "project")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The small cohort after an uninterrupted run on two cores."""
    project = make_project(tmp_path_factory.mktemp("finished") / "project")
    project.run()
    return project
