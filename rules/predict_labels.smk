"""predictions of labels of further cohorts -> ensembles, evaluation, a page each."""


rule join_models:
    """Join the predictions of all folds' models into one for each patient or slide."""
    input:
        predictions=of_predicted(
            "<results>/predict/{cohort}/models/{experiment}/fold{fold}/predictions.csv"
        ),
        draws=of_predicted(
            "<results>/predict/{cohort}/models/{experiment}/fold{fold}/draws.npz"
        ),
    output:
        "<results>/predict/{cohort}/models/{experiment}/ensemble/predictions.csv",
    log:
        "<logs>/join_models/{cohort}/{experiment}.log",
    benchmark:
        "<benchmarks>/join_models/{cohort}/{experiment}.tsv"
    group:
        of_experiment("evaluation")
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=doubled(2000),
        runtime=doubled(30),
    params:
        task=TASK,
        code=code_of("mil.labelled.ensemble", *task_modules()),
    message:
        "{wildcards.cohort}: ensemble of {wildcards.experiment}"
    script:
        "../workflow_scripts/join_label_models.py"


rule evaluate_predicted:
    """Measure the models of all folds, and their ensemble, on a further cohort."""
    input:
        labels=lambda wildcards: PREDICTED[wildcards.cohort].labels,
        predictions=of_predicted(
            "<results>/predict/{cohort}/models/{experiment}/fold{fold}/predictions.csv"
        ),
        draws=of_predicted(
            "<results>/predict/{cohort}/models/{experiment}/fold{fold}/draws.npz"
        ),
        ensemble="<results>/predict/{cohort}/models/{experiment}/ensemble/predictions.csv",
    output:
        **{
            name: f"<results>/predict/{{cohort}}/evaluation/{{experiment}}/{name}.svg"
            for name in LABEL_FIGURES
        },
        **{
            f"{name}_csv": f"<results>/predict/{{cohort}}/evaluation/{{experiment}}/{name}.csv"
            for name in LABEL_FIGURES
        },
        metrics="<results>/predict/{cohort}/evaluation/{experiment}/metrics.csv",
    log:
        "<logs>/evaluate_predicted/{cohort}/{experiment}.log",
    benchmark:
        "<benchmarks>/evaluate_predicted/{cohort}/{experiment}.tsv"
    group:
        of_experiment("evaluation")
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=doubled(2000),
        runtime=doubled(30),
    params:
        task=TASK,
        figures=LABEL_FIGURES,
        bootstrap=config["evaluation"]["bootstrap"],
        seed=config["seed"],
        code=code_of("mil.labelled.cohort_evaluation", *task_modules()),
    message:
        "{wildcards.cohort}: evaluation of {wildcards.experiment}"
    script:
        "../workflow_scripts/evaluate_predicted_labels.py"


rule write_predicted_report:
    """Write the page of a further cohort."""
    input:
        slides=lambda wildcards: PREDICTED[wildcards.cohort].table.path,
        labels=lambda wildcards: PREDICTED[wildcards.cohort].labels or [],
        cohorts=of_predicted("<results>/predict/{cohort}/cohort/{encoder}.csv"),
        excluded=of_predicted(
            "<results>/predict/{cohort}/cohort/{encoder}.excluded.csv"
        ),
        predictions=of_predicted(
            "<results>/predict/{cohort}/models/{experiment}/fold{fold}/predictions.csv"
        ),
        ensembles=of_predicted(
            "<results>/predict/{cohort}/models/{experiment}/ensemble/predictions.csv"
        ),
        metrics=of_predicted(
            "<results>/predict/{cohort}/evaluation/{experiment}/metrics.csv",
            only_evaluated=True,
        ),
        figures=of_predicted(
            [
                f"<results>/predict/{{cohort}}/evaluation/{{experiment}}/{name}.svg"
                for name in LABEL_FIGURES
            ],
            only_evaluated=True,
        ),
        heatmaps=of_predicted(
            "<results>/predict/{cohort}/evaluation/{experiment}/heatmaps.jpg",
            only_evaluated=True,
        ),
        templates=TEMPLATES,
    output:
        "<results>/predict/{cohort}/report.html",
    log:
        "<logs>/write_predicted_report/{cohort}.log",
    benchmark:
        "<benchmarks>/write_predicted_report/{cohort}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=doubled(4000),
        runtime=doubled(30),
    params:
        task=TASK,
        experiments=lambda wildcards: PREDICTED[wildcards.cohort].described,
        models=lambda wildcards: PREDICTED[wildcards.cohort].models or "",
        root=results_folder,
        bootstrap=config["evaluation"]["bootstrap"],
        version=version,
        note=config["note"],
        code=code_of("mil.report.predicted_label_page", *task_modules()),
    message:
        "{wildcards.cohort}: report"
    script:
        "../workflow_scripts/write_predicted_label_report.py"
