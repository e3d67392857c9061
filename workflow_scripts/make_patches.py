"""Lay level-2 patches on tissue and split each into 16 of level 1 (rule make_patches)."""

from wsi.jobs import run_job

run_job(
    "wsi",
    "make_patches",
    log=snakemake.log[0],
    attempt=snakemake.resources.attempt,
    attempts=snakemake.params.attempts,
    slide_id=snakemake.wildcards.slide,
    slide=snakemake.params.slide,
    tissue=snakemake.input.tissue,
    thumbnail=snakemake.input.thumbnail,
    level2=snakemake.output.level2,
    level1=snakemake.output.level1,
    picture=snakemake.output.picture,
    scale=snakemake.params.scale,
    patches=snakemake.params.patches,
    drop=list(snakemake.params.drop),
    given=snakemake.params.given,
)
