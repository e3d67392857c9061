"""Encode the level-1 patches of one slide (rule extract_features)."""

from wsi.jobs import run_job

run_job(
    "wsi",
    "extract_features",
    log=snakemake.log[0],
    attempt=snakemake.resources.attempt,
    attempts=snakemake.params.attempts,
    slide_id=snakemake.wildcards.slide,
    slide=snakemake.params.slide["path"],
    patches=snakemake.input.patches,
    weights=snakemake.input.weights,
    features=snakemake.output[0],
    batch_size=snakemake.params.running["batch_size"],
    precision=snakemake.params.running["precision"],
    device=snakemake.params.running["device"],
)
