"""trained models x further cohorts -> predictions and heatmaps, whatever is predicted."""


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


rule draw_predicted_heatmaps:
    """Draw the attention of all folds' models, averaged, on slides of a further cohort."""
    input:
        cohort=predicted_cohort_file,
        labels=lambda wildcards: PREDICTED[wildcards.cohort].labels,
        attention=of_predicted(
            "<results>/predict/{cohort}/models/{experiment}/fold{fold}/attention.npz"
        ),
        ensemble="<results>/predict/{cohort}/models/{experiment}/ensemble/predictions.csv",
        annotations=predicted_annotations,
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
        task=TASK,
        code=code_of("mil.heatmaps", *task_modules()),
    message:
        "{wildcards.cohort}: attention heatmaps of {wildcards.experiment}"
    script:
        "../workflow_scripts/draw_predicted_heatmaps.py"
