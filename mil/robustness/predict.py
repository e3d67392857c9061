"""Predict the test patients of a fold when they are damaged; the trained network stays as it is."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from mil.bag_folder import BagFolder
from mil.bag_loader import BagLoader
from mil.bags import REGION, Bag, BagError
from mil.labels import read_fold
from mil.network import Network
from mil.prediction import load_network, predict_bag
from mil.problems import listed
from mil.robustness.occlusion import MODES, kept_rows
from mil.tasks import task_of
from mil.tasks.base import Task
from mil.training.determinism import deterministic
from mil.training.settings import Running, choose_device
from wsi.storage import atomic

# Columns: what was done, how strongly, and which rows were left out together.
DAMAGE = ["perturbation", "level", "repeat", "unit"]
REGIONS, PATCHES = "region", "patch"

log = logging.getLogger(__name__)


def predict_occluded(
    *,
    model: str | Path,
    config: str | Path,
    cohort: str | Path,
    patients: str | Path,
    fold: str | Path,
    root: str | Path,
    ratios: Sequence[float],
    repeats: int,
    modes: Sequence[str],
    output: str | Path,
    running: Mapping[str, Any] | None = None,
) -> None:
    """Predict the test patients with a share of their regions of sixteen patches left out.

    Patients whose rows are not whole regions (features made elsewhere) lose single patches.

    Parameters
    ----------
    model, config, cohort, patients, fold, root, running : as for ``predict_fold``.
    ratios : shares left out, above 0; see `mil.robustness.occlusion.kept_rows`.
    repeats : choices of what is left out.
    modes : ``zero`` and ``discard``, what becomes of it.
    output : CSV ``perturbation,level,repeat,unit,patient_id,time,event,risk``; the perturbation is
        ``occlusion-<mode>``, the level its ratio, the unit ``region`` or ``patch``. Of other tasks
        than survival the id is of the task's unit, and behind it is what was predicted alone.

    Raises
    ------
    mil.problems.InputError : tables or bags that cannot be used, in sentences.
    """
    with _trained_fold(model, config, cohort, patients, fold, root, running) as trained:
        rows, single = [], []
        for patient, bag in trained.patients(trained.bags):
            size = REGION if trained.bags.in_regions(patient[0]) else 1
            unit = REGIONS if size == REGION else PATCHES
            if unit == PATCHES:
                single.append(patient[0])
            for repeat in range(repeats):
                for ratio in ratios:
                    kept = kept_rows(bag, ratio, size, trained.seed, repeat)
                    for mode in modes:
                        told = trained.told(MODES[mode](bag, kept))
                        key = (f"occlusion-{mode}", f"{ratio:g}", repeat, unit)
                        rows.append([*key, *patient, *told])
    if single:
        log.warning(
            "%d patients have no regions of %d patches; single patches were left out instead: %s.",
            *(len(single), REGION, listed(single)),
        )
    _write(output, rows, trained.columns)


def predict_perturbed(
    *,
    model: str | Path,
    config: str | Path,
    cohort: str | Path,
    patients: str | Path,
    fold: str | Path,
    root: str | Path,
    perturbation: str,
    perturbed: Mapping[str, str | Path],
    output: str | Path,
    running: Mapping[str, Any] | None = None,
) -> None:
    """Predict the test patients from features of slides whose pixels were changed.

    Parameters
    ----------
    model, config, cohort, patients, fold, root, running : as for ``predict_fold``.
    perturbation : what was changed, ``blur`` or ``hed``.
    perturbed : cohort table of the changed slides by level.
    output : CSV as of `predict_occluded`; repeat is 0 and the unit empty.

    Raises
    ------
    mil.problems.InputError : as for ``predict_fold``; changed slides with other patches.
    """
    with _trained_fold(model, config, cohort, patients, fold, root, running) as trained:
        rows = []
        for level, table in perturbed.items():
            bags = BagFolder(table, root, trained.task.unit)
            trained.check_same(bags)
            for patient, bag in trained.patients(bags):
                rows.append([perturbation, level, 0, "", *patient, *trained.told(bag)])
    _write(output, rows, trained.columns)


@dataclass(frozen=True)
class _Trained:
    """The network of a fold and the test patients, or slides, that it is tried on."""

    network: Network
    task: Task
    bags: BagFolder
    test: pd.DataFrame
    draws: int
    seed: int
    device: torch.device

    @property
    def labels(self) -> list[str]:
        """Labels that are written: of survival. Others have names that could be those of DAMAGE."""
        return list(self.task.columns) if self.task.name == "survival" else []

    @property
    def columns(self) -> list[str]:
        """Columns of the table."""
        return [*DAMAGE, f"{self.task.unit}_id", *self.labels, *self.task.told_columns]

    def patients(self, bags: BagFolder) -> Iterator[tuple[tuple, Bag]]:
        """Yield id and labels of every test patient with its bag, one alone."""
        ids = self.test["patient_id"].tolist()
        each = BagLoader(bags, ids, self.network.model.needs, self.device, rows=1)
        known = self.test[["patient_id", *self.labels]]
        yield from zip(known.itertuples(index=False), each, strict=True)

    def told(self, bag: Bag) -> list[float]:
        """Return what is predicted of one patient, with the noise it has undamaged."""
        prediction, _ = predict_bag(self.network, bag, self.draws, self.seed)
        return self.task.predicted(prediction).iloc[0].tolist()

    def check_same(self, bags: BagFolder) -> None:
        """Refuse changed bags that do not hold the patches of the trained model's."""
        wrong = [
            patient
            for patient in self.test["patient_id"]
            if patient not in bags or bags.size(patient) != self.bags.size(patient)
        ]
        if wrong:
            raise BagError(
                [
                    f"{bags.cohort.name}: it does not have the patches of {self.bags.cohort.name} "
                    f"for patients {listed(wrong)}, so no difference could be laid to the pixels. "
                    "Look at the excluded slides of both, and run again."
                ]
            )


@contextmanager
def _trained_fold(
    model: str | Path,
    config: str | Path,
    cohort: str | Path,
    patients: str | Path,
    fold: str | Path,
    root: str | Path,
    running: Mapping[str, Any] | None,
) -> Iterator[_Trained]:
    made = yaml.safe_load(Path(config).read_text())
    settings, seed = made["experiment"]["training"], made["seed"]
    device = choose_device(Running(**(running or {})).device)
    task = task_of(made["experiment"].get("task"))
    bags = BagFolder(cohort, root, task.unit)
    people = read_fold(fold, patients, bags, task=task)
    with deterministic(device, seed):
        network = load_network(model, made, device)
        yield _Trained(network, task, bags, people.part("test"), settings["draws"], seed, device)
    name, number = made["experiment"]["name"], made["fold_index"]
    log.info("%s, fold %d: %d test %ss", name, number, len(people.part("test")), task.unit)


def _write(path: str | Path, rows: Sequence[Sequence[object]], columns: Sequence[str]) -> None:
    with atomic(path) as partial:
        pd.DataFrame(rows, columns=columns).to_csv(
            partial, index=False, lineterminator="\n", float_format="%.9g"
        )
