"""The cohorts under ``predict``: whose models predict them, and from which features."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mil.config import experiments
from mil.config_task import task_settings
from mil.label_table import read_labels
from mil.problems import InputError, listed
from mil.slide_tables import SlideTable, patients_of
from mil.tables import Table, read_patients
from mil.trained_models import TRAINED, find_models


@dataclass(frozen=True)
class PredictedCohort:
    """One entry of ``predict``.

    Attributes
    ----------
    name : of its folder ``predict/<name>``.
    table : its slides.
    labels : table of its follow-up or labels: of patients or, where those are the units, of slides;
        None where they are not known.
    models : results folder that the models are in, None for this run's.
    experiments : settings of those that predict, by name.
    folds : numbers of the folds, one model each.
    trained : names of the experiments with predictions of their training parts.
    """

    name: str
    table: SlideTable
    labels: str | None
    models: str | None
    experiments: Mapping[str, Mapping[str, Any]]
    folds: tuple[int, ...]
    trained: frozenset[str]

    @property
    def slides(self) -> list[str]:
        """Ids of its slides in table order."""
        return [slide.slide_id for slide in self.table.slides]

    @property
    def slides_of(self) -> dict[str, list[str]]:
        """Ids of each patient's slides."""
        return patients_of(self.table.slides)

    @property
    def encoders(self) -> list[str]:
        """Names of the encoders whose features its experiments read."""
        return sorted({settings["encoder"] for settings in self.experiments.values()})

    @property
    def described(self) -> list[dict[str, Any]]:
        """What its page says of each experiment: name, model, head, encoder, number of models."""
        keys = ("name", "model", "head", "encoder")
        return [
            {**{key: settings[key] for key in keys}, "models": len(self.folds)}
            for settings in self.experiments.values()
        ]

    def model_files(self, experiment: str, fold: int | str) -> dict[str, str]:
        """Return the files of one model: ``model``, ``config`` and, where known, ``trained``."""
        folder = f"{self.models or '<results>'}/models/{experiment}/fold{fold}"
        files = {"model": f"{folder}/model.safetensors", "config": f"{folder}/config.yaml"}
        if experiment in self.trained:
            files["trained"] = f"{folder}/{TRAINED}"
        return files


def predicted_cohorts(
    config: Mapping[str, Any], tables: Mapping[str, SlideTable], folds: int
) -> dict[str, PredictedCohort]:
    """Return the cohorts to predict, by name.

    Parameters
    ----------
    config : the validated configuration.
    tables : their slide tables, by name.
    folds : number of folds of this run.

    Raises
    ------
    InputError : models that cannot be found or do not fit the configuration; wrong patient tables.
    """
    found, problems = {}, []
    for position, entry in enumerate(config["predict"]):
        name, models, wanted = entry["name"], entry.get("models"), entry.get("experiments")
        if models:
            trained = find_models(models, wanted)
            settings, numbers = trained.experiments, trained.folds
            known = trained.trained
        else:
            own = experiments(config)
            settings, numbers = {n: own[n] for n in wanted or own}, tuple(range(folds))
            known = frozenset(settings)
        labels = _labels(entry, task_settings(config), config["unit"])
        cohort = PredictedCohort(name, tables[name], labels, models, settings, numbers, known)
        problems += _problems(f"predict[{position}]", cohort, config)
        found[name] = cohort
    if problems:
        raise InputError(problems)
    return found


def _labels(entry: Mapping[str, Any], task: Mapping[str, Any] | None, unit: str) -> str | None:
    """Return the table of follow-up or labels, once it has been read; None where there is none.

    Slides have labels where their table has the columns.
    """
    if task is None or task["unit"] == "patient":
        path = entry.get("patients")
    else:
        path = entry["slides"]
        path = path if set(task["columns"]) & set(Table(path, ()).header) else None
    if path and task:
        read_labels(path, *(task[key] for key in ("columns", "classes", "unit")))
    elif path:
        read_patients(path, unit)
    return path


def _problems(place: str, cohort: PredictedCohort, config: Mapping[str, Any]) -> Iterator[str]:
    features = config["features"]
    known = [features["encoder"], *([] if features["import"] else config["encoders"])]
    for name, settings in cohort.experiments.items():
        what = f"{place}: experiment {name} of {cohort.models or 'this run'}"
        if settings["encoder"] not in known:
            yield (
                f"{what} reads features of the encoder {settings['encoder']}, but the encoders "
                f"here are {listed(known)}; set features.encoder, or add it under encoders."
            )
        if settings.get("task") != task_settings(config):
            own = _said(task_settings(config))
            yield (
                f"{what} predicts {_said(settings.get('task'))}, but here task is {own}; set task "
                "and label as for the models."
            )
        edges = settings["model_options"].get("edge_agg")
        if edges == "latent" and not config["graphs"]["latent"]:
            yield f"{what} reads edges among features; set graphs: {{latent: true}}."


def _said(task: Mapping[str, Any] | None) -> str:
    """Return what is predicted as the configuration says it."""
    if task is None:
        return "survival"
    classes = f", classes: [{', '.join(task['classes'])}]" if task["classes"] else ""
    label = f"columns: [{', '.join(task['columns'])}]{classes}, unit: {task['unit']}"
    return f"{task['name']} of label: {{{label}}}"
