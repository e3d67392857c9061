"""`python -m wsi STAGE key=value ...`."""

import sys

from wsi.commandline import main

STAGES = {
    "check_slides": "wsi.preflight.check",
    "summarise_slides": "wsi.preflight.page",
    "find_tissue": "wsi.tissue",
    "make_patches": "wsi.patches",
    "list_slides": "wsi.slide_table",
    "fetch_weights": "wsi.weights",
    "export_clam": "wsi.export",
    "extract_features": "wsi.extract",
    "import_features": "wsi.import_features",
    "list_imported": "wsi.imported_table",
    "export_features": "wsi.export_features",
    "draw_tiles": "wsi.tile_gallery",
    "read_annotations": "wsi.annotations",
    "write_score_pyramid": "wsi.score_pyramid",
    "write_score_pyramids": "wsi.score_pyramid",
}

if __name__ == "__main__":
    sys.exit(main("wsi", STAGES, sys.argv[1:]))
