"""The bags of a cohort on disk: features, graphs and clusters of a patient's slides."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mil.bags import REGION, Bag, BagError
from mil.cohort import OF_BAGS
from wsi.storage import load_npz, read_features

READ_AHEAD = 1 << 20
"""Bytes asked for at once; the kernel cuts a longer request to about this (``io_pages``)."""


@dataclass(frozen=True)
class Slide:
    """One row of the cohort table; paths are absolute here."""

    slide_id: str
    patches: int
    width: int
    features: Path
    sha256: str
    graph: Path | None
    graph_sha256: str
    clusters: Path | None
    clusters_sha256: str
    regions: bool


@dataclass(frozen=True)
class _Stored:
    """Where the features of a file start, None where they cannot be mapped; the file's stamp."""

    stamp: tuple[int, int, int]
    dtype: np.dtype
    offset: int | None


class BagFolder:
    """Bags by patient id, read from ``cohort/<encoder>.csv`` and the files it names.

    A patient's rows are its slides' rows in the order of the table. On a CPU the features of one
    float32 slide are its file, mapped; other bags are copied from the maps. Nothing of the features
    is kept: a map holds an open file, and its pages count as memory of the process, so each bag
    maps anew (30 microseconds) and gives everything back with its last tensor. What is read twice
    comes from the system's page cache. Graphs and clusters are read only when asked for.

    Parameters
    ----------
    cohort : the cohort table.
    root : folder that the table's paths are relative to.
    unit : ``slide`` makes a bag of each slide; what is said of patients here is then said of it.

    Raises
    ------
    BagError : a column that is missing, a slide without rows, or features of several widths.
    """

    def __init__(self, cohort: str | Path, root: str | Path, unit: str = "patient") -> None:
        self.cohort = Path(cohort)
        table = pd.read_csv(cohort, dtype=str, keep_default_na=False)
        missing = [column for column in OF_BAGS if column not in table.columns]
        if missing:
            raise BagError([f"{self.cohort.name}: no column {', '.join(missing)}."])
        self._slides: dict[str, list[Slide]] = {}
        for row in table.to_dict("records"):
            graph, clusters = row.get("graph", ""), row.get("clusters", "")
            slide = Slide(
                slide_id=row["slide_id"],
                patches=int(row["n_patches"]),
                width=int(row["width"]),
                features=Path(root) / row["features"],
                sha256=row["features_sha256"],
                graph=Path(root) / graph if graph else None,
                graph_sha256=row.get("graph_sha256", ""),
                clusters=Path(root) / clusters if clusters else None,
                clusters_sha256=row.get("clusters_sha256", ""),
                regions=row.get("regions") != "false",
            )
            self._slides.setdefault(row[f"{unit}_id"], []).append(slide)

        every = [slide for slides in self._slides.values() for slide in slides]
        problems = [
            f"{self.cohort.name}: slide {slide.slide_id} has no patch; it is not usable."
            for slide in every
            if slide.patches < 1
        ]
        widths = sorted({slide.width for slide in every})
        if len(widths) != 1:
            problems.append(
                f"{self.cohort.name}: features have {len(widths)} different widths {widths}; one "
                "encoder gives one. Extract the features again."
            )
        if problems:
            raise BagError(problems)
        self.width = widths[0]
        self._stored: dict[str, _Stored] = {}

    def __contains__(self, patient: str) -> bool:
        """Return whether the patient has a usable slide."""
        return patient in self._slides

    def __iter__(self) -> Iterator[str]:
        """Yield the ids of the patients with a usable slide, in table order."""
        return iter(self._slides)

    def slides(self, patient: str) -> list[Slide]:
        """Return the usable slides of a patient in table order."""
        return self._slides[patient]

    def size(self, patient: str) -> int:
        """Return the number of instances of a patient."""
        return sum(slide.patches for slide in self._slides[patient])

    def in_regions(self, patient: str) -> bool:
        """Return whether a patient's rows are whole regions of sixteen patches."""
        return not any(_no_regions(slide) for slide in self._slides[patient])

    def check_regions(self, patients: Iterable[str], reader: str) -> None:
        """Refuse slides that do not consist of whole regions of sixteen patches.

        Parameters
        ----------
        patients : ids.
        reader : what reads regions, for the sentences: ``head 'adversarial'``.

        Raises
        ------
        BagError : names every such slide.
        """
        problems = [
            f"slide {slide.slide_id}: {why}. The {reader} reads regions of sixteen; use features "
            f"of patches laid by this project, or another {reader.split()[0]}."
            for patient in patients
            for slide in self._slides[patient]
            if (why := _no_regions(slide))
        ]
        if problems:
            raise BagError(problems)

    def load(
        self,
        patients: Sequence[str],
        needs: Sequence[str] = (),
        device: torch.device | str = "cpu",
    ) -> Bag:
        """Return the patients' bags, packed, features as float32.

        Parameters
        ----------
        patients : ids, in the order of the bags.
        needs : what is read besides features: ``graph``, ``cluster``, ``coords``.
        device : where the tensors shall be.

        Raises
        ------
        BagError : a file that is not the one the cohort table was made from.
        """
        slides = [slide for patient in patients for slide in self._slides[patient]]
        starts = np.concatenate([[0], np.cumsum([slide.patches for slide in slides])])
        features = _packed([self._map(slide) for slide in slides], torch.device(device))

        others: dict[str, Tensor] = {}
        if "coords" in needs:
            coords = [read_features(slide.features)[1] for slide in slides]
            others["coords"] = torch.from_numpy(np.concatenate(coords))
            number = [i for patient in patients for i in range(len(self._slides[patient]))]
            others["slide"] = torch.tensor(np.repeat(number, [s.patches for s in slides]))
        if "graph" in needs:
            others |= _union([_read_graph(slide) for slide in slides], starts)
        if "cluster" in needs:
            others["cluster"] = torch.cat([self._clusters(patient) for patient in patients])
        offsets = torch.tensor([0, *np.cumsum([self.size(patient) for patient in patients])])
        return Bag(features, offsets, ids=tuple(patients), **others).to(device)

    def read_ahead(self, patients: Iterable[str]) -> None:
        """Have the system read the patients' features into its page cache, where it can be asked.

        Returns when all is asked for; what is there already costs microseconds a megabyte.
        """
        if not hasattr(os, "posix_fadvise"):
            return
        for slide in (slide for patient in patients for slide in self._slides[patient]):
            with suppress(OSError), open(slide.features, "rb") as file:  # loading will complain
                for start in range(0, slide.features.stat().st_size, READ_AHEAD):
                    os.posix_fadvise(file.fileno(), start, READ_AHEAD, os.POSIX_FADV_WILLNEED)

    def _map(self, slide: Slide) -> np.ndarray:
        """Map the features of a slide, privately: what is written to the map stays in the map."""
        stored = self._stored.get(slide.slide_id)
        if stored is None or stored.stamp != _stamp(slide.features):  # first seen, or replaced
            stored = self._stored[slide.slide_id] = self._check(slide)
        if stored.offset is None:
            return read_features(slide.features)[0]
        shape = (slide.patches, slide.width)
        return np.memmap(slide.features, stored.dtype, "c", stored.offset, shape)

    def _check(self, slide: Slide) -> "_Stored":
        """Return how the features of a slide are stored; they are those of the cohort table."""
        stamp = _stamp(slide.features)
        features, coords, attributes = read_features(slide.features)
        expected = (slide.patches, slide.width)
        if features.shape != expected or len(coords) != len(features):
            raise BagError(
                [
                    f"{slide.features.name}: features {list(features.shape)} and "
                    f"{len(coords)} coords, where {self.cohort.name} has {list(expected)}. "
                    "The file changed; make the cohort again."
                ]
            )
        _same_content(slide.features, attributes.get("sha256", ""), slide.sha256)
        offset = features.offset if isinstance(features, np.memmap) else None
        return _Stored(stamp, features.dtype, offset)

    def _clusters(self, patient: str) -> Tensor:
        """Return the cluster [N] of every row of a patient."""
        slides = self._slides[patient]
        path = slides[0].clusters
        if path is None:
            raise BagError([f"patient {patient}: {self.cohort.name} names no clusters."])
        arrays, attributes = load_npz(path)
        _same_content(path, attributes.get("sha256", ""), slides[0].clusters_sha256)
        parts = np.split(arrays["cluster"].astype(np.int64), np.cumsum(arrays["rows"])[:-1])
        by_slide = dict(zip(map(str, arrays["slides"]), parts, strict=True))
        problems = [
            f"{path.name}: {len(by_slide.get(slide.slide_id, ()))} clusters for the "
            f"{slide.patches} patches of slide {slide.slide_id}. Cluster the patient again."
            for slide in slides
            if len(by_slide.get(slide.slide_id, ())) != slide.patches
        ]
        if problems:
            raise BagError(problems)
        return torch.from_numpy(np.concatenate([by_slide[slide.slide_id] for slide in slides]))


def _no_regions(slide: Slide) -> str:
    """Return why the rows of a slide are not whole regions, or an empty string."""
    if slide.patches % REGION:
        return f"{slide.patches} patches are no multiple of {REGION}"
    if not slide.regions:  # as the coordinates of imported features say
        return f"every {REGION} rows of its imported features should be 4 x 4 patches, but are not"
    return ""


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file is replaced or written to."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _packed(maps: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """Return the rows of the maps one behind the other, float32, on the device.

    One mapped float32 slide stays the map. A GPU gets float16 as it is and widens it there.
    """
    gpu = device.type == "cuda"
    if len(maps) == 1 and not gpu and maps[0].dtype == np.float32 and maps[0].flags.aligned:
        return torch.from_numpy(maps[0])
    half = gpu and all(rows.dtype == np.float16 for rows in maps)
    packed = torch.empty(
        sum(map(len, maps)),
        maps[0].shape[1],
        dtype=torch.float16 if half else torch.float32,
        pin_memory=gpu,  # copied to the GPU without a detour; PyTorch keeps the memory for the next
    )
    start = 0
    for rows in maps:
        packed[start : start + len(rows)].copy_(_tensor(rows))
        start += len(rows)
    return packed.to(device, non_blocking=True).float()


def _tensor(rows: np.ndarray) -> Tensor:
    """Return an array as a tensor; one in the other byte order or off its alignment is copied."""
    return torch.from_numpy(np.require(rows, rows.dtype.newbyteorder("="), "A"))


def _read_graph(slide: Slide) -> dict[str, np.ndarray]:
    """Return the edge sets [2, E] that the slide's graph was built with, in rows of the slide."""
    if slide.graph is None:
        raise BagError([f"slide {slide.slide_id}: the cohort table names no graph."])
    arrays, attributes = load_npz(slide.graph)
    _same_content(slide.graph, attributes.get("sha256", ""), slide.graph_sha256)
    if len(arrays["centroid"]) != slide.patches:
        raise BagError(
            [
                f"{slide.graph.name}: a graph of {len(arrays['centroid'])} nodes for "
                f"{slide.patches} patches. Build the graph again."
            ]
        )
    names = ["edge_index", "edge_latent"] if attributes.get("latent", True) else ["edge_index"]
    return {name: arrays[name] for name in names}


def _union(graphs: Sequence[dict[str, np.ndarray]], starts: np.ndarray) -> dict[str, Tensor]:
    """Return the disjoint union of slide graphs, in rows of the packed bag.

    Edges among features are left out unless all graphs have them.
    """
    union = {}
    for name in ("edge_index", "edge_latent"):
        if all(name in graph for graph in graphs):
            shifted = [graph[name] + start for graph, start in zip(graphs, starts, strict=False)]
            union[name] = torch.from_numpy(np.concatenate(shifted, axis=1).astype(np.int64))
    return union


def _same_content(path: Path, found: str, expected: str) -> None:
    """Refuse a file whose content is not what the cohort table was made from."""
    if found != expected:
        raise BagError(
            [
                f"{path.name}: its content ({found[:12] or 'no sha256'}) is not that of the cohort "
                f"table ({expected[:12] or 'no sha256'}). The file changed; make the cohort again."
            ]
        )
