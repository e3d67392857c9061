"""Measure one experiment of a task with labels (rule evaluate_experiment)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "evaluate_labels",
    log=snakemake.log[0],
    name=snakemake.wildcards.experiment,
    task=snakemake.params.task,
    predictions=list(snakemake.input.predictions),
    draws=list(snakemake.input.draws),
    histories=list(snakemake.input.histories),
    metrics=snakemake.output.metrics,
    alarms=snakemake.output.alarms,
    figures={name: snakemake.output[name] for name in snakemake.params.figures},
    training_curves=snakemake.output.training_curves,
    training_curves_csv=snakemake.output.training_curves_csv,
    bootstrap=snakemake.params.bootstrap,
    seed=snakemake.params.seed,
)
