"""trained models + damaged test patients -> predictions, curves against strength."""


rule predict_occluded:
    """Predict the test patients of one fold with ever more of their regions left out."""
    input:
        model="<results>/models/{experiment}/fold{fold}/model.safetensors",
        config="<results>/models/{experiment}/fold{fold}/config.yaml",
        cohort=cohort_file,
        patients="<results>/cohort/patients.csv",
        fold="<results>/folds/fold{fold}.csv",
    output:
        "<results>/robustness/{experiment}/fold{fold}/occlusion.csv",
    log:
        "<logs>/predict_occluded/{experiment}/fold{fold}.log",
    benchmark:
        "<benchmarks>/predict_occluded/{experiment}/fold{fold}.tsv"
    group:
        of_experiment("occlusion")
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus_wanted(config["training"]["device"]),
        mem_mb=doubled(8000),
        runtime=doubled(240),
    params:
        root=results_folder,
        run=running_file,
        occlusion=config["robustness"]["occlusion"],
        code=digest_with_model("mil.robustness.predict"),
    message:
        "occlusion of {wildcards.experiment}, fold {wildcards.fold}"
    script:
        "../workflow_scripts/predict_occluded.py"


rule predict_perturbed:
    """Predict the test patients of one fold from changed pixels, at every level."""
    input:
        model="<results>/models/{experiment}/fold{fold}/model.safetensors",
        config="<results>/models/{experiment}/fold{fold}/config.yaml",
        cohort=cohort_file,
        patients="<results>/cohort/patients.csv",
        fold="<results>/folds/fold{fold}.csv",
        perturbed=perturbed_cohorts,
    output:
        "<results>/robustness/{experiment}/fold{fold}/{perturbation}.csv",
    log:
        "<logs>/predict_perturbed/{experiment}/fold{fold}/{perturbation}.log",
    benchmark:
        "<benchmarks>/predict_perturbed/{experiment}/fold{fold}/{perturbation}.tsv"
    wildcard_constraints:
        perturbation="blur|hed",
    group:
        of_experiment("perturbed")
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus_wanted(config["training"]["device"]),
        mem_mb=doubled(8000),
        runtime=doubled(60),
    params:
        root=results_folder,
        run=running_file,
        levels=levels_of_perturbation,
        code=digest_with_model("mil.robustness.predict"),
    message:
        "{wildcards.perturbation} of {wildcards.experiment}, fold {wildcards.fold}"
    script:
        "../workflow_scripts/predict_perturbed.py"


rule draw_robustness:
    """Draw the score of every experiment tried against the strength of one perturbation."""
    input:
        predictions=collect(
            "<results>/models/{experiment}/fold{fold}/predictions.csv",
            experiment=TRIED,
            fold=FOLDS,
        ),
        damaged=damaged_predictions,
    output:
        table="<results>/robustness/{curve}.csv",
        figure=report(
            "<results>/robustness/{curve}.svg",
            caption="../report/robustness.rst",
            category="4 Evaluation",
            subcategory="Robustness",
            labels={"experiment": "all", "figure": "{curve}"},
        ),
    log:
        "<logs>/draw_robustness/{curve}.log",
    benchmark:
        "<benchmarks>/draw_robustness/{curve}.tsv"
    wildcard_constraints:
        curve="occlusion-zero|occlusion-discard|blur|hed",
    group:
        "curves"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=doubled(2000),
        runtime=doubled(60),
    params:
        names=TRIED,
        bootstrap=config["evaluation"]["bootstrap"],
        seed=config["seed"],
        task=TASK,
        code=code_of("mil.robustness.curves", *task_modules()),
    message:
        "curve of {wildcards.curve}"
    script:
        "../workflow_scripts/draw_robustness.py"
