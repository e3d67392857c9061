"""CLAM's features: ``pt_files/<stem>.pt``, ``h5_files/<stem>.h5``, ``patches/<stem>.h5``.

Specification wsi 3.2 and 3.3. The tensor holds features alone; ``h5_files`` hold ``coords``, too,
but nothing that says what a patch covers; that stands in ``patches``.
"""

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from wsi.coordinate_files import Coordinates
from wsi.layouts.plain import save_tensor
from wsi.layouts.rows import (
    AGAIN,
    ImportedRows,
    check_same_length,
    checked_coordinates,
    checked_features,
    read_datasets,
    shown,
)
from wsi.layouts.slide_features import SlideFeatures
from wsi.outcome import SlideError
from wsi.storage import atomic

WHERE = "pt_files/*.pt or h5_files/*.h5 in it"
CHUNK = 32  # rows


def list_files(folder: Path, encoder: str) -> dict[str, dict[str, str]]:
    """Return ``{stem: {pt: path, h5: path, patches: path}}``, each where it is.

    CLAM's folder ``patches`` is looked for in `folder`, then beside it.
    """
    found: dict[str, dict[str, str]] = {}
    for kind in ("pt", "h5"):
        for path in sorted((folder / f"{kind}_files").glob(f"*.{kind}")):
            found.setdefault(path.stem, {})[kind] = str(path)
    for place in (folder.parent, folder):
        for path in sorted((place / "patches").glob("*.h5")):
            if path.stem in found:
                found[path.stem]["patches"] = str(path)
    return found


def read(files: Mapping[str, str]) -> ImportedRows:
    """Read the features of one slide; see :class:`wsi.layouts.rows.ImportedRows`.

    Where there are both files of features they must agree.
    """
    source = ", ".join(shown(files[kind]) for kind in ("h5", "pt", "patches") if kind in files)
    tensor = _read_tensor(files["pt"]) if "pt" in files else None
    if "h5" not in files:
        if "patches" not in files:
            raise SlideError(
                "no_coords",
                f"{shown(files['pt'])} holds features alone, and nothing says where its patches "
                "lie: add h5_files or CLAM's folder patches, or column patches in the slide table.",
            )
        places = _read_places(files["patches"])
        check_same_length(tensor, places.coords, shown(files["pt"]), shown(files["patches"]))
        return ImportedRows.at(tensor, places, source)

    path = files["h5"]
    (rows, table), attributes = read_datasets(path, ("features",), ("coords",))
    features = checked_features(rows, shown(path))
    if tensor is not None:
        _refuse_disagreement(features, tensor, files)
    if len(table) == len(features) and "patches" in files:
        places, remark = _with_patches(files, table)
        if places is not None:
            return ImportedRows.at(features, places, source, remark=remark)
    else:
        remark = ""
    places = checked_coordinates(path, table, attributes)
    check_same_length(features, places.coords, shown(path), "its coords")
    return ImportedRows.at(features, places, source, remark=remark)


def _with_patches(files: Mapping[str, str], table: np.ndarray) -> tuple[Coordinates | None, str]:
    """Return the coordinates of ``patches``, which say what a patch covers, if they are the same.

    Raises
    ------
    SlideError
        Kind ``damaged``: the features end before the patches do.
    """
    places = _read_places(files["patches"])
    if np.array_equal(places.coords, table):
        return places, ""
    n = len(table)
    if n < len(places.coords) and np.array_equal(places.coords[:n], table):
        raise SlideError(
            "damaged",
            f"{shown(files['h5'])} has the first {n} of the {len(places.coords)} patches of "
            f"{shown(files['patches'])}: an interrupted run; {AGAIN}.",
        )
    return None, f"{shown(files['patches'])} has other coordinates and is not used."


def _read_places(path: str) -> Coordinates:
    (corners,), attributes = read_datasets(path, ("coords",))
    return checked_coordinates(path, corners, attributes)


def _refuse_disagreement(
    features: np.ndarray, tensor: np.ndarray, files: Mapping[str, str]
) -> None:
    both = f"{shown(files['h5'])} and {shown(files['pt'])}"
    mend = "they are of different runs: remove the wrong one."
    if features.shape != tensor.shape:
        raise SlideError(
            "damaged",
            f"{both} have shapes {list(features.shape)} and {list(tensor.shape)}; {mend}",
        )
    least = min(features.dtype, tensor.dtype, key=lambda dtype: dtype.itemsize)
    differ = (features.astype(least) != tensor.astype(least)).any(axis=1)
    if differ.any():
        raise SlideError(
            "damaged",
            f"{both} differ in {int(differ.sum())} of {len(features)} rows, first in row "
            f"{int(differ.argmax())}; {mend}",
        )


def _read_tensor(path: str) -> np.ndarray:
    """Return the features of a ``.pt`` file; nothing in it is ever executed."""
    import torch

    stored = io.BytesIO(Path(path).read_bytes())  # the disk's own errors are told apart here
    try:
        content = torch.load(stored, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # of damaged bytes the reader may raise anything
        if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(stored):
            raise SlideError(
                "damaged",
                f"{shown(path)} holds objects that only their own program can unpickle, and its "
                "code is not run here; save the plain tensor: torch.save(features, path).",
            ) from error
        raise SlideError(
            "unreadable",
            f"{shown(path)} is no file of torch.save, or was cut off; copy it again, or {AGAIN}.",
        ) from error
    if not isinstance(content, torch.Tensor):
        what = f"a {type(content).__name__}"
        if isinstance(content, dict):
            what += f" with {', '.join(map(str, list(content)[:6])) or 'nothing'}"
        raise SlideError(
            "damaged",
            f"{shown(path)} holds {what}, not one tensor [patches, width]; save the plain tensor: "
            "torch.save(features, path).",
        )
    if content.layout != torch.strided or content.is_quantized:
        raise SlideError("damaged", f"{shown(path)} holds a sparse or quantised tensor; {AGAIN}.")
    if content.dtype == torch.bfloat16:  # numpy has none
        content = content.float()
    return checked_features(content.detach().numpy(), shown(path))


def write(folder: Path, name: str, slide: SlideFeatures) -> None:
    """Write both files of one slide exactly as CLAM does: float32, int32, chunks of 32 rows."""
    features = np.asarray(slide.features, np.float32)
    arrays = {"features": features, "coords": np.asarray(slide.coords, np.int32)}
    with atomic(folder / f"h5_files/{name}.h5") as partial, h5py.File(partial, "w") as file:
        for dataset, array in arrays.items():
            width = array.shape[1]
            file.create_dataset(dataset, data=array, maxshape=(None, width), chunks=(CHUNK, width))
    save_tensor(folder / f"pt_files/{name}.pt", features)
