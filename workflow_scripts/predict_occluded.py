"""Predict the test patients of one fold with regions left out (rule predict_occluded)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "predict_occluded",
    log=snakemake.log[0],
    common=snakemake.params.run,
    model=snakemake.input.model,
    config=snakemake.input.config,
    cohort=snakemake.input.cohort,
    patients=snakemake.input.patients,
    fold=snakemake.input.fold,
    root=snakemake.params.root,
    output=snakemake.output[0],
    **snakemake.params.occlusion,
)
