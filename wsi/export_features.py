"""Features of a run for users of other programs."""

import logging
from pathlib import Path

from wsi.layouts.registry import WRITERS
from wsi.layouts.slide_features import SlideFeatures
from wsi.storage import read_features, read_outcome

log = logging.getLogger(__name__)


def export_features(*, results: str, encoder: str, to: str, layout: str) -> None:
    """Write the features of every usable slide as another program lays them out.

    Values and coordinates stay as they are, but that CLAM's are float32 whatever ours are, and
    STAMP's coordinates are in um. Files are named by slide id.

    Parameters
    ----------
    results : folder of a run (``results`` of its configuration) whose target ``features`` was made.
    encoder : which features, ``features/<encoder>``.
    to : folder to write.
    layout : ``clam`` (pt_files, h5_files), ``trident``, ``stamp`` or ``pt`` (plain tensors).

    Raises
    ------
    ValueError : no such layout, no such features, or a layout that needs a scale nobody knows.
    """
    if layout not in WRITERS:
        raise ValueError(f"layout is {layout}; it must be one of {', '.join(WRITERS)}.")
    source = Path(results) / "features" / encoder
    files = sorted(source.glob("*.h5"))
    if not files:
        known = sorted(path.name for path in source.parent.glob("*") if path.is_dir())
        raise ValueError(
            f"{source} has no features; run snakemake features first, and give encoder="
            f"{' or encoder='.join(known) or 'its name'}."
        )
    usable = [path for path in files if read_outcome(path).ok]
    for path in usable:
        WRITERS[layout].write(Path(to), path.stem, _read(path, encoder))
    log.info("%d of %d slides have features; they are in %s", len(usable), len(files), to)


def _read(path: Path, encoder: str) -> SlideFeatures:
    features, coords, attributes = read_features(path)
    known = "mpp0" in attributes and not str(attributes["mpp_source"]).startswith("assumed")
    size0 = "width0" in attributes
    return SlideFeatures(
        features,
        coords,
        encoder,
        footprint0=float(attributes["footprint0"]),
        patch_size=int(attributes["size"]) if "size" in attributes else None,
        mpp0=float(attributes["mpp0"]) if known else None,
        size0=(int(attributes["width0"]), int(attributes["height0"])) if size0 else None,
    )
