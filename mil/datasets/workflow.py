"""The features of a run of the workflow as a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from mil.bag_folder import BagFolder
from mil.bags import Bag, BagError
from mil.datasets.base import BagDataset
from mil.problems import listed


class WorkflowBags(BagDataset):
    """Patients of a cohort table; their features stay in the files of the run, mapped.

    Parameters
    ----------
    cohort : ``<results>/cohort/<encoder>.csv``.
    root : folder that the table's paths are relative to.
    labels : of the patients by id, one number or several each; those without one are left out.
        None for bags without labels.
    needs : what is read besides features: ``graph``, ``cluster``, ``coords``.

    Raises
    ------
    mil.bags.BagError : see ``mil.bag_folder.BagFolder``; or labels of no patient of the table.
    """

    def __init__(
        self,
        cohort: str | Path,
        root: str | Path,
        labels: Mapping[str, float | Sequence[float]] | None = None,
        needs: Sequence[str] = (),
    ) -> None:
        self.folder = BagFolder(cohort, root)
        self.needs = tuple(needs)
        self.names = tuple(name for name in self.folder if labels is None or name in labels)
        if not self.names:
            there = listed(self.folder, 3)
            raise BagError([f"{Path(cohort).name}: labels of none of its patients ({there})."])
        self.labels = None
        if labels is not None:
            self.labels = torch.tensor([labels[name] for name in self.names])

    def __getitem__(self, index: int) -> Bag:
        """Return the bag of a patient."""
        bag = self.folder.load([self.names[index]], self.needs)
        return bag if self.labels is None else replace(bag, label=self.labels[[index]])
