"""The run as a Workflow Run RO-Crate: a folder that says what was run, on what, and what came out.

Soiland-Reyes et al., Packaging research artefacts with RO-Crate, Data Science 2022; Leo et al.,
Recording provenance of workflow runs with RO-Crate, PLOS ONE 2024.
"""

import csv
import json
import mimetypes
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import yaml
from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from mil.provenance.durations import Job, RuleTime, by_rule, moment, read_jobs, write_jobs
from mil.provenance.manifest import Listed, list_results, write_manifest

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
BIOSCHEMAS = "https://bioschemas.org/profiles"
RESULTS = ("report.html", "evaluation/comparison.csv", "slides.csv", "cohort/patients.csv")
"""Of the results, those that are entities of the crate; the manifest has all."""


def write_provenance(
    *,
    crate: str | Path,
    root: str | Path,
    config: Mapping[str, Any],
    run: str | Path,
    version: str,
    workflow: Sequence[str | Path],
    tables: Sequence[str | Path],
    slides: Mapping[str, str],
    slide_table: str | Path,
    cohorts: Sequence[str | Path],
) -> None:
    """Write the crate of a finished run.

    It holds copies of what is small (workflow, configuration, the two tables) and says of what is
    not where it lies, how large it is and how to tell it again. Unlike the results it names this
    machine's paths and times.

    Parameters
    ----------
    crate : output, ``ro-crate-metadata.json``; ``manifest.csv`` (every result with its size and
        hash), ``jobs.csv`` (every job with seconds and memory), ``software.csv`` and the copies
        are written beside it.
    root : the results folder.
    config : the validated configuration, defaults filled in.
    run : JSON of the last start, see ``mil.provenance.start``.
    version : of this software, with a digest of its code.
    workflow : Snakefile, then rules and scripts.
    tables : slide and patient table.
    slides : path by slide id; may be empty paths.
    slide_table : ``slides.csv`` of the results, for fingerprints.
    cohorts : ``cohort/<encoder>.csv``, for the hashes of features, graphs and clusters.
    """
    root, folder = Path(root), Path(crate).parent
    started = json.loads(Path(run).read_text())
    files = list_results(root, _recorded(cohorts))
    jobs = read_jobs(root / "benchmarks")

    with tempfile.TemporaryDirectory() as name:  # the crate is copied together, then moved
        made = Path(name)
        write_manifest(made / "manifest.csv", files)
        write_jobs(made / "jobs.csv", jobs)
        (made / "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))
        _describe(
            made, root, config, started, version, workflow, tables, slides, slide_table, files, jobs
        ).write(folder)


def _describe(
    made: Path,
    root: Path,
    config: Mapping[str, Any],
    started: Mapping[str, Any],
    version: str,
    workflow: Sequence[str | Path],
    tables: Sequence[str | Path],
    slides: Mapping[str, str],
    slide_table: str | Path,
    files: Sequence[Listed],
    jobs: Sequence[Job],
) -> ROCrate:
    crate = ROCrate(version="1.1")
    crate.name = f"Survival from whole-slide images: {config['cohort']}"
    crate.description = config["note"] or (
        f"A run of the workflow Slide Survival {version} on the cohort {config['cohort']}."
    )
    crate.license = "Not stated: it is that of the slides and of the follow-up data."
    profiles = [
        crate.add(
            ContextEntity(
                crate,
                address,
                {"@type": "CreativeWork", "name": name, "version": address.rpartition("/")[2]},
            )
        )
        for address, name in PROFILES.items()
    ]
    snakefile, *others = map(Path, workflow)
    main = crate.add_workflow(
        snakefile,
        f"workflow/{snakefile.name}",
        main=True,
        lang="snakemake",
        lang_version=started["snakemake"],
        properties={
            "name": "Slide Survival",
            "version": version,
            "encodingFormat": _format(snakefile),
        },
    )
    main["hasPart"] = [_copy(crate, path, f"workflow/{path.parent.name}/") for path in others]
    main["conformsTo"] = {"@id": f"{BIOSCHEMAS}/ComputationalWorkflow/1.0-RELEASE"}
    crate.root_dataset["conformsTo"] = profiles
    if started.get("commit"):
        main["identifier"] = started["commit"] + (" with changes" if started["changed"] else "")

    times = by_rule(jobs)
    given = [_copy(crate, path, "") for path in (*tables, made / "config.yaml")]
    given += _slides(crate, slides, slide_table)
    given += _settings(crate, main, config)
    results = _results(crate, root, files)
    for name, what in (
        ("manifest.csv", "Every file of the results with its size and SHA-256"),
        ("jobs.csv", "Every job with its seconds, its memory and its end"),
    ):
        crate.add_file(made / name, name, properties={"name": what, "encodingFormat": "text/csv"})
    _software(crate, main, _packages(root, started))
    run = crate.add_action(
        main,
        "#run",
        object=given,
        result=results,
        properties={
            "name": f"Run on {config['cohort']}",
            "description": started["command"],
            "startTime": started["started"],
            "actionStatus": "http://schema.org/CompletedActionStatus",
        },
    )
    who = crate.add(ContextEntity(crate, "#who", {"@type": "Person", "name": started["user"]}))
    run["agent"] = who
    if times:
        run["startTime"] = min(started["started"], moment(min(time.started for time in times)))
        run["endTime"] = moment(max(time.ended for time in times))
    crate.root_dataset.append_to("mentions", [run, *_rules(crate, times, version)])
    return crate


def _copy(crate: ROCrate, path: str | Path, folder: str) -> Any:
    """Add a small file, which the crate will hold a copy of."""
    path = Path(path)
    facts = {"name": path.name, "encodingFormat": _format(path)}
    return crate.add_file(path, f"{folder}{path.name}", properties=facts, record_size=True)


def _format(path: Path) -> str:
    """Return the media type of a file by its name; slides have none of their own but TIFF."""
    if path.suffix in (".smk", ""):
        return "text/x-snakemake"
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _slides(crate: ROCrate, slides: Mapping[str, str], slide_table: str | Path) -> list[Any]:
    """Add the slides: they stay where they are, and are told again by their fingerprint."""
    with open(slide_table, newline="") as table:
        known = {row["slide_id"]: row.get("fingerprint", "") for row in csv.DictReader(table)}
    added = []
    for slide, path in slides.items():
        if not path or not Path(path).exists():
            continue
        size = str(Path(path).stat().st_size)
        facts = {"name": slide, "contentSize": size, "encodingFormat": _format(Path(path))}
        if known.get(slide):
            facts["identifier"] = known[slide]
        added.append(crate.add_file(Path(path).resolve().as_uri(), properties=facts))
    return added


def _settings(crate: ROCrate, workflow: Any, config: Mapping[str, Any]) -> list[Any]:
    """Add each key of the configuration as a parameter of the workflow and its value in the run."""
    values = []
    for key, value in config.items():
        parameter = crate.add(
            ContextEntity(
                crate,
                f"#parameter-{key}",
                {
                    "@type": "FormalParameter",
                    "name": key,
                    "additionalType": "Text",
                    "conformsTo": {"@id": f"{BIOSCHEMAS}/FormalParameter/1.0-RELEASE"},
                },
            )
        )
        workflow.append_to("input", parameter)
        values.append(
            crate.add(
                ContextEntity(
                    crate,
                    f"#value-{key}",
                    {
                        "@type": "PropertyValue",
                        "name": key,
                        "value": value if isinstance(value, str) else json.dumps(value),
                        "exampleOfWork": {"@id": parameter.id},
                    },
                )
            )
        )
    return values


def _results(crate: ROCrate, root: Path, files: Sequence[Listed]) -> list[Any]:
    by_path = {file.path: file for file in files}
    return [
        crate.add_file(
            (root / name).resolve().as_uri(),
            properties={
                "name": name,
                "contentSize": str(by_path[name].bytes),
                "encodingFormat": _format(Path(name)),
                "sha256": by_path[name].sha256,
            },
        )
        for name in RESULTS
        if name in by_path
    ]


def _packages(root: Path, started: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return packages with their versions: of PyTorch those that the models were trained with."""
    packages = dict(started["packages"])
    models = (
        yaml.safe_load(p.read_text()) for p in sorted(root.glob("models/*/fold*/config.yaml"))
    )
    trained = {model["torch"] for model in models if "torch" in model}
    torch = sorted(trained) or [packages["torch"]]
    others = [(name, number) for name, number in packages.items() if name != "torch"]
    return [*(("torch", number) for number in torch), *others, ("rocrate", version_of("rocrate"))]


def _software(crate: ROCrate, workflow: Any, packages: Sequence[tuple[str, str]]) -> None:
    workflow["softwareRequirements"] = [
        crate.add(
            ContextEntity(
                crate,
                f"#software-{name}-{number}",
                {
                    "@type": "SoftwareApplication",
                    "name": name,
                    "version": number,
                    "url": f"https://pypi.org/project/{name}/{number}/",
                },
            )
        )
        for name, number in packages
    ]


def _rules(crate: ROCrate, times: Sequence[RuleTime], version: str) -> list[Any]:
    """Add an action for every rule: how many jobs, how long, from when to when."""
    actions = []
    for time in times:
        tool = crate.add(
            ContextEntity(
                crate,
                f"#rule-{time.rule}",
                {"@type": "SoftwareApplication", "name": time.rule, "version": version},
            )
        )
        actions.append(
            crate.add_action(
                tool,
                f"#jobs-of-{time.rule}",
                properties={
                    "name": f"{time.rule}: {time.jobs} jobs",
                    "description": f"{time.seconds:.0f} s in all, median {time.median:.1f} s, "
                    f"longest {time.longest:.1f} s",
                    "startTime": moment(time.started),
                    "endTime": moment(time.ended),
                },
            )
        )
    return actions


def _recorded(cohorts: Sequence[str | Path]) -> dict[str, str]:
    """Return the hashes that the cohort tables hold, by path relative to the results."""
    known = {}
    for cohort in cohorts:
        with open(cohort, newline="") as table:
            for row in csv.DictReader(table):
                for kind in ("features", "graph", "clusters"):
                    if row.get(kind):
                        known[row[kind]] = row[f"{kind}_sha256"]
    return known
