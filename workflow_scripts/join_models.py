"""Join the predictions of all folds' models (rule join_models)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "join_models",
    log=snakemake.log[0],
    predictions=list(snakemake.input.predictions),
    draws=list(snakemake.input.draws),
    ensemble=snakemake.output.predictions,
    curves=snakemake.output.curves,
)
