"""Slides with laid patches, and an encoder that can be checked by eye."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.wsi.stage_runs import blank_thumbnail, patch_drawn, ring, write_tissue
from wsi import encoders
from wsi.encoders import Encoder
from wsi.encoding.in_hand import SlideTask
from wsi.weights import fetch_weights


class MeanColour(nn.Module):
    """The mean red, green and blue of a patch, 0 to 1."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x.mean((2, 3)) * self.scale


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Weights of the encoder MeanColour, registered as "tiny" for the tests of one file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        tiny = Encoder("tiny", MeanColour, 3, 32, mean=(0, 0, 0), std=(1, 1, 1))
        patch.setitem(encoders.ENCODERS, "tiny", tiny)
        fetch_weights(encoder="tiny", weights="random", output=str(path))
        yield path


def lay(folder: Path, name: str, picture, make_slide, size=64, mpp=0.25) -> SlideTask:
    """Write a slide and lay patches all over it."""
    work = folder / "work" / name
    work.mkdir(parents=True)
    height, width = picture.shape[:2]
    slide = make_slide(folder / f"{name}.tiff", picture, mpp=mpp, downsamples=(4,))
    write_tissue(work / "S1.geojson", [[ring(0, 0, width, height)]], width, height, mpp)
    blank_thumbnail(work, 64, 64)
    assert patch_drawn(slide, work, size=size, min_tissue=0.0).ok
    (folder / "level1").mkdir(exist_ok=True)
    (work / "level1.h5").rename(folder / "level1" / f"{name}.h5")
    return SlideTask(name, str(slide), str(folder / "level1" / f"{name}.h5"))


@pytest.fixture(scope="session")
def cohort(make_slide, noise, tmp_path_factory):
    """Five slides of 1 to 6 coarse patches of 64 px: 16 to 96 fine ones, 256 together."""
    folder = tmp_path_factory.mktemp("cohort")
    sizes = [(1, 1), (2, 3), (1, 2), (2, 2), (1, 3)]
    return [
        lay(folder, f"S{i}", noise(1024 * rows, 1024 * columns, seed=i), make_slide)
        for i, (rows, columns) in enumerate(sizes)
    ]
