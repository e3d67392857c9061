"""What became of every slide: the usable ones with the hashes of their files, and the others."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mil.problems import InputError, listed
from mil.table_writer import write_table
from mil.tables import Slide, read_slides
from wsi.storage import Outcome, read_features, write_json

# Columns of the cohort table: those without which there is no bag, then what some models need.
OF_BAGS = ("slide_id", "patient_id", "n_patches", "width", "features", "features_sha256")
OF_STRUCTURE = ("graph", "graph_sha256", "clusters", "clusters_sha256")
OF_REGIONS = ("regions",)  # true: rows 16k .. 16k+15 are the 4 x 4 fine patches of a coarse one
# What made the features, and with what graph and clusters were built; empty where nobody says.
OF_ORIGIN = ("encoder", "weights_sha256", "patch_px", "patch_um", "neighbours", "clusters_k")
OF_GRAPHS = ("slide_id", "n_patches")  # then what mil.graphs says of a graph
STATISTICS = ("in_degree_min", "in_degree_median", "in_degree_max", "pieces", "long_edges")
EXCLUDED = ("level", "id", "patient_id", "stage", "kind", "reason")


class CohortError(InputError):
    """The cohort cannot be used; the message has one sentence a line."""


@dataclass(frozen=True, slots=True)
class _File:
    """A result of one slide or patient: what became of it, and the hash of its content."""

    path: str
    outcome: Outcome
    sha256: str
    shape: tuple[int, ...] = ()
    regions: bool = False
    statistics: tuple[object, ...] = ()
    origin: tuple[object, ...] = ()


def gather_cohort(
    *,
    slides: str | Path,
    features: Sequence[str | Path],
    graphs: Sequence[str | Path],
    clusters: Sequence[str | Path],
    cohort: str | Path,
    graph_statistics: str | Path,
    excluded: str | Path,
    counts: str | Path,
    root: str | Path,
    max_failed_slides: float,
    strict: bool,
    exclude: Sequence[str] = (),
) -> None:
    """Read the outcome of every slide and write the cohort that models are trained on.

    Parameters
    ----------
    slides : the slide table.
    features, graphs : a file for each slide of the table but those of `exclude`, in its order.
    clusters : a file for each patient of those slides, named by the patient id.
    cohort : output, a row for each usable slide in table order; paths are relative to `root`.
    graph_statistics : output, for each usable slide what :func:`mil.graphs.statistics` says.
    excluded : output, ``level,id,patient_id,stage,kind,reason``: slides, then patients without a
        usable slide.
    counts : output (JSON), how many slides, patients and patches.
    root : the results folder.
    max_failed_slides : share of slides that may fail; slides of `exclude` do not count.
    strict : let no slide fail.
    exclude : ids of slides left out on purpose.

    Raises
    ------
    CohortError : too many slides failed (all named), none is usable, or widths differ.
    """
    every = read_slides(slides, need_paths=False)
    kept = read_slides(slides, exclude, need_paths=False)
    by_patient = {Path(path).stem: path for path in clusters}
    clustered = {name: _read_npz(by_patient[name], root) for name in {s.patient_id for s in kept}}
    usable, failed = [], {}
    for slide, feature_path, graph_path in zip(kept, features, graphs, strict=True):
        encoded, graph = _read_h5(feature_path, root), _read_npz(graph_path, root)
        cluster = clustered[slide.patient_id]
        outcome = _first_failure(slide, encoded, graph, cluster)
        if outcome.ok:
            usable.append((slide, encoded, graph, cluster))
        else:
            failed[slide.slide_id] = outcome
    _refuse(kept, failed, usable, max_failed_slides, strict)

    columns = OF_BAGS + OF_STRUCTURE + OF_REGIONS + OF_ORIGIN
    write_table(cohort, columns, (_usable_row(*entry) for entry in usable))
    described = ([s.slide_id, e.shape[0], *g.statistics] for s, e, g, _ in usable)
    write_table(graph_statistics, OF_GRAPHS + STATISTICS, described)
    lost = failed | {
        name: Outcome(name, "configuration", "failed", "left out under exclude", "excluded")
        for name in exclude
    }
    with_slides = {slide.patient_id for slide, *_ in usable}
    write_table(excluded, EXCLUDED, _excluded_rows(every, lost, with_slides))
    write_json(
        counts,
        {
            "slides": len(every),
            "excluded_slides": len(every) - len(kept),
            "failed_slides": len(failed),
            "failed_by_kind": Counter(outcome.kind for outcome in failed.values()),
            "usable_slides": len(usable),
            "patients": len({slide.patient_id for slide in every}),
            "patients_with_slides": len(with_slides),
            "patches": sum(encoded.shape[0] for _, encoded, *_ in usable),
            "width": usable[0][1].shape[1],
        },
    )


def _first_failure(slide: Slide, encoded: _File, graph: _File, cluster: _File) -> Outcome:
    """Return the outcome of the earliest stage that failed, or an ok one."""
    for file in (encoded, graph, cluster):
        if not file.outcome.ok:
            return file.outcome
    if encoded.shape[0] == 0:
        return Outcome(slide.slide_id, "extract_features", "failed", "it has no patch", "no_tissue")
    return encoded.outcome


def _refuse(
    kept: Sequence[Slide],
    failed: dict[str, Outcome],
    usable: Sequence[tuple],
    max_failed_slides: float,
    strict: bool,
) -> None:
    share = len(failed) / max(1, len(kept))
    stop = ""
    if not usable:
        stop = "none is usable"
    elif strict and failed:
        stop = "strict: true lets none fail"
    elif share > max_failed_slides:
        stop = f"max_failed_slides lets {max_failed_slides:.0%} fail"
    if stop:
        raise CohortError(
            [
                f"{len(failed)} of {len(kept)} slides failed ({share:.0%}); {stop}. Mend them, or "
                f"name them under exclude: {listed(failed, len(failed))}.",
                *(f"slide {name} ({o.kind}): {o.reason}" for name, o in failed.items()),
            ]
        )
    widths = Counter(encoded.shape[1] for _, encoded, *_ in usable)
    if len(widths) > 1:
        usual = widths.most_common(1)[0][0]
        others = [s.slide_id for s, encoded, *_ in usable if encoded.shape[1] != usual]
        raise CohortError(
            [
                f"features are {usual} wide but for slides {listed(others)}; remove their feature "
                "files and run again (imported ones: have them extracted again), so that one "
                "encoder makes all."
            ]
        )


def _usable_row(slide: Slide, encoded: _File, graph: _File, cluster: _File) -> list[object]:
    files = [cell for file in (encoded, graph, cluster) for cell in (file.path, file.sha256)]
    regions = "true" if encoded.regions else "false"
    origin = [*encoded.origin, *graph.origin, *cluster.origin]
    return [slide.slide_id, slide.patient_id, *encoded.shape, *files, regions, *origin]


def _excluded_rows(
    every: Sequence[Slide], lost: dict[str, Outcome], with_slides: set[str]
) -> Iterable[list[str]]:
    without: dict[str, list[str]] = {}
    for slide in every:
        if slide.slide_id in lost:
            outcome = lost[slide.slide_id]
            yield [
                *("slide", slide.slide_id, slide.patient_id),
                *(outcome.stage, outcome.kind, outcome.reason),
            ]
        if slide.patient_id not in with_slides:
            kind = lost[slide.slide_id].kind
            without.setdefault(slide.patient_id, []).append(f"{slide.slide_id} ({kind})")
    for patient, slides in without.items():
        reason = f"no usable slide: {listed(slides)}"
        yield ["patient", patient, patient, "gather_cohort", "no_slide", reason]


def _read_h5(path: str | Path, root: str | Path) -> _File:
    features, _, attributes = read_features(path)
    # of what is extracted here every patch file is made of regions; what is imported says so itself
    regions = attributes.get("regions", attributes["stage"] == "extract_features")
    return _file(
        path,
        root,
        attributes,
        attributes,
        shape=features.shape,
        regions=bool(regions),
        origin=_origin(attributes),
    )


def _origin(attributes: dict) -> tuple[object, ...]:
    """Return encoder, hash of its weights, and side of a patch in pixels and in um."""
    # the hash of the published file, where there is one: ours also covers what is declared of it
    weights = attributes.get("published_sha256") or attributes.get("weights_sha256", "")
    side_um = ""
    said = not str(attributes.get("mpp_source", "")).startswith("assumed")
    if said and "mpp0" in attributes and "footprint0" in attributes:
        side_um = float(attributes["mpp0"] * attributes["footprint0"])
    return (attributes.get("encoder", ""), weights, attributes.get("size", ""), side_um)


def _read_npz(path: str | Path, root: str | Path) -> _File:
    with np.load(path, allow_pickle=False) as archive:  # the arrays stay unread
        attributes = json.loads(str(archive["attributes"]))
    statistics = tuple(attributes.get(name, "") for name in STATISTICS)
    origin = (attributes.get("neighbours", attributes.get("k", "")),)  # of a graph, of clusters
    described = {"statistics": statistics, "origin": origin}
    return _file(path, root, attributes["outcome"], attributes, **described)


def _file(
    path: str | Path,
    root: str | Path,
    outcome: dict,
    attributes: dict,
    **others: object,
) -> _File:
    relative = Path(os.path.relpath(path, root)).as_posix()
    known = Outcome(**{name: str(outcome[name]) for name in Outcome.__dataclass_fields__})
    return _File(relative, known, str(attributes.get("sha256", "")), **others)
