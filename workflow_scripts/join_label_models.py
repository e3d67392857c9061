"""Join the predictions of all folds' models (rule join_models, with labels)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "join_label_models",
    log=snakemake.log[0],
    task=snakemake.params.task,
    predictions=list(snakemake.input.predictions),
    draws=list(snakemake.input.draws),
    ensemble=snakemake.output[0],
)
