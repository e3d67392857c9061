"""Read the annotated regions of one slide (rule read_annotations)."""

from wsi.jobs import run_job

run_job(
    "wsi",
    "read_annotations",
    log=snakemake.log[0],
    attempt=snakemake.resources.attempt,
    attempts=snakemake.params.attempts,
    slide_id=snakemake.wildcards.slide,
    features=snakemake.input.features,
    given=snakemake.params.given,
    outlines=snakemake.output.outlines,
    labels=snakemake.output.labels,
)
