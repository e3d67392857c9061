"""The cohorts under ``predict``: what is wrong with how they are asked for."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mil.experiment_grid import write_out
from mil.problems import did_you_mean, listed


def check_predict(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each mistake in ``predict`` and in leaving out the main cohort."""
    entries, trained = config["predict"], bool(config["slides"])
    if trained != bool(config["patients"]):
        given, missing = ("slides", "patients") if trained else ("patients", "slides")
        yield (
            f"{given} is {config[given]}, but {missing} is empty; training needs both, and where "
            "models trained elsewhere predict, both are empty."
        )
    elif not trained and not entries:
        yield "slides and patients are empty, and so is predict; there is nothing to do."
    seen: dict[str, int] = {}
    for position, entry in enumerate(entries):
        place, name = f"predict[{position}]", entry["name"]
        first = seen.setdefault(name.casefold(), position)
        if first != position:
            yield f"{place}.name is {name}, as predict[{first}]; give each cohort its own name."
        yield from _check_models(place, entry.get("models"), config)
        if not entry.get("models") and trained:
            own = [member.entry["name"] for member in write_out(config["experiments"])]
            for wanted in entry.get("experiments") or []:
                if wanted not in own:
                    yield (
                        f"{place}.experiments names {wanted}; it must be among {listed(own)}"
                        f"{did_you_mean(wanted, own) or '.'}"
                    )


def _check_models(place: str, folder: str | None, config: Mapping[str, Any]) -> Iterator[str]:
    if not folder:
        if not config["slides"]:
            yield (
                f"{place}.models is empty, and without slides and patients nothing is trained "
                "here; give the results folder of a finished run."
            )
    elif Path(folder).resolve() == Path(config["results"]).resolve():
        yield (
            f"{place}.models is {folder}, the results of this run; leave it empty to predict with "
            "the models of this run, or choose another folder for results."
        )
    elif not Path(folder).is_dir():
        yield (
            f"{place}.models is {folder}; there is no such folder (relative to the working "
            "directory)."
        )
