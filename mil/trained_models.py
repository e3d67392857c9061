"""The models of a finished run, found in its folder of results."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mil.problems import InputError, did_you_mean, listed

FILES = ("model.safetensors", "config.yaml")
# from it come Cox's baseline, the thresholds of risk groups, and who was trained on; models that
# were converted from elsewhere have none
TRAINED = "predictions.csv"


class ModelsError(InputError):
    """Trained models that cannot be used; the message has one sentence a line."""


@dataclass(frozen=True)
class TrainedModels:
    """Models of some experiments, one for each fold.

    Attributes
    ----------
    folder : of the results they are in.
    experiments : settings of each by name, as ``mil.config.experiments`` has them.
    folds : numbers of the folds, the same for all.
    trained : names of those with predictions of their training parts.
    """

    folder: str
    experiments: Mapping[str, Mapping[str, Any]]
    folds: tuple[int, ...]
    trained: frozenset[str]


def find_models(folder: str | Path, wanted: Sequence[str] | None = None) -> TrainedModels:
    """Look for the models of a finished run; nothing but the settings is read.

    Parameters
    ----------
    folder : its results, wherever they lie now.
    wanted : names of experiments; all but those with permuted labels where None.

    Raises
    ------
    ModelsError : no models, an unknown experiment, or a fold whose files are not all there.
    """
    root = Path(folder)
    there = _folds_by_experiment(root)
    if not there:
        raise ModelsError(
            [
                f"{folder} has no models/<experiment>/fold<k>/; models must be the results folder "
                "of a finished run."
            ]
        )
    unknown = [name for name in wanted or [] if name not in there]
    if unknown:
        raise ModelsError(
            f"{folder} has no experiment {name}; it has {listed(there)}"
            f"{did_you_mean(name, there) or '.'}"
            for name in unknown
        )
    names = list(wanted or (name for name in there if not re.search(r"\.permuted\d+$", name)))
    dealt = sorted(_number(path.stem) for path in (root / "folds").glob("fold*.csv"))
    folds = tuple(dealt or range(1 + max(max(there[name]) for name in names)))
    trained = frozenset(name for name in names if any(root.glob(f"models/{name}/fold*/{TRAINED}")))
    problems = [
        f"{folder}: experiment {name} lacks models/{name}/fold{fold}/{file}; finish that run, or "
        "copy its folder whole."
        for name in names
        for fold in folds
        for file in (*FILES, *([TRAINED] if name in trained else []))
        if not (root / f"models/{name}/fold{fold}/{file}").is_file()
    ]
    if problems:
        raise ModelsError(problems)
    settings = {
        name: yaml.safe_load((root / f"models/{name}/fold{folds[0]}/config.yaml").read_text())
        for name in names
    }
    kept = {name: {**made["experiment"], "name": name} for name, made in settings.items()}
    return TrainedModels(str(folder), kept, folds, trained)


def _folds_by_experiment(root: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for path in sorted(root.glob("models/*/fold*")):
        if re.fullmatch(r"fold\d+", path.name):
            found.setdefault(path.parent.name, []).append(_number(path.name))
    return found


def _number(name: str) -> int:
    return int(name.removeprefix("fold"))
