"""Rows of features with their places, as a file made elsewhere has them, checked."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from wsi.coordinate_files import CoordinateFileError, Coordinates, coordinates_of
from wsi.outcome import SlideError

SHOWN = 5  # rows that a sentence names
MOST_COMPRESSION = 1100  # deflate's limit is 1032
AGAIN = "extract this slide's features again, or leave the slide out (exclude)"


@dataclass(frozen=True, eq=False)
class ImportedRows:
    """What a file says of one slide.

    Parameters
    ----------
    features : ``[N, D]`` float16 or float32, finite, N > 0.
    coords : ``[N, 2]`` top-left corners (x, y), in `unit`.
    footprint : side of a patch, in `unit`.
    source : the files, each with its folder, for people.
    unit : ``px`` (level-0 pixels) or ``um``.
    patch_size : side of a patch in the pixels it was read with, None where not said.
    size0 : width and height of level 0, None where not said.
    mpp0 : um per level-0 pixel, None where not said.
    magnification0 : objective power of level 0, None where not said.
    footprint_said : False where the footprint is the step of the grid.
    extractor : what made the features, as the file says; may be empty.
    remark : what a person should know of the files; may be empty.
    """

    features: np.ndarray
    coords: np.ndarray
    footprint: float
    source: str
    unit: str = "px"
    patch_size: int | None = None
    size0: tuple[int, int] | None = None
    mpp0: float | None = None
    magnification0: float | None = None
    footprint_said: bool = True
    extractor: str = ""
    remark: str = ""

    @classmethod
    def at(
        cls, features: np.ndarray, places: Coordinates, source: str, **others: Any
    ) -> "ImportedRows":
        """Return features at coordinates in level-0 pixels; both have N rows."""
        return cls(
            features,
            places.coords,
            places.footprint0[0],
            source,
            patch_size=places.patch_size,
            size0=places.size0,
            mpp0=places.mpp0,
            magnification0=places.magnification0,
            footprint_said=places.footprint_said,
            **others,
        )


def shown(path: str | Path) -> str:
    """Return a path as people see it in results: its folder and its name, not where they lie."""
    return "/".join(Path(path).parts[-2:])


def read_datasets(
    path: str | Path, *wanted: tuple[str, ...]
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Return datasets of an HDF5 file, and the attributes of the file and of them.

    Parameters
    ----------
    path : of the file.
    wanted : for each dataset the names it may have.

    Raises
    ------
    SlideError
        Kinds ``unreadable``: not HDF5, cut off, or rows that were never written; ``damaged``: no
        such dataset.
    """
    with _readable(path), h5py.File(path, "r") as file:
        attributes: dict[str, Any] = dict(file.attrs)
        arrays = []
        for names in wanted:
            found = [file[name] for name in names if isinstance(file.get(name), h5py.Dataset)]
            if not found:
                raise SlideError(
                    "damaged",
                    f"{shown(path)} has no dataset {' or '.join(names)} (it has: "
                    f"{', '.join(sorted(file)) or 'nothing'}); is features.layout right?",
                )
            _refuse_unwritten(found[0], path)
            arrays.append(np.asarray(found[0]))
            attributes |= dict(found[0].attrs)
        return arrays, attributes


def _refuse_unwritten(dataset: h5py.Dataset, path: str | Path) -> None:
    """Refuse a dataset that claims more than the file can hold: HDF5 would read zeros for it."""
    filters = dataset.id.get_create_plist().get_nfilters()
    stored = dataset.id.get_storage_size() * (MOST_COMPRESSION if filters else 1)
    if dataset.size * dataset.dtype.itemsize > stored:
        raise SlideError(
            "unreadable",
            f"{shown(path)}: dataset {dataset.name.strip('/')} claims {list(dataset.shape)}, but "
            f"not all of it was ever written; copy it again, or {AGAIN}.",
        )


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if getattr(error, "errno", None):  # the disk's or the permissions' fault, not the file's
            raise
        raise SlideError(
            "unreadable",
            f"{shown(path)} is no HDF5 file, or was cut off ({error}); copy it again, or {AGAIN}.",
        ) from error


def checked_features(table: np.ndarray, where: str) -> np.ndarray:
    """Return features as ``[N, D]`` float16 or float32; double precision becomes single.

    A leading axis of one slide, ``[1, N, D]``, is taken off.

    Raises
    ------
    SlideError
        Kinds ``damaged`` and, without any row, ``no_features``.
    """
    if table.ndim == 3 and table.shape[0] == 1:
        table = table[0]
    shape = list(table.shape)
    if table.dtype.kind != "f":
        raise _wrong(where, f"holds {table.dtype} {shape}, where features are floating point")
    if table.ndim != 2:
        what = " (one vector of the whole slide?)" * (table.ndim == 1)
        raise _wrong(where, f"has shape {shape}{what}; it must be [patches, width]")
    if not table.size:
        raise SlideError(
            "no_features", f"{where} has no row (shape {shape}): no patch was encoded; {AGAIN}."
        )
    if table.dtype.itemsize > 4:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which is told below
            table = table.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise _wrong(where, f"has NaN or infinity in {_rows(bad)} of {len(table)}")
    return np.ascontiguousarray(table.astype(table.dtype.newbyteorder("="), copy=False))


def checked_coordinates(
    path: str | Path, table: np.ndarray, attributes: Mapping[str, Any]
) -> Coordinates:
    """Return coordinates in level-0 pixels, or a :class:`SlideError` of kind ``damaged``."""
    if table.ndim == 3 and table.shape[0] == 1:
        table = table[0]
    try:
        return coordinates_of(shown(path), table, attributes, step_counts=True)
    except CoordinateFileError as error:
        raise SlideError("damaged", str(error)) from error


def check_same_length(features: np.ndarray, coords: np.ndarray, of: str, at: str) -> None:
    """Refuse features and coords of different length, kind ``damaged``.

    Parameters
    ----------
    features, coords : ``[N, D]`` and ``[M, 2]``.
    of, at : where each comes from.
    """
    if len(features) != len(coords):
        raise SlideError(
            "damaged",
            f"{of} has {len(features)} rows of features, but {at} has {len(coords)} patches; an "
            f"interrupted run, or files of different runs: {AGAIN}.",
        )


def text(attributes: Mapping[str, Any], *names: str) -> str:
    """Return the first attribute of these names as text, else an empty string."""
    for name in names:
        value = attributes.get(name, "")
        if value := value.decode() if isinstance(value, bytes) else str(value):
            return value
    return ""


def positive(attributes: Mapping[str, Any], *names: str) -> float | None:
    """Return the first attribute of these names that is a number above 0."""
    for name in names:
        try:
            value = float(np.asarray(attributes[name]).reshape(-1)[0])
        except (KeyError, ValueError, TypeError, IndexError):
            continue
        if 0 < value < np.inf:
            return value
    return None


def _wrong(where: str, what: str) -> SlideError:
    return SlideError("damaged", f"{where} {what}; {AGAIN}.")


def _rows(rows: np.ndarray) -> str:
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return f"row{'s' * (len(rows) > 1)} {', '.join(map(str, rows[:SHOWN].tolist()))}{more}"
