"""Join the patches of one slide to their nearest neighbours (rule build_graph)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "build_graph",
    log=snakemake.log[0],
    attempt=snakemake.resources.attempt,
    attempts=snakemake.params.attempts,
    slide_id=snakemake.wildcards.slide,
    features=snakemake.input.features,
    graph=snakemake.output[0],
    **snakemake.params.graphs,
)
