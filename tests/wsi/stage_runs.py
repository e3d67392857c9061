"""Runs of the stages of one slide, from its pixels or from tissue drawn by hand."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from wsi.patches import make_patches
from wsi.storage import Outcome, read_h5
from wsi.tissue import find_tissue

BY_MPP = {"by": "mpp", "coarse": 4.0, "fine": 1.0}
SIZE = 64  # at 0.25 um/px: 256 level-0 pixels a fine patch, 1024 a coarse one
LIMITS = {"close_um": 30.0, "min_area_mm2": 0.05, "min_hole_mm2": 0.02}
PATCHES = {
    "size": SIZE,
    "step": None,
    "grid": "slide",
    "rule": "fraction",
    "min_tissue": 0.25,
    "padding": True,
    "pad": "background",
}


def ring(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def write_tissue(path, pieces, width, height, mpp0=0.25, bounds=None, **others):
    """A tissue file as a person would draw it; `others` are pieces of Pen and Fold."""
    regions = {"Tissue": pieces, **others}
    features = [
        {
            "geometry": {"type": "Polygon", "coordinates": piece},
            "properties": {"classification": {"name": kind}},
        }
        for kind, drawn in regions.items()
        for piece in drawn
    ]
    facts = {
        "mpp0": mpp0,
        "mpp_source": "drawn",
        "width0": width,
        "height0": height,
        "bounds": bounds or [0, 0, width, height],
        "white": [242, 240, 243],
        "fingerprint": "drawn",
    }
    outcome = vars(Outcome("S1", "find_tissue"))
    path.write_text(json.dumps({"features": features, "outcome": outcome, "slide": facts}))


def patch_drawn(slide, folder, scale=BY_MPP, drop=(), given=None, **changed):
    """Lay patches on the tissue file S1.geojson of `folder`."""
    return make_patches(
        slide_id="S1",
        slide=str(slide),
        tissue=str(folder / "S1.geojson"),
        thumbnail=str(folder / "S1.jpg"),
        level2=str(folder / "level2.h5"),
        level1=str(folder / "level1.h5"),
        picture=str(folder / "grid.jpg"),
        scale=scale,
        patches=PATCHES | changed,
        drop=list(drop),
        given=str(given) if given else None,
    )


def blank_thumbnail(folder, width, height):
    cv2.imwrite(str(folder / "S1.jpg"), np.full((height, width, 3), 240, np.uint8))


@dataclass
class Results:
    """What the stages made of a slide in a folder."""

    folder: Path
    slide_id: str
    found: Outcome
    laid: Outcome

    @property
    def tissue(self):
        return self.folder / f"tissue/{self.slide_id}.geojson"

    @property
    def content(self):
        return json.loads(self.tissue.read_text())

    @property
    def facts(self):
        return self.content["slide"]

    def level(self, number):
        """Return arrays and attributes of the patches of a level, 2 or 1."""
        return read_h5(self.folder / f"level{number}/{self.slide_id}.h5")

    @property
    def coords(self):
        return self.level(2)[0]["coords"]


def settings_of(
    slide,
    folder,
    slide_id="S1",
    mpp=None,
    tissue=None,
    scale=BY_MPP,
    drop=(),
    given_tissue=None,
    given_patches=None,
    **patches,
):
    """Return the settings of find_tissue and of make_patches, plain values as a job has them."""
    own = {
        "slide_id": slide_id,
        "slide": str(slide),
        "tissue": f"{folder}/tissue/{slide_id}.geojson",
        "thumbnail": f"{folder}/tissue/{slide_id}.jpg",
    }
    find = own | {
        "mpp": mpp,
        "scale_by": scale["by"],
        "parameters": {"preset": "default", **LIMITS, **(tissue or {})},
        "given": str(given_tissue) if given_tissue else None,
    }
    lay = own | {
        "level2": f"{folder}/level2/{slide_id}.h5",
        "level1": f"{folder}/level1/{slide_id}.h5",
        "picture": f"{folder}/patches/{slide_id}.jpg",
        "scale": dict(scale),
        "patches": PATCHES | patches,
        "drop": list(drop),
        "given": str(given_patches) if given_patches else None,
    }
    return find, lay


def run_stages(slide, folder, slide_id="S1", **settings):
    """Find the tissue of a slide and lay patches on it."""
    find, lay = settings_of(slide, folder, slide_id, **settings)
    return Results(Path(folder), slide_id, find_tissue(**find), make_patches(**lay))


def run_in_worker(settings):
    """Run both stages of one slide in a process of a pool; see :func:`settings_of`."""
    find, lay = settings
    return find_tissue(**find), make_patches(**lay)
