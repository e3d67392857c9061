"""The shape of the workflow: its style, its rules, its environments."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_ruff_and_snakefmt_are_clean():
    for command in (
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["snakefmt", "--check", "Snakefile", "rules"],
    ):
        path = Path(sys.executable).parent / command[0]
        result = subprocess.run([path, *command[1:]], cwd=ROOT, capture_output=True, text=True)
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"


@pytest.mark.xdist_group("fresh")
def test_snakemake_lint_is_clean(project):
    result = project.run("--lint")
    assert "your workflow is in a good condition" in result.stdout + result.stderr


@pytest.mark.xdist_group("fresh")
@pytest.mark.parametrize(
    ("target", "jobs"),
    [
        ("tissue", {"tissue"}),
        ("patches", {"tissue", "patches", "table"}),
        ("features", {"tissue", "patches", "weights", "features"}),
        ("graphs", {"tissue", "patches", "weights", "features", "graph"}),
        ("clusters", {"tissue", "patches", "weights", "features", "clusters"}),
        ("train", {"tissue", "patches", "weights", "features", "graph", "clusters", "folds",
                   "cohort", "training", "predictions"}),
        ("evaluate", {"tissue", "patches", "weights", "features", "graph", "clusters", "folds",
                      "cohort", "training", "predictions", "evaluation", "distributions",
                      "attention", "comparison"}),
        ("scores", {"tissue", "patches", "weights", "features", "graph", "clusters", "folds",
                    "cohort", "training", "predictions", "scores"}),
        ("pyramids", {"tissue", "patches", "weights", "features", "graph", "clusters", "folds",
                      "cohort", "training", "predictions", "scores", "pyramids"}),
        ("all", {"tissue", "patches", "weights", "features", "graph", "clusters", "folds",
                 "cohort", "training", "predictions", "evaluation", "distributions", "attention",
                 "comparison", "table", "report", "provenance"}),
    ],
)  # fmt: skip
def test_a_target_runs_the_stages_it_needs(project, target, jobs):
    assert {job.split()[0] for job in project.planned(target)} == jobs


def rules():
    """Return the text of every rule, for one test each."""
    found = []
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for text in re.split(r"^(?:use )?rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            found.append(pytest.param(text, id=re.match(r"\w+", text)[0]))
    return found


@pytest.mark.parametrize("rule", rules())
def test_a_rule_is_a_whole_table(rule):
    wanted = ["log", "message", "params"]
    if not rule.startswith("preflight:"):  # it prints: with an output it would be up to date
        wanted += ["output", "benchmark"]
    if " as " not in rule.splitlines()[0]:  # a rule made from another inherits these
        wanted += ["conda", "threads", "resources", "script"]
        assert '"""' in rule.splitlines()[1], "says what it does"
    for directive in wanted:
        assert re.search(rf"^    {directive}:", rule, re.MULTILINE), directive


def test_scripts_hold_no_logic():
    for path in sorted((ROOT / "workflow_scripts").glob("*.py")):
        text = path.read_text()
        assert len(text.splitlines()) < 40, path.name
        assert "snakemake.config" not in text, path.name
        assert not re.search(r"^\s*(if|for|while|def|class|try)\b", text, re.MULTILINE), path.name


def test_the_cluster_profile_says_what_the_default_one_says():
    default, slurm = (
        yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())
        for name in ("default", "slurm")
    )
    assert default == {key: slurm.get(key) for key in default}
    grouped = re.search(r'"(prep [a-z ]+)"', (ROOT / "rules/common.smk").read_text())[1].split()
    assert grouped == list(slurm["group-components"]), "what a node is not told"


def test_slides_that_follow_each_other_share_a_cluster_job():
    command = [sys.executable, ROOT / "benchmarks/cluster_jobs.py", "--slides", "100"]
    result = subprocess.run([*command, "--further", "50"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    counted = dict(line.split()[::-1] for line in re.findall(r"^ +\d+ \w+$", result.stdout, re.M))
    assert {name: int(number) for name, number in counted.items()} == {
        # of 150 slides, and again of the 100 tested ones with blur and with stain
        "prep": 3, "features": 4 + 2 * 3, "graphs": 2 + 2, "clusters": 1 + 1 + 2,
        # of three experiments and five folds, on the cohort and on the further one
        "train_model": 15, "predictions": 3 + 3, "evaluation": 3 + 3, "occlusion": 3 * 2,
        "perturbed": 3, "curves": 1,
        "make_folds": 1, "fetch_weights": 1, "list_slides": 1, "gather_cohort": 3,
        "gather_predicted": 1, "compare_experiments": 1, "write_report": 1,
        "write_predicted_report": 1, "write_provenance": 1,
    }  # fmt: skip


def test_packages_do_not_import_snakemake():
    for package in ("wsi", "mil", "demo"):
        for path in sorted((ROOT / package).rglob("*.py")):
            assert not re.search(r"^\s*(from|import) snakemake", path.read_text(), re.MULTILINE)


def test_mil_imports_of_wsi_only_what_both_share():
    shared = {"wsi.storage", "wsi.outcome", "wsi.commandline", "wsi.progress"}
    for path in sorted((ROOT / "mil").rglob("*.py")):
        found = set(re.findall(r"^\s*(?:from|import) (wsi[\w.]*)", path.read_text(), re.MULTILINE))
        assert found <= shared, path.name
