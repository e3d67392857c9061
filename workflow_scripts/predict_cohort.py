"""Predict a further cohort with the model of one fold (rule predict_cohort)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "predict_cohort",
    log=snakemake.log[0],
    common=snakemake.params.run,
    model=snakemake.input.model,
    config=snakemake.input.config,
    trained=snakemake.input.get("trained"),
    cohort=snakemake.input.cohort,
    root=snakemake.params.root,
    predictions=snakemake.output.predictions,
    draws=snakemake.output.draws,
    attention=snakemake.output.attention,
)
