"""Open every slide before a long run (rule check_slides)."""

from wsi.jobs import run_job

run_job(
    "wsi",
    "check_slides",
    log=snakemake.log[0],
    slides=snakemake.params.slides,
    scale=snakemake.params.scale,
    size=snakemake.params.size,
    encoders=snakemake.params.encoders,
    output=snakemake.output.slides,
    speeds=snakemake.output.encoders,
    workers=snakemake.threads,
)
