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
    "draw_distributions": "mil.distributions.draw",
    "draw_heatmaps": "mil.heatmaps",
    "export_scores": "mil.export_scores",
    "compare_experiments": "mil.comparison",
    "evaluate_labels": "mil.labelled.evaluation",
    "compare_labels": "mil.labelled.comparison",
    "predict_occluded": "mil.robustness.predict",
    "predict_perturbed": "mil.robustness.predict",
    "draw_robustness": "mil.robustness.curves",
    "write_report": "mil.report.page",
    "write_label_report": "mil.report.label_page",
    "write_provenance": "mil.provenance.crate",
    "predict_cohort": "mil.cohort_prediction",
    "join_models": "mil.ensemble",
    "join_label_models": "mil.labelled.ensemble",
    "evaluate_predicted": "mil.cohort_evaluation",
    "evaluate_predicted_labels": "mil.labelled.cohort_evaluation",
    "draw_predicted_heatmaps": "mil.heatmaps",
    "write_predicted_report": "mil.report.predicted_page",
    "write_predicted_label_report": "mil.report.predicted_label_page",
    "convert_advmil": "mil.advmil.convert",
    "export_advmil": "mil.advmil.export",
    "convert_torchmil": "mil.torchmil_weights.convert",
}

if __name__ == "__main__":
    sys.exit(main("mil", STAGES, sys.argv[1:]))
