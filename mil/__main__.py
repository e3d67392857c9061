"""`python -m mil STAGE key=value ...`."""

import sys

from wsi.commandline import main

STAGES = {
    "make_folds": "mil.folds",
    "build_graph": "mil.graphs",
    "cluster_patches": "mil.clusters",
    "gather_cohort": "mil.cohort",
    "train_model": "mil.training",
    "predict_fold": "mil.prediction",
    "evaluate_experiment": "mil.evaluation",
    "draw_heatmaps": "mil.heatmaps",
    "compare_experiments": "mil.comparison",
    "write_report": "mil.report.page",
    "write_provenance": "mil.provenance.crate",
}

if __name__ == "__main__":
    sys.exit(main("mil", STAGES, sys.argv[1:]))
