"""The bags of a cohort on disk: features, graphs and clusters of a patient's slides."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mil.bags import REGION, Bag, BagError
from mil.cohort import OF_BAGS
from wsi.storage import load_npz, read_features


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


class BagFolder:
    """Bags by patient id, read from ``cohort/<encoder>.csv`` and the files it names.

    A patient's rows are its slides' rows in the order of the table. Feature files stay mapped;
    rows are copied once, into the packed bag. Graphs and clusters are read only when asked for.

    Parameters
    ----------
    cohort : the cohort table.
    root : folder that the table's paths are relative to.

    Raises
    ------
    BagError : a column that is missing, a slide without rows, or features of several widths.
    """

    def __init__(self, cohort: str | Path, root: str | Path) -> None:
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
            )
            self._slides.setdefault(row["patient_id"], []).append(slide)

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
        self._mapped: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def __contains__(self, patient: str) -> bool:
        """Return whether the patient has a usable slide."""
        return patient in self._slides

    def slides(self, patient: str) -> list[Slide]:
        """Return the usable slides of a patient in table order."""
        return self._slides[patient]

    def check_regions(self, patients: Iterable[str]) -> None:
        """Refuse slides that do not consist of whole regions of sixteen patches.

        Raises
        ------
        BagError : names every such slide.
        """
        problems = [
            f"slide {slide.slide_id}: {slide.patches} patches are no multiple of {REGION}. The "
            "adversarial head reads regions of sixteen; use features of patches laid by this "
            "project, or another head."
            for patient in patients
            for slide in self._slides[patient]
            if slide.patches % REGION
        ]
        if problems:
            raise BagError(problems)

    def load(self, patients: Sequence[str], needs: Sequence[str] = ()) -> Bag:
        """Return the patients' bags, packed, features as float32.

        Parameters
        ----------
        patients : ids, in the order of the bags.
        needs : what is read besides features: ``graph``, ``cluster``, ``coords``.

        Raises
        ------
        BagError : a file that is not the one the cohort table was made from.
        """
        slides = [slide for patient in patients for slide in self._slides[patient]]
        rows = [sum(slide.patches for slide in self._slides[patient]) for patient in patients]
        starts = np.concatenate([[0], np.cumsum([slide.patches for slide in slides])])

        features = torch.empty(int(starts[-1]), self.width)
        for slide, start in zip(slides, starts, strict=False):
            mapped, _ = self._map(slide)
            features[start : start + slide.patches].numpy()[...] = mapped

        others: dict[str, Tensor] = {}
        if "coords" in needs:
            others["coords"] = torch.from_numpy(np.concatenate([self._map(s)[1] for s in slides]))
        if "graph" in needs:
            others |= _union([_read_graph(slide) for slide in slides], starts)
        if "cluster" in needs:
            others["cluster"] = torch.cat([self._clusters(patient) for patient in patients])
        offsets = torch.tensor([0, *np.cumsum(rows)])
        return Bag(features, offsets, ids=tuple(patients), **others)

    def _map(self, slide: Slide) -> tuple[np.ndarray, np.ndarray]:
        """Return the mapped features and the coords of a slide, checked once."""
        if slide.slide_id not in self._mapped:
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
            self._mapped[slide.slide_id] = features, coords
        return self._mapped[slide.slide_id]

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


@lru_cache(maxsize=256)  # small cohorts are read once; large ones do not fill the memory
def _read_graph(slide: Slide) -> tuple[np.ndarray, np.ndarray]:
    """Return edge_index and edge_latent [2, E] of a slide, in rows of the slide."""
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
    return arrays["edge_index"], arrays["edge_latent"]


def _union(graphs: Sequence[tuple[np.ndarray, np.ndarray]], starts: np.ndarray) -> dict:
    """Return the disjoint union of slide graphs: both edge sets, in rows of the packed bag."""
    shifted = [
        (edges + start, latent + start)
        for (edges, latent), start in zip(graphs, starts, strict=False)
    ]
    return {
        name: torch.from_numpy(np.concatenate(sets, axis=1).astype(np.int64))
        for name, sets in zip(
            ("edge_index", "edge_latent"), zip(*shifted, strict=True), strict=True
        )
    }


def _same_content(path: Path, found: str, expected: str) -> None:
    """Refuse a file whose content is not what the cohort table was made from."""
    if found != expected:
        raise BagError(
            [
                f"{path.name}: its content ({found[:12] or 'no sha256'}) is not that of the cohort "
                f"table ({expected[:12] or 'no sha256'}). The file changed; make the cohort again."
            ]
        )
