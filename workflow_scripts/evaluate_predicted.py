"""Measure models and their ensemble on a further cohort (rule evaluate_predicted)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "evaluate_predicted",
    log=snakemake.log[0],
    name=snakemake.wildcards.experiment,
    patients=snakemake.input.patients,
    predictions=list(snakemake.input.predictions),
    draws=list(snakemake.input.draws),
    ensemble=snakemake.input.ensemble,
    joined_curves=snakemake.input.joined_curves,
    trained=list(snakemake.input.trained),
    metrics=snakemake.output.metrics,
    curves=snakemake.output.curves,
    kaplan_meier=snakemake.output.kaplan_meier,
    bootstrap=snakemake.params.bootstrap,
    seed=snakemake.params.seed,
    unit=snakemake.params.unit,
)
