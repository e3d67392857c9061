"""Draw attention on slides of a further cohort (rule draw_predicted_heatmaps)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "draw_predicted_heatmaps",
    log=snakemake.log[0],
    name=snakemake.wildcards.experiment,
    attention=list(snakemake.input.attention),
    ensemble=snakemake.input.ensemble,
    labels=snakemake.input.labels,
    cohort=snakemake.input.cohort,
    root=snakemake.params.root,
    heatmaps=snakemake.output[0],
    slides=snakemake.params.slides,
    unit=snakemake.params.unit,
    task=snakemake.params.task,
    annotations=list(snakemake.input.annotations),
)
