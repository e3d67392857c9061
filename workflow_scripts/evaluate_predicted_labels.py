"""Measure models and their ensemble on a further cohort (rule evaluate_predicted, with labels)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "evaluate_predicted_labels",
    log=snakemake.log[0],
    name=snakemake.wildcards.experiment,
    task=snakemake.params.task,
    labels=snakemake.input.labels,
    predictions=list(snakemake.input.predictions),
    draws=list(snakemake.input.draws),
    ensemble=snakemake.input.ensemble,
    metrics=snakemake.output.metrics,
    figures={name: snakemake.output[name] for name in snakemake.params.figures},
    bootstrap=snakemake.params.bootstrap,
    seed=snakemake.params.seed,
)
