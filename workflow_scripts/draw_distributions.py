"""Draw the predicted distributions of one experiment (rule draw_distributions)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "draw_distributions",
    log=snakemake.log[0],
    name=snakemake.wildcards.experiment,
    predictions=list(snakemake.input.predictions),
    draws=list(snakemake.input.draws),
    figures={name: path for name, path in snakemake.output.items() if path.endswith(".svg")},
    bootstrap=snakemake.params.bootstrap,
    seed=snakemake.params.seed,
    unit=snakemake.params.unit,
)
