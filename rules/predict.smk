"""trained models x further cohorts -> predictions, ensembles, evaluation, a page each."""


use rule cluster_patches as cluster_predicted with:
    input:
        features=of_predicted_patient,
    output:
        "<results>/predict/{cohort}/clusters/{encoder}/{patient}.npz",
    log:
        "<logs>/cluster_predicted/{cohort}/{encoder}/{patient}.log",
    benchmark:
        "<benchmarks>/cluster_predicted/{cohort}/{encoder}/{patient}.tsv"
    params:
        slides=lambda wildcards: PREDICTED[wildcards.cohort].slides_of[
            wildcards.patient
        ],
        k=config["clusters"]["k"],
        seed=config["seed"],
        code=code_of("mil.clusters"),
        attempts=RETRIES + 1,
    message:
        "clusters of {wildcards.patient} in {wildcards.cohort}"


use rule gather_cohort as gather_predicted with:
    input:
        features=of_predicted("<results>/features/{encoder}/{slide}.h5"),
        graphs=of_predicted("<results>/graphs/{encoder}/{slide}.npz"),
        clusters=of_predicted(
            "<results>/predict/{cohort}/clusters/{encoder}/{patient}.npz"
        ),
    output:
        cohort="<results>/predict/{cohort}/cohort/{encoder}.csv",
        graph_statistics="<results>/predict/{cohort}/cohort/{encoder}.graphs.csv",
        excluded="<results>/predict/{cohort}/cohort/{encoder}.excluded.csv",
        counts="<results>/predict/{cohort}/cohort/{encoder}.json",
    log:
        "<logs>/gather_predicted/{cohort}/{encoder}.log",
    benchmark:
        "<benchmarks>/gather_predicted/{cohort}/{encoder}.tsv"
    params:
        slides=predicted_table,
        owners=lambda wildcards: rows_digest(PREDICTED[wildcards.cohort].table.owners),
        root=results_folder,
        max_failed_slides=config["max_failed_slides"],
        strict=config["strict"],
        exclude=lambda wildcards: list(PREDICTED[wildcards.cohort].table.exclude),
        code=code_of("mil.cohort"),
    message:
        "usable slides of {wildcards.cohort} ({wildcards.encoder})"


rule predict_cohort:
    """Predict every patient of a further cohort with the model of one fold."""
    input:
        unpack(model_of_fold),
        cohort=predicted_cohort_file,
    output:
        predictions="<results>/predict/{cohort}/models/{experiment}/fold{fold}/predictions.csv",
        draws="<results>/predict/{cohort}/models/{experiment}/fold{fold}/draws.npz",
        attention="<results>/predict/{cohort}/models/{experiment}/fold{fold}/attention.npz",
    log:
        "<logs>/predict_cohort/{cohort}/{experiment}/fold{fold}.log",
    benchmark:
        "<benchmarks>/predict_cohort/{cohort}/{experiment}/fold{fold}.tsv"
    group:
        of_experiment("predictions")
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus_wanted(config["training"]["device"]),
        mem_mb=doubled(8000),
        runtime=doubled(60),
    params:
        root=results_folder,
        run=PREDICTING,
        code=digest_with_model("mil.cohort_prediction", predicted_experiment),
    message:
        "{wildcards.cohort}: predictions of {wildcards.experiment}, model of fold {wildcards.fold}"
    script:
        "../workflow_scripts/predict_cohort.py"


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
        patients=lambda wildcards: PREDICTED[wildcards.cohort].patients,
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


rule draw_predicted_heatmaps:
    """Draw the attention of all folds' models, averaged, on slides of a further cohort."""
    input:
        cohort=predicted_cohort_file,
        patients=lambda wildcards: PREDICTED[wildcards.cohort].patients,
        attention=of_predicted(
            "<results>/predict/{cohort}/models/{experiment}/fold{fold}/attention.npz"
        ),
        ensemble="<results>/predict/{cohort}/models/{experiment}/ensemble/predictions.csv",
    output:
        "<results>/predict/{cohort}/evaluation/{experiment}/heatmaps.jpg",
    log:
        "<logs>/draw_predicted_heatmaps/{cohort}/{experiment}.log",
    benchmark:
        "<benchmarks>/draw_predicted_heatmaps/{cohort}/{experiment}.tsv"
    group:
        of_experiment("evaluation")
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=doubled(4000),
        runtime=doubled(30),
    params:
        root=results_folder,
        slides=config["report"]["heatmap_slides"],
        unit=config["unit"],
        code=code_of("mil.heatmaps"),
    message:
        "{wildcards.cohort}: attention heatmaps of {wildcards.experiment}"
    script:
        "../workflow_scripts/draw_predicted_heatmaps.py"


rule write_predicted_report:
    """Write the page of a further cohort."""
    input:
        slides=lambda wildcards: PREDICTED[wildcards.cohort].table.path,
        patients=lambda wildcards: PREDICTED[wildcards.cohort].patients or [],
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
