"""Data sets of bags: drawn ones, whose best answer is known, and folders of features."""

from mil.datasets.array_files import ArrayFiles
from mil.datasets.assumption import false_frequency, multi_concept, single_concept
from mil.datasets.base import BagDataset, InMemory
from mil.datasets.folder import FolderBags, write_bags
from mil.datasets.instance_table import instance_table
from mil.datasets.label_tables import read_labels, read_split
from mil.datasets.labelled_set import bags_of_samples
from mil.datasets.published import camelyon16, clam, panda, rsna, tad, trident
from mil.datasets.shifted_mean import ShiftedMean, shifted_mean
from mil.datasets.stored_graphs import StoredGraphs
from mil.datasets.workflow import WorkflowBags

__all__ = [
    "ArrayFiles",
    "BagDataset",
    "FolderBags",
    "InMemory",
    "ShiftedMean",
    "StoredGraphs",
    "WorkflowBags",
    "bags_of_samples",
    "camelyon16",
    "clam",
    "false_frequency",
    "instance_table",
    "multi_concept",
    "panda",
    "read_labels",
    "read_split",
    "rsna",
    "shifted_mean",
    "single_concept",
    "tad",
    "trident",
    "write_bags",
]
