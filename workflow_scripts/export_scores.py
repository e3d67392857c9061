"""Write the scores of test patients' patches for QuPath (rule export_scores)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "export_scores",
    log=snakemake.log[0],
    attention=list(snakemake.input.attention),
    cohort=snakemake.input.cohort,
    root=snakemake.params.root,
    to=snakemake.output[0],
)
