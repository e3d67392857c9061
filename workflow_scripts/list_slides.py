"""List every slide with what was found on it (rule list_slides)."""

from wsi.jobs import run_job

run_job(
    "wsi",
    "list_slides",
    log=snakemake.log[0],
    slides=snakemake.params.slides,
    tissue=list(snakemake.input.tissue),
    patches=list(snakemake.input.patches),
    settings=snakemake.params.patches,
    table=snakemake.output.table,
    process_list=snakemake.output.process_list,
)
