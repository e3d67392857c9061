"""Write what the run was made of and what it made (rule write_provenance)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "write_provenance",
    log=snakemake.log[0],
    crate=snakemake.output[0],
    root=snakemake.params.root,
    config=snakemake.params.config,
    run=snakemake.params.run,
    version=snakemake.params.version,
    workflow=list(snakemake.params.workflow),
    tables=[snakemake.input.slides, snakemake.input.patients],
    slides=snakemake.params.slides,
    slide_table=snakemake.input.slide_table,
    cohorts=list(snakemake.input.cohorts),
)
