"""Predict every patient of one fold (rule predict_fold)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "predict_fold",
    log=snakemake.log[0],
    common=snakemake.params.run,
    model=snakemake.input.model,
    config=snakemake.input.config,
    cohort=snakemake.input.cohort,
    patients=snakemake.input.patients,
    fold=snakemake.input.fold,
    root=snakemake.params.root,
    predictions=snakemake.output.predictions,
    draws=snakemake.output.draws,
    attention=snakemake.output.attention,
)
