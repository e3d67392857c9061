"""Predict the test patients of one fold from changed pixels (rule predict_perturbed)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "predict_perturbed",
    log=snakemake.log[0],
    common=snakemake.params.run,
    model=snakemake.input.model,
    config=snakemake.input.config,
    cohort=snakemake.input.cohort,
    patients=snakemake.input.patients,
    fold=snakemake.input.fold,
    root=snakemake.params.root,
    perturbation=snakemake.wildcards.perturbation,
    perturbed=dict(zip(snakemake.params.levels, snakemake.input.perturbed, strict=True)),
    output=snakemake.output[0],
)
