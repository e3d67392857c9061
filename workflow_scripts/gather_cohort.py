"""Count what became of every slide; list the usable ones (rule gather_cohort)."""

from wsi.jobs import run_job

run_job(
    "mil",
    "gather_cohort",
    log=snakemake.log[0],
    slides=snakemake.params.slides,
    features=list(snakemake.input.features),
    graphs=list(snakemake.input.graphs),
    clusters=list(snakemake.input.clusters),
    cohort=snakemake.output.cohort,
    graph_statistics=snakemake.output.graph_statistics,
    excluded=snakemake.output.excluded,
    counts=snakemake.output.counts,
    root=snakemake.params.root,
    max_failed_slides=snakemake.params.max_failed_slides,
    strict=snakemake.params.strict,
    exclude=snakemake.params.exclude,
)
