"""The table of slides: what each is, what was found on it, and why a person should look."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from wsi.clam.process_list import ProcessRow, write_process_list
from wsi.clam.segmentation import choose_level, parameters_of
from wsi.outlines import read_outlines
from wsi.patch_quality import FLAGS
from wsi.stain import outliers
from wsi.storage import atomic, read_attributes, read_h5, read_outcome

BLURRED_SLIDE = 0.3  # share of coarse patches out of focus
COLUMNS = (
    *("slide_id", "status", "reason", "look", "format", "backend", "width", "height", "levels"),
    *("mpp", "mpp_source", "icc_profile", "tissue_mm2", "pieces", "method", "pen_mm2"),
    *("fold_share", "coarse_patches", "dropped", "pen_patches", "fold_patches", "blur_patches"),
    *("unreadable_patches", "damaged_tiles", "median_focus", "median_density", "fingerprint"),
)


def list_slides(
    *,
    slides: Mapping[str, str],
    tissue: Sequence[str],
    patches: Sequence[str],
    settings: Mapping[str, object],
    table: str,
    process_list: str,
) -> None:
    """Write the table of slides and CLAM's process list.

    Parameters
    ----------
    slides : id -> path of the file, in the order of the slide table.
    tissue, patches : what find_tissue and make_patches wrote (coarse), in the same order.
    settings : how patches are laid (``rule``, ``padding``) where a slide's file does not say.
    table : CSV to write, a row a slide; ``look`` says why a person should look at it.
    process_list : CSV to write, CLAM's ``process_list_autogen.csv``.
    """
    known = {
        slide: read_outlines(path)[1]
        for slide, path in zip(slides, tissue, strict=True)
        if read_outcome(path).ok
    }
    odd = outliers({slide: facts["stain"] for slide, facts in known.items()})
    rows = [
        _row(slide, known.get(slide), path, odd.get(slide, ""))
        for slide, path in zip(slides, patches, strict=True)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic(table) as partial:
        partial.write_text(text.getvalue())
    laid = {
        row["slide_id"]: json.loads(read_attributes(path)["patches"])
        for row, path in zip(rows, patches, strict=True)
        if row["status"] == "ok"
    }
    write_process_list(process_list, _process_rows(slides, known, rows, laid, settings))


def _row(
    slide: str, facts: Mapping[str, object] | None, patches: str, odd: str
) -> dict[str, object]:
    outcome = read_outcome(patches)
    row = {"slide_id": slide, "status": outcome.kind or outcome.status, "reason": outcome.reason}
    if facts is None:
        return row
    copied = ("format", "backend", "levels", "mpp_source", "icc_profile", "tissue_mm2", "pieces")
    row |= {name: facts[name] for name in (*copied, "method", "pen_mm2", "fold_share")}
    row |= {
        "width": facts["width0"],
        "height": facts["height0"],
        "mpp": f"{facts['mpp0']:.6g}",
        "fingerprint": facts["fingerprint"],
    }
    reasons = [facts["check"], odd]
    if outcome.ok:
        arrays, attributes = read_h5(patches)
        row |= _of_patches(arrays, attributes)
        share = float(attributes["blurred_share"])
        if share > BLURRED_SLIDE:
            reasons.append(f"{share:.0%} of its patches are out of focus.")
    row["look"] = " ".join(filter(None, reasons))
    return row


def _of_patches(
    arrays: Mapping[str, np.ndarray], attributes: Mapping[str, object]
) -> dict[str, object]:
    flags = arrays["flags"]
    counts = {f"{flag}_patches": int((flags >> bit & 1).sum()) for bit, flag in enumerate(FLAGS)}
    return counts | {
        "coarse_patches": len(flags),
        "dropped": int(attributes["dropped_patches"]),
        "unreadable_patches": int((arrays["unreadable"] > 0).sum()),
        "damaged_tiles": int(attributes["damaged_tiles"]),
        "median_focus": _median(arrays["focus"]),
        "median_density": _median(arrays["density"]),
    }


def _median(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)].astype(np.float32)
    return f"{np.median(finite):.4g}" if len(finite) else ""


def _process_rows(
    slides: Mapping[str, str],
    known: Mapping[str, Mapping[str, object]],
    rows: Sequence[Mapping[str, object]],
    laid: Mapping[str, Mapping[str, object]],
    settings: Mapping[str, object],
) -> Iterable[ProcessRow]:
    for row in rows:
        slide = row["slide_id"]
        facts, how = known.get(slide, {}), laid.get(slide, settings)
        # where tissue was found our own way, the parameters are those of CLAM's command
        parameters = parameters_of(facts.get("parameters", {"preset": "default"}))
        levels = facts.get("level_dimensions")
        chosen = choose_level(levels) if levels else -1
        if parameters.seg_level < 0:
            parameters = replace(parameters, seg_level=chosen)
        yield ProcessRow(
            Path(slides[slide]).name,
            parameters,
            process=False,
            status="processed" if row["status"] == "ok" else "failed_seg",
            vis_level=chosen,
            use_padding=bool(how["padding"]),
            contour_fn="four_pt" if how["rule"] == "fraction" else str(how["rule"]),
        )
