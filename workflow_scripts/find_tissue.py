"""Segment the tissue of one slide (rule find_tissue)."""

from wsi.jobs import run_job

run_job(
    "wsi",
    "find_tissue",
    log=snakemake.log[0],
    attempt=snakemake.resources.attempt,
    attempts=snakemake.params.attempts,
    slide_id=snakemake.wildcards.slide,
    slide=snakemake.params.slide,
    tissue=snakemake.output.tissue,
    thumbnail=snakemake.output.thumbnail,
    mpp=snakemake.params.mpp,
    scale_by=snakemake.params.scale_by,
    parameters=snakemake.params.parameters,
    given=snakemake.params.given,
)
