"""Check the features of one slide and write them as ours (rule import_features)."""

from wsi.jobs import run_job

run_job(
    "wsi",
    "import_features",
    log=snakemake.log[0],
    attempt=snakemake.resources.attempt,
    attempts=snakemake.params.attempts,
    slide_id=snakemake.wildcards.slide,
    slide=snakemake.params.slide,
    mpp=snakemake.params.mpp,
    folder=snakemake.params.folder,
    layout=snakemake.params.layout,
    files=snakemake.params.files,
    encoder=snakemake.params.encoder,
    features=snakemake.output.features,
    thumbnail=snakemake.output.thumbnail,
    picture=snakemake.output.picture,
)
