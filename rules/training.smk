"""fold x experiment -> model, predictions."""


rule train_model:
    """Train one experiment on one fold."""
    input:
        cohort=cohort_file,
        patients="<results>/cohort/patients.csv",
        fold="<results>/folds/fold{fold}.csv",
    output:
        model="<results>/models/{experiment}/fold{fold}/model.safetensors",
        config="<results>/models/{experiment}/fold{fold}/config.yaml",
        history="<results>/models/{experiment}/fold{fold}/history.csv",
    log:
        "<logs>/train_model/{experiment}/fold{fold}.log",
    benchmark:
        "<benchmarks>/train_model/{experiment}/fold{fold}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus_wanted(config["training"]["device"]),
        mem_mb=doubled(8000),
        runtime=doubled(240),
    params:
        root=results_folder,
        experiment=experiment,
        seed=config["seed"],
        run=running_file,
        code=digest_with_model("mil.training"),
    message:
        "training {wildcards.experiment}, fold {wildcards.fold}"
    script:
        "../workflow_scripts/train_model.py"


rule predict_fold:
    """Predict every patient of one fold with the model trained on it."""
    input:
        model="<results>/models/{experiment}/fold{fold}/model.safetensors",
        config="<results>/models/{experiment}/fold{fold}/config.yaml",
        cohort=cohort_file,
        patients="<results>/cohort/patients.csv",
        fold="<results>/folds/fold{fold}.csv",
    output:
        predictions="<results>/models/{experiment}/fold{fold}/predictions.csv",
        draws="<results>/models/{experiment}/fold{fold}/draws.npz",
        attention="<results>/models/{experiment}/fold{fold}/attention.npz",
    log:
        "<logs>/predict_fold/{experiment}/fold{fold}.log",
    benchmark:
        "<benchmarks>/predict_fold/{experiment}/fold{fold}.tsv"
    group:
        of_experiment("predictions")
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus_wanted(config["training"]["device"]),
        mem_mb=doubled(8000),
        runtime=doubled(20),
    params:
        root=results_folder,
        run=running_file,
        code=digest_with_model("mil.prediction"),
    message:
        "predictions of {wildcards.experiment}, fold {wildcards.fold}"
    script:
        "../workflow_scripts/predict_fold.py"
