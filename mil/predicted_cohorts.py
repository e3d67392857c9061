"""The cohorts under ``predict``: whose models predict them, and from which features."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mil.config import experiments
from mil.problems import InputError, listed
from mil.slide_tables import SlideTable, patients_of
from mil.tables import read_patients
from mil.trained_models import TRAINED, find_models


@dataclass(frozen=True)
class PredictedCohort:
    """One entry of ``predict``.

    Attributes
    ----------
    name : of its folder ``predict/<name>``.
    table : its slides.
    patients : its patient table, None where follow-up is not known.
    models : results folder that the models are in, None for this run's.
    experiments : settings of those that predict, by name.
    folds : numbers of the folds, one model each.
    trained : names of the experiments with predictions of their training parts.
    """

    name: str
    table: SlideTable
    patients: str | None
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
        cohort = PredictedCohort(
            name, tables[name], entry.get("patients"), models, settings, numbers, known
        )
        if cohort.patients:
            read_patients(cohort.patients, config["unit"])
        problems += _problems(f"predict[{position}]", cohort, config)
        found[name] = cohort
    if problems:
        raise InputError(problems)
    return found


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
        edges = settings["model_options"].get("edge_agg")
        if edges == "latent" and not config["graphs"]["latent"]:
            yield f"{what} reads edges among features; set graphs: {{latent: true}}."
