"""Print what the check of all slides has found (rule preflight)."""

from pathlib import Path

from wsi.jobs import run_job

run_job(
    "wsi",
    "summarise_slides",
    log=snakemake.log[0],
    slides=snakemake.input.slides,
    speeds=snakemake.input.encoders,
    page=snakemake.params.page,
    results=snakemake.params.results,
    scale=snakemake.params.scale,
    drop=list(snakemake.params.drop),
    neighbours=snakemake.params.neighbours,
    max_failed_slides=snakemake.params.max_failed_slides,
    strict=snakemake.params.strict,
)
print(f"\n{Path(snakemake.params.page).read_text()}", flush=True)
