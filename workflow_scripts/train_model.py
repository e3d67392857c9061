"""Train one experiment on one fold (rule train_model)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "train_model",
    log=snakemake.log[0],
    common=snakemake.params.run,
    cohort=snakemake.input.cohort,
    patients=snakemake.input.patients,
    fold=snakemake.input.fold,
    root=snakemake.params.root,
    experiment=snakemake.params.experiment,
    seed=snakemake.params.seed,
    fold_index=int(snakemake.wildcards.fold),
    model=snakemake.output.model,
    config=snakemake.output.config,
    history=snakemake.output.history,
    code=snakemake.params.code,
)
