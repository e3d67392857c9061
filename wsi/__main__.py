"""`python -m wsi STAGE key=value ...`."""

import sys

from wsi.commandline import main

STAGES = {
    "find_tissue": "wsi.tissue",
    "make_patches": "wsi.patches",
    "fetch_weights": "wsi.weights",
    "extract_features": "wsi.extract",
}

if __name__ == "__main__":
    sys.exit(main("wsi", STAGES, sys.argv[1:]))
