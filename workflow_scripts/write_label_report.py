"""Write the report of a task with labels: one page that holds everything (rule write_report)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "write_label_report",
    log=snakemake.log[0],
    report=snakemake.output[0],
    config=snakemake.params.config,
    root=snakemake.params.root,
    slides=snakemake.params.slides,
    slide_table=snakemake.input.slide_table,
    patients=snakemake.input.patients,
    excluded_patients=snakemake.input.excluded_patients,
    folds=list(snakemake.input.folds),
    cohorts=list(snakemake.input.cohorts),
    excluded=list(snakemake.input.excluded),
    graphs=list(snakemake.input.graphs),
    metrics=list(snakemake.input.metrics),
    heatmaps=list(snakemake.input.heatmaps),
    comparison=snakemake.input.comparison,
    forest=snakemake.input.forest,
    alarms=list(snakemake.input.alarms),
    citation=snakemake.input.citation,
    run=snakemake.params.run,
    version=snakemake.params.version,
    note=snakemake.params.note,
    robustness=list(snakemake.input.robustness),
    speeds=snakemake.params.speeds,
)
