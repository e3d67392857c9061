"""The files between stages: how they are written, what each carries, how they are read back.

This is the one module that ``wsi`` and ``mil`` share. A file appears under its name only when it is
whole; it says what became of its slide (:class:`Outcome`); the same content gives the same bytes.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from wsi import __version__

MADE_BY = {"software": f"slide-survival {__version__}", "format": 1}  # format: of the layout

# Network disks without lock support refuse a locked open; every file here has one writer.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")


@dataclass(frozen=True)
class Outcome:
    """What became of a slide at a stage.

    Parameters
    ----------
    slide : slide id.
    stage : name of the stage that decided (``find_tissue``, ``make_patches``, ...).
    status : ``ok`` or ``failed``.
    reason : a sentence for the person who must act; empty when ok.
    kind : ``unreadable``, ``no_scale``, ``no_tissue``, ``damaged``, ``no_features``,
        ``no_coords``, ``crash`` or empty.
    """

    slide: str
    stage: str
    status: str = "ok"
    reason: str = ""
    kind: str = ""

    @property
    def ok(self) -> bool:
        """Whether later stages can use the slide."""
        return self.status == "ok"


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes that name only if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial{path.suffix}")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_arrays(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of arrays: their shapes, types and values, in hexadecimal."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON with sorted keys and a final newline."""
    with atomic(path) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def write_h5(
    path: str | Path,
    outcome: Outcome,
    datasets: Mapping[str, np.ndarray],
    attributes: Mapping[str, Any] | None = None,
    coords_attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write an HDF5 file of one slide.

    Datasets are contiguous and uncompressed, so that readers can map them. `attributes` and the
    outcome go to the root, `coords_attributes` to the dataset ``coords`` (CLAM's place for them).
    """
    with atomic(path) as partial, h5py.File(partial, "w") as file:
        for name, value in {**asdict(outcome), **MADE_BY, **(attributes or {})}.items():
            file.attrs[name] = value
        for name, array in datasets.items():
            file.create_dataset(name, data=array)
        for name, value in (coords_attributes or {}).items():
            file["coords"].attrs[name] = value


def read_h5(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return all datasets and the root's and ``coords``' attributes of a slide's HDF5 file."""
    with h5py.File(path, "r") as file:
        datasets = {name: np.asarray(file[name]) for name in sorted(file)}
        attributes = dict(file.attrs)
        if "coords" in file:
            attributes |= dict(file["coords"].attrs)
    return datasets, attributes


def read_attributes(path: str | Path) -> dict[str, Any]:
    """Return the root attributes of an HDF5 file without reading its arrays."""
    with h5py.File(path, "r") as file:
        return dict(file.attrs)


def read_features(path: str | Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Map the features of one slide.

    Returns
    -------
    features : ``[N, D]``, a read-only map of the file, read when it is touched.
    coords : ``[N, 2]`` int64, top-left corners in level-0 pixels.
    attributes : the file's root attributes.
    """
    with h5py.File(path, "r") as file:
        dataset = file["features"]
        shape, dtype, offset = dataset.shape, dataset.dtype, dataset.id.get_offset()
        coords = np.asarray(file["coords"], dtype=np.int64)
        attributes = dict(file.attrs)
        if offset is None:  # no rows, or chunked by another program: nothing to map
            return np.asarray(dataset), coords, attributes
    return np.memmap(path, dtype, "r", offset, shape), coords, attributes


def save_npz(
    path: str | Path,
    outcome: Outcome | None = None,
    attributes: Mapping[str, Any] | None = None,
    **arrays: np.ndarray,
) -> None:
    """Write arrays as an npz whose bytes depend on nothing but the content.

    The outcome and the attributes travel as JSON text in an array named ``attributes``.
    """
    described = {**MADE_BY, **(attributes or {})}
    if outcome is not None:
        described["outcome"] = asdict(outcome)
    text = json.dumps(described, sort_keys=True)
    with atomic(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, array in {"attributes": np.array(text), **arrays}.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asarray(array, order="C"), allow_pickle=False)
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), entry.getvalue()
            )


def load_npz(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the attributes of a file written by :func:`save_npz`."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return arrays, json.loads(str(arrays.pop("attributes", "{}")))


def read_outcome(path: str | Path) -> Outcome:
    """Return the outcome that a per-slide file carries (.h5, .npz or .geojson)."""
    suffix = Path(path).suffix
    if suffix == ".h5":
        found = read_attributes(path)
    elif suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            found = json.loads(str(archive["attributes"]))["outcome"]
    elif suffix == ".geojson":
        found = json.loads(Path(path).read_text())["outcome"]
    else:
        raise ValueError(f"{path}: a file of this kind carries no outcome")
    return Outcome(**{name: str(found[name]) for name in Outcome.__dataclass_fields__})
