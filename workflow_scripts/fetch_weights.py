"""Find the weights of one encoder (rule fetch_weights)."""

from wsi.jobs import run_job

run_job(
    "wsi",
    "fetch_weights",
    log=snakemake.log[0],
    encoder=snakemake.params.encoder,
    weights=snakemake.params.weights,
    declared=snakemake.params.declared,
    output=snakemake.output[0],
)
