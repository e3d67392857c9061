"""Group the patches of one patient by their features (rule cluster_patches)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "cluster_patches",
    log=snakemake.log[0],
    attempt=snakemake.resources.attempt,
    attempts=snakemake.params.attempts,
    patient_id=snakemake.wildcards.patient,
    slides=list(snakemake.params.slides),
    features=list(snakemake.input.features),
    clusters=snakemake.output[0],
    k=snakemake.params.k,
    seed=snakemake.params.seed,
)
