"""Patches of a run for users of CLAM: its folder of coordinates and its process list."""

import logging
import shutil
from pathlib import Path

from wsi.coordinate_files import write_clam_coordinates
from wsi.outlines import read_outlines
from wsi.storage import read_h5, read_outcome

log = logging.getLogger(__name__)


def export_clam(*, results: str, to: str, level: int = 2) -> None:
    """Write ``patches/<stem>.h5`` and ``process_list_autogen.csv`` as CLAM lays them out.

    CLAM reads `patch_size` pixels of `patch_level` at each place, which is what a patch covers
    here; where ours are reduced to another size afterwards, CLAM's are larger.

    Parameters
    ----------
    results : folder of a run (``results`` of its configuration) whose target ``patches`` was made.
    to : folder to write.
    level : 2 for the coarse patches, 1 for the fine ones.

    Raises
    ------
    ValueError : the folder has no patches of that level.
    """
    source, target = Path(results), Path(to)
    files = sorted((source / f"patches/level{level}").glob("*.h5"))
    if not files:
        raise ValueError(
            f"{source}/patches/level{level} has no patches; run snakemake patches first, and give "
            "level=1 or level=2."
        )
    written = 0
    for path in files:
        if not read_outcome(path).ok:
            continue
        arrays, attributes = read_h5(path)
        _, facts = read_outlines(source / f"tissue/{path.stem}.geojson")
        stem = Path(facts["file"]).stem
        written += write_clam_coordinates(
            target / f"patches/{stem}.h5",
            arrays["coords"],
            patch_size=int(attributes["patch_size"]),
            patch_level=int(attributes["patch_level"]),
            level_dimensions=facts["level_dimensions"],
            name=stem,
            save_path=str(target / "patches"),
        )
    process_list = source / "process_list_autogen.csv"
    if process_list.is_file():
        shutil.copyfile(process_list, target / process_list.name)
    log.info("%d of %d slides have patches; they are in %s", written, len(files), target)
