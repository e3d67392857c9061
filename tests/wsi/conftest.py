"""Slides made for the tests: pyramidal tiled TIFFs that OpenSlide opens, with known pixels."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

GLASS = (242, 240, 243)
TISSUE = (190, 110, 170)
REAL = Path(__file__).resolve().parents[2] / "../shared/data/slides"


@pytest.fixture(scope="session")
def make_slide() -> Callable[..., Path]:
    """Return a function that writes a slide."""

    def make(
        path: Path,
        rgb0: np.ndarray,
        mpp: float | None = 0.25,
        downsamples: Sequence[float] = (4, 16),
        *,
        compression: str = "deflate",
        unit: str = "CENTIMETER",
        tile: int = 256,
        description: str | None = None,
        levels: Sequence[np.ndarray] | None = None,
    ) -> Path:
        """Write `rgb0` and its reductions; `levels` replaces the reductions by other pictures.

        `downsamples` need not divide the size: a level is ``floor(size / downsample)`` pixels.
        """
        height, width = rgb0.shape[:2]
        if levels is None:
            sizes = [(int(width / d), int(height / d)) for d in downsamples]
            levels = [cv2.resize(rgb0, size, interpolation=cv2.INTER_AREA) for size in sizes]
        lossy = {"compressionargs": {"level": 90}, "subsampling": (1, 1)}
        with tifffile.TiffWriter(path) as file:
            for number, image in enumerate([rgb0, *levels]):
                scale = {}
                if mpp is not None:
                    per_unit = {"CENTIMETER": 10_000, "INCH": 25_400}[unit] / mpp
                    per_unit *= image.shape[1] / width
                    scale = {"resolution": (per_unit, per_unit), "resolutionunit": unit}
                file.write(
                    image,
                    tile=(tile, tile),
                    photometric="rgb",
                    compression=compression,
                    subfiletype=int(number > 0),
                    description=description if number == 0 else None,
                    software="",
                    metadata=None,
                    **(lossy if compression == "jpeg" else {}),
                    **scale,
                )
        return path

    return make


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """Return a function that makes seeded pictures in which every place looks different."""

    def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        rough = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
        smooth = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
        grain = rng.integers(-20, 21, (height, width, 1))
        return np.clip(smooth + grain, 0, 255).astype(np.uint8)

    return picture


@pytest.fixture(scope="session")
def glass() -> Callable[..., np.ndarray]:
    """Return a function that makes bare glass, to draw tissue on."""

    def picture(height: int, width: int) -> np.ndarray:
        return np.full((height, width, 3), GLASS, np.uint8)

    return picture


@pytest.fixture(scope="session")
def random_resnet50(tmp_path_factory) -> Path:
    """Return a file of random weights of the encoder resnet50."""
    from wsi.weights import fetch_weights

    path = tmp_path_factory.mktemp("weights") / "resnet50.safetensors"
    fetch_weights(encoder="resnet50", weights="random", output=str(path))
    return path


@pytest.fixture(scope="session")
def real_slides() -> Path:
    """Return the folder of real slides, or skip the test."""
    if not REAL.is_dir():
        pytest.skip("needs the real slides of ../shared/data")
    return REAL


@pytest.fixture(scope="session")
def damage_tile() -> Callable[..., None]:
    """Return a function that overwrites the compressed bytes of one storage tile of a slide."""

    def damage(path: Path, level: int, number: int) -> None:
        with tifffile.TiffFile(path) as file:
            page = file.pages[level]
            offset, count = page.dataoffsets[number], page.databytecounts[number]
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(b"\x55" * count)

    return damage


@pytest.fixture
def run(make_slide, glass, tmp_path):
    """Return a function that lays patches on drawn pieces of a slide of bare glass, or of `rgb`."""
    from tests.wsi.stage_runs import blank_thumbnail, patch_drawn, write_tissue

    def run(
        pieces, width=5120, height=4096, mpp0=0.25, downsamples=(4, 16), rgb=None, slide=None,
        Pen=(), Fold=(), **settings,
    ):  # fmt: skip
        if slide is None:
            rgb = glass(height, width) if rgb is None else rgb
            slide = make_slide(tmp_path / "S1.tiff", rgb, mpp=mpp0, downsamples=downsamples)
        write_tissue(tmp_path / "S1.geojson", pieces, width, height, mpp0, Pen=Pen, Fold=Fold)
        blank_thumbnail(tmp_path, width // 5, height // 5)
        return patch_drawn(slide, tmp_path, **settings)

    return run


@pytest.fixture
def files(tmp_path):
    """Return a function that reads what `run` wrote: coarse patches, then fine ones."""
    from wsi.storage import read_h5

    return lambda: (read_h5(tmp_path / "level2.h5"), read_h5(tmp_path / "level1.h5"))
