"""Write scores over slides as pyramidal TIFFs (rule export_pyramids)."""

from wsi.jobs import run_job

run_job(
    "wsi",
    "write_score_pyramids",
    log=snakemake.log[0],
    slides=snakemake.params.slides,
    scores=snakemake.input.scores,
    to=snakemake.output[0],
)
