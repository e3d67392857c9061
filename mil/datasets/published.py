"""Public data sets as they are shared, and the output folders of TRIDENT and CLAM.

The sets of the Hugging Face organisation ``torchmil`` (CAMELYON16, PANDA, RSNA, TAD) are read
from the folder that they were unpacked to. ``others`` are arguments of ``FolderBags``.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import pandas as pd

from mil.bags import BagError
from mil.datasets.array_files import ArrayFiles
from mil.datasets.folder import FolderBags
from mil.datasets.label_tables import labels_of, read_labels, read_split
from mil.problems import listed


def camelyon16(
    root: str | Path,
    features: str = "UNI",
    split: str = "train",
    *,
    patch: int = 512,
    **others: Any,
) -> FolderBags:
    """Return slides of lymph nodes, 1 = with metastasis; a patch is if more than half of it is.

    Parameters
    ----------
    root : holds ``splits.csv`` and ``patches_<patch>``.
    features : ``UNI`` or ``resnet50_bt``.
    split : ``train`` or ``test``.
    """
    return _patches(root, features, split, patch, others)


def panda(
    root: str | Path,
    features: str = "UNI",
    split: str = "train",
    *,
    patch: int = 512,
    **others: Any,
) -> FolderBags:
    """Return biopsies of the prostate, 1 = with cancer. Arguments are those of ``camelyon16``."""
    return _patches(root, features, split, patch, others)


def rsna(
    root: str | Path, features: str = "resnet50", split: str = "train", **others: Any
) -> FolderBags:
    """Return CT scans of the head, 1 = with a haemorrhage; instances are slices, in order.

    Parameters
    ----------
    root : holds ``splits.csv``, ``features``, ``labels`` and ``slice_labels``.
    features : ``resnet18``, ``resnet50`` or ``vit_b_32``.
    split : ``train`` or ``test``.
    """
    folder = Path(root) / "features" / f"features_{features}"
    return _sequence(root, folder, "slice_labels", split, others)


def tad(root: str | Path, split: str = "train", **others: Any) -> FolderBags:
    """Return traffic videos, 1 = with an anomaly; instances are frames, in order.

    Parameters
    ----------
    root : holds ``splits.csv``, ``features``, ``labels`` and ``frame_labels``.
    split : ``train`` or ``test``.
    """
    return _sequence(root, Path(root) / "features", "frame_labels", split, others)


def trident(
    job: str | Path,
    encoder: str,
    *,
    labels: str | Path | None = None,
    name: str = "slide_id",
    label: str = "label",
    classes: Sequence[str] | None = None,
    patching: str | None = None,
    **others: Any,
) -> FolderBags:
    """Return slides whose patches TRIDENT laid and encoded.

    Parameters
    ----------
    job : TRIDENT's ``job_dir``.
    encoder : as in ``features_<encoder>``.
    labels : CSV with the label of every slide, or None to go without.
    name, label, classes : see ``mil.datasets.label_tables.read_labels``.
    patching : folder in the job, such as ``20x_256px_0px_overlap``; needed if there are several.

    Raises
    ------
    mil.bags.BagError : no such folder, several without ``patching``, or slides without a label.
    """
    job = Path(job)
    found = sorted(path.parent.name for path in job.glob(f"*/features_{encoder}"))
    if patching is None and len(found) != 1:
        there = f"is in {listed(found)}: say which (patching)." if found else "is in none of it."
        raise BagError([f"{job}: features_{encoder} {there}"])
    folder = job / (patching or found[0])
    features = ArrayFiles(folder / f"features_{encoder}", "features")
    coords = ArrayFiles(features.folder, "coords")
    with h5py.File(coords.path(features.names()[0]), "r") as file:
        if "coords" not in file:
            coords = ArrayFiles(folder / "patches", "coords", "_patches")
    return _labelled(features, coords, labels, name, label, classes, others)


def clam(
    folder: str | Path,
    *,
    labels: str | Path | None = None,
    name: str = "slide_id",
    label: str = "label",
    classes: Sequence[str] | None = None,
    **others: Any,
) -> FolderBags:
    """Return slides whose patches CLAM encoded.

    Slides of ``process_list_autogen.csv`` without features are named in a warning.

    Parameters
    ----------
    folder : CLAM's ``feat_dir``, with ``h5_files`` (features and coordinates) or ``pt_files``.
    labels, name, label, classes : as of ``trident``.
    """
    folder = Path(folder)
    both, alone = folder / "h5_files", folder / "pt_files"
    if both.is_dir():
        features, coords = ArrayFiles(both, "features"), ArrayFiles(both, "coords")
    else:
        features, coords = ArrayFiles(alone, "features"), None
    bags = _labelled(features, coords, labels, name, label, classes, others)
    listing = folder / "process_list_autogen.csv"
    if listing.is_file():
        slides = [Path(slide).stem for slide in pd.read_csv(listing, dtype=str)["slide_id"]]
        missing = sorted(set(slides) - set(bags.names))
        if missing:
            warnings.warn(
                f"{listing}: {len(missing)} slides of it have no features: {listed(missing)}.",
                stacklevel=2,
            )
    return bags


def _patches(root: str | Path, features: str, split: str, patch: int, others: dict) -> FolderBags:
    folder = Path(root) / f"patches_{patch}"
    files = {
        "features": ArrayFiles(folder / "features" / f"features_{features}", "features"),
        "labels": ArrayFiles(folder / "labels", "labels"),
        "inst_labels": ArrayFiles(folder / "patch_labels", "inst_labels"),
        "coords": ArrayFiles(folder / "coords", "coords"),
    }
    return FolderBags(files, names=read_split(Path(root) / "splits.csv", split), **others)


def _sequence(
    root: str | Path, folder: Path, instances: str, split: str, others: dict
) -> FolderBags:
    files = {
        "features": ArrayFiles(folder, "features"),
        "labels": ArrayFiles(Path(root) / "labels", "labels"),
        "inst_labels": ArrayFiles(Path(root) / instances, "inst_labels"),
    }
    names = read_split(Path(root) / "splits.csv", split)
    return FolderBags(files, names=names, ordered=True, **others)


def _labelled(
    features: ArrayFiles,
    coords: ArrayFiles | None,
    table: str | Path | None,
    name: str,
    label: str,
    classes: Sequence[str] | None,
    others: dict,
) -> FolderBags:
    """Return slides with the labels of a table; names are those of the feature files."""
    files = {"features": features} | ({} if coords is None else {"coords": coords})
    names = others.pop("names", None) or features.names()
    labels = None
    if table is not None:
        labels = labels_of(read_labels(table, name, label, classes), names, table)
    binary = others.pop("binary", labels is not None and set(labels.values()) <= {0, 1})
    return FolderBags(files, names=names, labels=labels, binary=binary, xy=True, **others)
