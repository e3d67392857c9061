"""predictions of survival of further cohorts -> ensembles, evaluation, a page each."""


rule join_models:
    """Join the predictions of all folds' models into one for each patient."""
    input:
        predictions=of_predicted(
            "<results>/predict/{cohort}/models/{experiment}/fold{fold}/predictions.csv"
        ),
        draws=of_predicted(
            "<results>/predict/{cohort}/models/{experiment}/fold{fold}/draws.npz"
        ),
    output:
        predictions="<results>/predict/{cohort}/models/{experiment}/ensemble/predictions.csv",
        curves="<results>/predict/{cohort}/models/{experiment}/ensemble/curves.npz",
    log:
        "<logs>/join_models/{cohort}/{experiment}.log",
    benchmark:
        "<benchmarks>/join_models/{cohort}/{experiment}.tsv"
    group:
        of_experiment("evaluation")
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=doubled(4000),
        runtime=doubled(30),
    params:
        code=code_of("mil.ensemble"),
    message:
        "{wildcards.cohort}: ensemble of {wildcards.experiment}"
    script:
        "../workflow_scripts/join_models.py"


rule evaluate_predicted:
    """Measure the models of all folds, and their ensemble, on a further cohort."""
    input:
        patients=lambda wildcards: PREDICTED[wildcards.cohort].labels,
        predictions=of_predicted(
            "<results>/predict/{cohort}/models/{experiment}/fold{fold}/predictions.csv"
        ),
        draws=of_predicted(
            "<results>/predict/{cohort}/models/{experiment}/fold{fold}/draws.npz"
        ),
        ensemble="<results>/predict/{cohort}/models/{experiment}/ensemble/predictions.csv",
        joined_curves="<results>/predict/{cohort}/models/{experiment}/ensemble/curves.npz",
        trained=training_of_models,
    output:
        metrics="<results>/predict/{cohort}/evaluation/{experiment}/metrics.csv",
        curves="<results>/predict/{cohort}/evaluation/{experiment}/kaplan_meier.csv",
        kaplan_meier="<results>/predict/{cohort}/evaluation/{experiment}/kaplan_meier.svg",
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
        bootstrap=config["evaluation"]["bootstrap"],
        seed=config["seed"],
        unit=config["unit"],
        code=code_of("mil.cohort_evaluation"),
    message:
        "{wildcards.cohort}: evaluation of {wildcards.experiment}"
    script:
        "../workflow_scripts/evaluate_predicted.py"


rule write_predicted_report:
    """Write the page of a further cohort."""
    input:
        slides=lambda wildcards: PREDICTED[wildcards.cohort].table.path,
        patients=lambda wildcards: PREDICTED[wildcards.cohort].labels or [],
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
        kaplan_meier=of_predicted(
            "<results>/predict/{cohort}/evaluation/{experiment}/kaplan_meier.svg",
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
        experiments=lambda wildcards: PREDICTED[wildcards.cohort].described,
        models=lambda wildcards: PREDICTED[wildcards.cohort].models or "",
        root=results_folder,
        unit=config["unit"],
        bootstrap=config["evaluation"]["bootstrap"],
        version=version,
        note=config["note"],
        code=code_of("mil.report.predicted_page"),
    message:
        "{wildcards.cohort}: report"
    script:
        "../workflow_scripts/write_predicted_report.py"
