"""Write the page of a further cohort (rule write_predicted_report, with labels)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "write_predicted_label_report",
    log=snakemake.log[0],
    name=snakemake.wildcards.cohort,
    report=snakemake.output[0],
    task=snakemake.params.task,
    experiments=snakemake.params.experiments,
    models=snakemake.params.models,
    root=snakemake.params.root,
    slides=snakemake.input.slides,
    cohorts=list(snakemake.input.cohorts),
    excluded=list(snakemake.input.excluded),
    predictions=list(snakemake.input.predictions),
    ensembles=list(snakemake.input.ensembles),
    metrics=list(snakemake.input.metrics),
    heatmaps=list(snakemake.input.heatmaps),
    labels=snakemake.input.get("labels") or None,
    bootstrap=snakemake.params.bootstrap,
    version=snakemake.params.version,
    note=snakemake.params.note,
)
