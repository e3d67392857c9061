"""Bags in folders: one for each kind of array, with a file for each bag."""

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mil.bags import Bag, BagError
from mil.datasets.array_files import ArrayFiles
from mil.datasets.base import BagDataset
from wsi.storage import atomic

FOLDERS = ("features", "labels", "inst_labels", "coords")


class FolderBags(BagDataset):
    """Bags whose features, labels, instance labels and coordinates are files of their own.

    Features of float32 stay in their file, mapped, until a model reads them; others are copied.
    Nothing is read before it is asked for, but every file must be there from the start.

    Parameters
    ----------
    files : where ``features`` [n, D] are and, if any, ``labels`` (one number, [1] or [K]),
        ``inst_labels`` ([n] or [n, 1]) and ``coords`` ([n, 2], or [n] in a sequence).
    names : of the bags, in this order; by default those of all feature files, sorted.
    labels : of the bags by name, in the place of files.
    binary : labels are 0 or 1, and a bag is positive if one of its instances is. So instances of a
        negative bag without instance labels are negative, those of a positive one unknown (-1), and
        a bag without a label has the largest of its instances. Instance labels that contradict the
        bag's are all taken for unknown, with a warning.
    ordered : instances are in order, as the slices of a scan: coordinates are their numbers.
    xy : coordinates are x and y; otherwise row and column.
    cache : most bytes of bags kept in memory, those used last.

    Raises
    ------
    mil.bags.BagError : a missing file or label; when a bag is read, lengths that disagree.
    """

    def __init__(
        self,
        files: Mapping[str, ArrayFiles],
        *,
        names: Sequence[str] | None = None,
        labels: Mapping[str, Any] | None = None,
        binary: bool = True,
        ordered: bool = False,
        xy: bool = False,
        cache: int = 0,
    ) -> None:
        self.files = dict(files)
        self.names = tuple(self.files["features"].names() if names is None else names)
        self.given = labels
        self.binary, self.ordered, self.xy = binary, ordered, xy
        self.cache = cache
        self._labelled = labels is not None or bool({"labels", "inst_labels"} & files.keys())
        self._cached: OrderedDict[str, Bag] = OrderedDict()
        problems = [
            f"{files.folder}: no file of bag {name} ({name}{files.ending}.npy, .h5 or .pt)."
            for files in self.files.values()
            for name in self.names
            if files.path(name) is None
        ]
        if labels is not None:
            problems += [f"bag {name}: no label." for name in self.names if name not in labels]
        if problems:
            raise BagError(problems)

    @classmethod
    def below(cls, root: str | Path, **others: Any) -> "FolderBags":
        """Return the bags in the folders ``features``, ``labels``, ... that ``root`` has."""
        root = Path(root)
        files = {name: ArrayFiles(root / name, name) for name in FOLDERS}
        there = {name: of for name, of in files.items() if name == "features" or of.folder.is_dir()}
        return cls(there, **others)

    @cached_property
    def labels(self) -> Tensor | None:
        """Labels [n] or [n, K] of the bags, or None where there are none at all."""
        if not self._labelled:
            return None
        return torch.cat([self._label(name) for name in self.names])

    def __getitem__(self, index: int) -> Bag:
        """Return a bag."""
        name = self.names[index]
        if name in self._cached:
            self._cached.move_to_end(name)
            return self._cached[name]
        bag = self._read(name)
        if self.cache:
            self._cached[name] = bag
            while sum(kept.features.nbytes for kept in self._cached.values()) > self.cache:
                self._cached.popitem(last=False)
        return bag

    def _read(self, name: str) -> Bag:
        features = self._features(name)
        coords = self._coords(name, len(features))
        return Bag.single(
            torch.from_numpy(features),
            name,
            coords=None if coords is None else torch.from_numpy(coords),
            label=self._label(name) if self._labelled else None,
            instance_label=self._instance_label(name, len(features)),
        )

    def _features(self, name: str) -> NDArray[np.float32]:
        features = self.files["features"].read(name)
        if features.ndim == 3 and len(features) == 1:  # a leading axis of one slide
            features = features[0]
        if features.ndim < 2:
            raise BagError(
                [f"bag {name}: features are {list(features.shape)}; they must be [n, width]."]
            )
        return np.require(features, np.float32, "CAW")

    def _coords(self, name: str, n: int) -> NDArray[np.int64] | None:
        if self.ordered:
            return np.stack([np.arange(n), np.zeros(n, np.int64)], axis=1)
        if "coords" not in self.files:
            return None
        coords = self.files["coords"].read(name)
        if coords.ndim == 3 and len(coords) == 1:
            coords = coords[0]
        _check_length(name, "coords", len(coords), n)
        if coords.size == n:  # places in a sequence
            return np.stack([coords.reshape(n), np.zeros(n)], axis=1).astype(np.int64)
        if coords.shape != (n, 2):
            raise BagError([f"bag {name}: coords are {list(coords.shape)}; they must be [n, 2]."])
        return np.ascontiguousarray(coords if self.xy else coords[:, ::-1], np.int64)

    def _label(self, name: str) -> Tensor:
        """Return the label [1] or [1, K] of a bag."""
        if self.given is not None:
            label = np.asarray(self.given[name])
        elif "labels" in self.files:
            label = np.array(self.files["labels"].read(name))
        else:
            label = np.array(self._stored_instance_label(name).max())
        if label.size == 1:
            label = label.reshape(())
        if self.binary and not np.isin(label, (0, 1)).all():
            raise BagError(
                [f"bag {name}: its label is {label}; it must be 0 or 1. Others need binary=False."]
            )
        whole = np.equal(np.mod(label, 1), 0).all()
        return torch.from_numpy(label.astype(np.int64 if whole else np.float64)[None])

    def _instance_label(self, name: str, n: int) -> Tensor | None:
        if "inst_labels" not in self.files:
            if not (self._labelled and self.binary):
                return None
            negative = not self._label(name).any()
            return torch.full((n,), 0 if negative else -1)
        label = self._stored_instance_label(name)
        _check_length(name, "inst_labels", len(label), n)
        if self.binary:
            bag, known = bool(self._label(name).any()), label[label >= 0]
            if (known.max(initial=0) != bag) if len(known) == n else (known.max(initial=0) > bag):
                warnings.warn(
                    f"bag {name}: its label is {int(bag)}, but the largest of its instance labels "
                    f"is {known.max(initial=0)}. All instances are taken for unknown (-1).",
                    stacklevel=2,
                )
                label = np.full(n, -1)
        return torch.from_numpy(label)

    def _stored_instance_label(self, name: str) -> NDArray[np.int64]:
        label = self.files["inst_labels"].read(name)
        return np.array(label, np.int64).reshape(len(label) if label.ndim else 1, -1)[:, 0]


def write_bags(bags: Iterable[Bag], root: str | Path, *, suffix: str = ".npy") -> None:
    """Write bags, each by itself and with its name, as ``FolderBags.below`` reads them.

    Parameters
    ----------
    bags : with what they have of features, label, instance labels and coordinates.
    root : folder that gets ``features``, ``labels``, ``inst_labels`` and ``coords``.
    suffix : ``.npy`` or ``.h5``.

    Raises
    ------
    mil.bags.BagError : another suffix, or a bag without a name.
    """
    if suffix not in (".npy", ".h5"):
        raise BagError([f"suffix is {suffix!r}; it must be .npy or .h5."])
    for number, bag in enumerate(bags):
        if len(bag.ids) != 1:
            raise BagError([f"bag {number}: {len(bag.ids)} names; it must have one (ids)."])
        arrays = {
            "features": bag.features,
            "labels": None if bag.label is None else bag.label[0],
            "inst_labels": bag.instance_label,
            "coords": None if bag.coords is None else bag.coords.flip(1),  # row, column
        }
        for kind, array in arrays.items():
            if array is not None:
                _write(Path(root) / kind / f"{bag.ids[0]}{suffix}", kind, array.numpy())


def _write(path: Path, dataset: str, array: NDArray) -> None:
    with atomic(path) as partial:
        if path.suffix == ".npy":
            np.save(partial, array)
        else:
            with h5py.File(partial, "w") as file:
                file[dataset] = array


def _check_length(name: str, what: str, found: int, n: int) -> None:
    if found != n:
        raise BagError(
            [f"bag {name}: {found} rows of {what} for {n} of features. Make them again together."]
        )
