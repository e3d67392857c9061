"""Measure one experiment on the test parts of all folds (rule evaluate_experiment)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "evaluate_experiment",
    log=snakemake.log[0],
    name=snakemake.wildcards.experiment,
    predictions=list(snakemake.input.predictions),
    draws=list(snakemake.input.draws),
    histories=list(snakemake.input.histories),
    metrics=snakemake.output.metrics,
    alarms=snakemake.output.alarms,
    curves=snakemake.output.curves,
    kaplan_meier=snakemake.output.kaplan_meier,
    training_curves=snakemake.output.training_curves,
    training_curves_csv=snakemake.output.training_curves_csv,
    horizons=list(snakemake.params.horizons),
    bootstrap=snakemake.params.bootstrap,
    seed=snakemake.params.seed,
    unit=snakemake.params.unit,
)
