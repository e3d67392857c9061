"""Put experiments into one table (rules compare_experiments, compare_permuted; with labels)."""

from wsi.jobs import run_job

names = list(snakemake.params.names)
paths = list(snakemake.input.predictions)  # experiment by experiment, fold by fold
folds = len(paths) // len(names)

run_job(
    "mil",
    "compare_labels",
    log=snakemake.log[0],
    names=names,
    task=snakemake.params.task,
    predictions={name: paths[i * folds : (i + 1) * folds] for i, name in enumerate(names)},
    groups=snakemake.params.groups,
    comparison=snakemake.output.comparison,
    text=snakemake.output.text,
    forest=snakemake.output.forest,
    bootstrap=snakemake.params.bootstrap,
    seed=snakemake.params.seed,
)
