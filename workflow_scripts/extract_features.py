"""Encode the patches of one slide, and others ahead of their jobs (rule extract_features)."""

from wsi.jobs import run_job

run_job(
    "wsi",
    "extract_features",
    log=snakemake.log[0],
    attempt=snakemake.resources.attempt,
    attempts=snakemake.params.attempts,
    common=snakemake.params.run,
    slide_id=snakemake.wildcards.slide,
    slide=snakemake.params.slide,
    patches=snakemake.input.patches,
    weights=snakemake.input.weights,
    features=snakemake.output[0],
    precision=snakemake.params.precision,
    device=snakemake.params.device,
    perturbation=snakemake.params.perturbation,
    threads=snakemake.threads,
    speeds=snakemake.params.speeds,
    alone=snakemake.resources.attempt > 1,
)
