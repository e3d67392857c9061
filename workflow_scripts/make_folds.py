"""Name the patients with a usable follow-up and deal them to folds (rule make_folds)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "make_folds",
    log=snakemake.log[0],
    slides=snakemake.params.slides,
    patients=snakemake.params.patients,
    folds=list(snakemake.output.folds),
    cohort_patients=snakemake.output.patients,
    excluded=snakemake.output.excluded,
    seed=snakemake.params.seed,
    strict=snakemake.params.strict,
    exclude=snakemake.params.exclude,
    task=snakemake.params.task,
    **snakemake.params.folds,
)
