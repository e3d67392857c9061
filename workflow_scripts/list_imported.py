"""List every slide with what its imported file held (rule list_imported)."""

from wsi.jobs import run_job

run_job(
    "wsi",
    "list_imported",
    log=snakemake.log[0],
    slides=list(snakemake.params.slides),
    features=list(snakemake.input.features),
    table=snakemake.output.table,
)
