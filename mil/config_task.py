"""What is predicted, in the configuration: the task, its label, and what goes with it."""

from collections.abc import Iterator, Mapping
from typing import Any

from mil.problems import listed
from mil.tasks import HEADS, SCORES

OURS = ("patient_id", "slide_id", "part", "owner", "use", "n_slides", "predicted", "path", "mpp")
EXAMPLE = "label: {columns: [grade], classes: [low, high]}"


def task_settings(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the task as ``mil.tasks.task_of`` takes it; None for survival."""
    if config["task"] == "survival":
        return None
    label = config["label"]
    classes = [str(name) for name in label["classes"] or []]
    if len(label["columns"]) > 1 and not classes:
        classes = ["0", "1"]
    return {
        "name": config["task"],
        "columns": list(label["columns"]),
        "classes": classes,
        "unit": label["unit"],
    }


def check_task(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences on a label that does not fit the task, and on what the task cannot have."""
    task, label = config["task"], config["label"]
    columns = label["columns"]
    if task == "survival":
        if columns:
            yield (
                f"label.columns is {listed(columns)}, but task is survival, which reads time and "
                "event; set task: classification (or ordinal, regression), or take label away."
            )
    else:
        yield from _check_label(task, label)
        if label["unit"] == "slide":
            yield from _check_patients(config["predict"])
    if config["slides"]:  # otherwise nothing is trained
        yield from _check_experiments(task, config["experiments"], config["training"])


def _check_label(task: str, label: Mapping[str, Any]) -> Iterator[str]:
    columns, classes = label["columns"], [str(name) for name in label["classes"] or []]
    if not columns:
        yield f"label.columns is empty; task {task} needs the column of the label ({EXAMPLE})."
        return
    if len(columns) > 1 and task != "classification":
        yield f"label.columns is {listed(columns)}; task {task} has one column."
    for name in columns:
        if name in OURS or name.startswith("probability_"):
            yield f"label.columns is {listed(columns)}; {name} is a column of ours, rename it."
    if task == "regression":
        if classes:
            yield "label.classes is set, but task regression predicts a number; take it away."
    elif len(columns) > 1:
        if classes and len(classes) != 2:
            yield (
                f"label.classes is {listed(classes)}; each of several label columns has two, the "
                "absent one first (0 and 1 where empty)."
            )
    elif len(classes) < 2:
        yield (
            f"label.classes is {listed(classes) if classes else 'empty'}; list the values of the "
            f"label column, two at least ({EXAMPLE}): "
            + ("from the lowest grade." if task == "ordinal" else "of two the second is positive.")
        )
    if len(set(classes)) < len(classes):
        yield f"label.classes is {listed(classes)}; each class must be named once."


def _check_patients(entries: list[Mapping[str, Any]]) -> Iterator[str]:
    for position, entry in enumerate(entries):
        if entry.get("patients"):
            yield (
                f"predict[{position}].patients is {entry['patients']}, but label.unit is slide: "
                "labels are columns of its slide table; take patients away."
            )


def _check_experiments(
    task: str, entries: list[Mapping[str, Any]], training: Mapping[str, Any]
) -> Iterator[str]:
    others = set(SCORES.values()) - {SCORES[task]}
    for position, entry in enumerate(entries):
        place = f"experiments[{position}]"
        if entry["head"] not in HEADS[task]:
            (of, *_) = [name for name, heads in HEADS.items() if entry["head"] in heads]
            yield (
                f"{place}.head is {entry['head']}, which is for task {of}, but task is {task}; its "
                f"heads are {listed(HEADS[task])}."
            )
        own = {**training, **entry.get("training", {})}
        if own["monitor"] in others:
            yield (
                f"{place}: training.monitor is {own['monitor']}, but task {task} is scored by "
                f"{SCORES[task]}; it must be loss or {SCORES[task]}."
            )
        if own["balanced"] and task == "regression":
            yield (
                f"{place}: training.balanced is true, but a number has no classes to balance; set "
                "it to false."
            )
