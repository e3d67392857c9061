"""Draw one robustness curve of all experiments that are tried (rule draw_robustness)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "draw_robustness",
    log=snakemake.log[0],
    curve=snakemake.wildcards.curve,
    names=list(snakemake.params.names),
    predictions=list(snakemake.input.predictions),
    damaged=list(snakemake.input.damaged),
    table=snakemake.output.table,
    figure=snakemake.output.figure,
    bootstrap=snakemake.params.bootstrap,
    seed=snakemake.params.seed,
    task=snakemake.params.task,
)
