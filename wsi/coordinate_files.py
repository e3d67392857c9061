"""Patch coordinates made elsewhere: CLAM's, TRIDENT's, AtlasPatch's and our own files as one.

Specification wsi 3.2 and 3.4. All of them keep a dataset ``coords`` of top-left corners in level-0
pixels; they differ in how they say what a patch covers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from wsi.coordinate_grid import grid_step
from wsi.storage import atomic

COLUMNS = ("x", "y", "read_w", "read_h", "level")  # of coords; the last three AtlasPatch's


class CoordinateFileError(ValueError):
    """A file of coordinates cannot be used; the message is a sentence."""

    is_sentence = True


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Where the patches of one slide lie.

    Parameters
    ----------
    coords : ``[N, 2]`` int64, top-left corners (x, y) in level-0 pixels, N > 0.
    footprint0 : width and height of a patch in level-0 pixels; rarely whole numbers.
    patch_size : side of a patch in the pixels it is read with.
    layout : ``clam``, ``trident``, ``atlaspatch`` or ``ours``.
    name : of the slide: what the file says, or else the file's own name.
    size0 : width and height of level 0, None where the file does not say.
    mpp0 : um per level-0 pixel, None where the file does not say.
    magnification0 : objective power of level 0, None where the file does not say.
    footprint_said : whether the file says the footprint; otherwise it is the step of the grid.
    """

    coords: np.ndarray
    footprint0: tuple[float, float]
    patch_size: int
    layout: str
    name: str
    size0: tuple[int, int] | None = None
    mpp0: float | None = None
    magnification0: float | None = None
    footprint_said: bool = True


def read_coordinates(path: str | Path) -> Coordinates:
    """Read the coordinates of one slide, whoever made them.

    Parameters
    ----------
    path : HDF5 with ``coords`` ``[N, 2]`` (AtlasPatch: ``[N, 5]``), whole numbers of any type.

    Raises
    ------
    CoordinateFileError
        The file, its ``coords`` or its attributes are missing or wrong, or it has no patch.
    """
    table, attributes = _read(Path(path))
    return coordinates_of(path, table, attributes)


def coordinates_of(
    path: str | Path,
    table: np.ndarray,
    attributes: Mapping[str, Any],
    *,
    step_counts: bool = False,
) -> Coordinates:
    """Return the coordinates that a dataset and its attributes hold.

    Parameters
    ----------
    path : of the file, for sentences and for the name of the slide.
    table : dataset ``coords``.
    attributes : of the file and of the dataset.
    step_counts : where nothing says what a patch covers, take the step of the grid for it: right
        unless patches overlap or leave gaps.

    Raises
    ------
    CoordinateFileError
        As :func:`read_coordinates`.
    """
    file = _File(path, attributes)
    layout = _layout(file, table)
    numbers = _whole_numbers(file, table)
    footprint0 = _footprint(file, layout, numbers)
    said = footprint0 is not None
    if step_counts and not said and (step := grid_step(numbers[:, :2])):
        footprint0 = step, step
    if footprint0 is None:
        raise file.wrong(
            "nothing says how much of the slide a patch covers (CLAM: attributes patch_size and "
            "downsample of coords; AtlasPatch: read size at level 0); give coords the attribute "
            "patch_size_level0, the side of a patch in level-0 pixels."
        )
    patch_size = file.fact("patch_size")
    if patch_size is None:
        patch_size = numbers[0, 2] if layout == "atlaspatch" else footprint0[0]
    return Coordinates(
        coords=np.ascontiguousarray(numbers[:, :2]),
        footprint0=footprint0,
        patch_size=round(patch_size),
        layout=layout,
        name=file.text("name") or Path(path).stem.removesuffix("_patches"),
        size0=_size0(file),
        mpp0=file.fact("mpp0"),
        magnification0=file.fact("level0_magnification"),
        footprint_said=said,
    )


def _read(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the dataset ``coords`` and the attributes of the file and of the dataset."""
    if not path.is_file():
        raise CoordinateFileError(f"{path}: there is no such file of coordinates; mend its path.")
    try:
        with h5py.File(path, "r") as file:
            dataset, there = file.get("coords"), ", ".join(sorted(file)) or "nothing"
            if isinstance(dataset, h5py.Dataset):
                return np.asarray(dataset), {**file.attrs, **dataset.attrs}
    except OSError as error:
        if error.errno:  # the disk's or the permissions' fault, not the file's
            raise
        raise CoordinateFileError(
            f"{path}: not an HDF5 file, or one that was cut off ({error}); copy or make it again."
        ) from error
    raise CoordinateFileError(
        f"{path}: no dataset coords (it has: {there}); give the file of patch coordinates of the "
        "slide."
    )


@dataclass(frozen=True)
class _File:
    """Attributes of a file, with sentences that name it."""

    path: str | Path
    attributes: Mapping[str, Any]

    def wrong(self, sentence: str) -> CoordinateFileError:
        return CoordinateFileError(f"{self.path}: {sentence}")

    def text(self, name: str) -> str:
        value = self.attributes.get(name, "")
        return value.decode() if isinstance(value, bytes) else str(value)

    def numbers(self, name: str) -> list[float]:
        """Return the numbers of an attribute; empty unless there are some, all above 0."""
        try:
            values = np.asarray(self.attributes.get(name, []), np.float64).reshape(-1).tolist()
        except (TypeError, ValueError):
            return []
        return values if all(0 < value < np.inf for value in values) else []

    def fact(self, name: str) -> float | None:
        """Return the number of an attribute that may be missing."""
        return next(iter(self.numbers(name)), None)


def _layout(file: _File, table: np.ndarray) -> str:
    if file.text("status") == "failed":
        raise file.wrong(f"it has no patch, since its slide failed: {file.text('reason')}")
    if file.text("unit") == "um":
        raise file.wrong(
            "coords are in micrometres (STAMP's layout), not in level-0 pixels; divide them by the "
            "slide's um per pixel, or let this workflow lay the patches."
        )
    if table.ndim != 2 or table.shape[1] not in (2, 5) or table.dtype.kind not in "iuf":
        raise file.wrong(
            f"dataset coords is {table.dtype} {list(table.shape)}; it must be numbers [N, 2] "
            "(x, y of the top-left corner in level-0 pixels) or AtlasPatch's [N, 5]."
        )
    if not len(table):
        raise file.wrong(
            "dataset coords is empty; lay the patches of this slide again, or leave the slide out "
            "(exclude)."
        )
    if table.shape[1] == 5:
        return "atlaspatch"
    if "footprint0" in file.attributes:
        return "ours"
    return "trident" if "patch_size_level0" in file.attributes else "clam"


def _whole_numbers(file: _File, table: np.ndarray) -> np.ndarray:
    """Return the table as int64."""
    for wrong, what, mend in (
        (~np.isfinite(table), "no number", "make the file again"),
        (table < 0, "negative", "corners lie inside the slide, counted from its top-left pixel"),
        (
            table != np.rint(table),
            "no whole number",
            "they must be level-0 pixels, not micrometres or pixels of another level",
        ),
    ):
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise file.wrong(
                f"dataset coords, row {row}: {COLUMNS[column]} is {table[row, column]}, which is "
                f"{what}; {mend}."
            )
    return table.astype(np.int64)


def _footprint(file: _File, layout: str, numbers: np.ndarray) -> tuple[float, float] | None:
    """Return what the file says that a patch covers, None where it does not."""
    given = file.numbers("footprint0" if layout == "ours" else "patch_size_level0")
    if given:
        return _pair(given)
    if layout == "atlaspatch":
        sizes = np.unique(numbers[:, 2:], axis=0)
        if len(sizes) == 1 and sizes[0, 2] == 0:
            return float(sizes[0, 0]), float(sizes[0, 1])
    else:
        patch_size, downsample = file.numbers("patch_size"), file.numbers("downsample")
        if patch_size and downsample:
            (px, py), (dx, dy) = _pair(patch_size), _pair(downsample)
            return px * dx, py * dy
    return None


def _pair(values: list[float]) -> tuple[float, float]:
    return values[0], values[-1]


def _size0(file: _File) -> tuple[int, int] | None:
    for names in (("width0", "height0"), ("level0_width", "level0_height")):
        width, height = map(file.numbers, names)
        if width and height:
            return round(width[0]), round(height[0])
    level, downsample = file.numbers("level_dim"), file.numbers("downsample")
    if not (level and downsample):
        return None
    (width, height), (dx, dy) = _pair(level), _pair(downsample)
    return round(width * dx), round(height * dy)


def write_clam_coordinates(
    path: str | Path,
    coords: np.ndarray,
    *,
    patch_size: int,
    patch_level: int,
    level_dimensions: Sequence[tuple[int, int]],
    name: str,
    save_path: str,
) -> bool:
    """Write coordinates in exactly CLAM's layout, one row a chunk, for programs that expect it.

    Without rows nothing is written, as by CLAM, and a file left by an earlier run goes.

    Parameters
    ----------
    path : ``patches/<stem>.h5``.
    coords : ``[N, 2]`` whole numbers, level-0 pixels.
    patch_size, patch_level : side of a patch in pixels of that level.
    level_dimensions : width and height of every level of the slide.
    name : of the slide, its file name without the last extension.
    save_path : the folder ``patches`` as the user named it.

    Returns
    -------
    Whether there is a file.
    """
    if not len(coords):
        Path(path).unlink(missing_ok=True)
        return False
    (w0, h0), (width, height) = level_dimensions[0], level_dimensions[patch_level]
    size = np.array([width, height], np.int64)
    attributes = {
        "patch_size": np.int64(patch_size),
        "patch_level": np.int64(patch_level),
        "downsample": np.array([w0 / width, h0 / height], np.float64),
        "downsampled_level_dim": size,
        "level_dim": size,
        "name": name,
        "save_path": save_path,
    }
    rows = np.asarray(coords, np.int64)
    with atomic(path) as partial, h5py.File(partial, "w") as file:
        dataset = file.create_dataset("coords", data=rows, maxshape=(None, 2), chunks=(1, 2))
        for attribute, value in attributes.items():
            dataset.attrs[attribute] = value
    return True
