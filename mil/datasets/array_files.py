"""Arrays of bags in files: one folder for each kind, one file for each bag."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from mil.bags import BagError

FORMATS = (".npy", ".h5", ".pt")


@dataclass(frozen=True)
class ArrayFiles:
    """Where one kind of array is, for every bag.

    Attributes
    ----------
    folder : holds ``<bag><ending>.npy``, ``.h5`` or ``.pt``.
    dataset : name of the array inside an ``.h5``.
    ending : of the names of files, before the extension.
    """

    folder: Path
    dataset: str
    ending: str = ""

    def names(self) -> list[str]:
        """Return the names of the bags, sorted.

        Raises
        ------
        mil.bags.BagError : no such folder, or no file in it.
        """
        if not self.folder.is_dir():
            raise BagError([f"{self.folder}: no such folder. It should hold {self.dataset}."])
        found = {
            path.name.removesuffix(path.suffix).removesuffix(self.ending)
            for path in self.folder.iterdir()
            if path.suffix in FORMATS
            and path.stem.endswith(self.ending)
            and not path.name.startswith(".")  # half written, or the system's
        }
        if not found:
            raise BagError(
                [f"{self.folder}: no *{self.ending}.npy, .h5 or .pt in it, one for each bag."]
            )
        return sorted(found)

    def path(self, name: str) -> Path | None:
        """Return the file of a bag, or None where there is none."""
        for suffix in FORMATS:
            path = self.folder / f"{name}{self.ending}{suffix}"
            if path.is_file():
                return path
        return None

    def read(self, name: str) -> NDArray:
        """Return the array of a bag; where the format allows it a private map of its file.

        Raises
        ------
        mil.bags.BagError : no such file, or none that holds this array.
        """
        path = self.path(name)
        if path is None:
            raise BagError(
                [f"{self.folder}: no file of bag {name} ({name}{self.ending}.npy, .h5 or .pt)."]
            )
        try:
            if path.suffix == ".npy":
                array = np.load(path, mmap_mode="c")
            elif path.suffix == ".pt":
                array = torch.load(path, map_location="cpu", weights_only=True, mmap=True).numpy()
            else:
                array = self._from_h5(path)
        except (OSError, ValueError, RuntimeError, AttributeError) as error:
            if getattr(error, "errno", None):  # the disk's or the permissions' fault
                raise
            raise BagError(
                [f"{path}: holds no {self.dataset} that can be read ({error})."]
            ) from error
        return array

    def _from_h5(self, path: Path) -> NDArray:
        with h5py.File(path, "r") as file:
            if self.dataset not in file:
                has = ", ".join(sorted(file)) or "nothing"
                raise ValueError(f"no dataset {self.dataset!r}; it has {has}")
            dataset = file[self.dataset]
            shape, dtype, offset = dataset.shape, dataset.dtype, dataset.id.get_offset()
            if offset is None or not shape:  # chunked, compressed, or a scalar
                return np.asarray(dataset)
        return np.memmap(path, dtype, "c", offset, shape)
