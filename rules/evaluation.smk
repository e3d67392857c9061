"""predictions of survival -> metrics, comparisons, distributions."""


rule evaluate_experiment:
    """Measure one experiment on the test parts of all folds."""
    input:
        predictions=collect(
            "<results>/models/{{experiment}}/fold{fold}/predictions.csv", fold=FOLDS
        ),
        draws=collect(
            "<results>/models/{{experiment}}/fold{fold}/draws.npz", fold=FOLDS
        ),
        histories=collect(
            "<results>/models/{{experiment}}/fold{fold}/history.csv", fold=FOLDS
        ),
    output:
        metrics="<results>/evaluation/{experiment}/metrics.csv",
        alarms="<results>/evaluation/{experiment}/alarms.csv",
        curves="<results>/evaluation/{experiment}/kaplan_meier.csv",
        kaplan_meier=report(
            "<results>/evaluation/{experiment}/kaplan_meier.svg",
            caption="../report/kaplan_meier.rst",
            category="4 Evaluation",
            subcategory="Kaplan-Meier by risk group",
            labels={"experiment": "{experiment}", "figure": "Kaplan-Meier"},
        ),
        training_curves=report(
            "<results>/evaluation/{experiment}/training_curves.svg",
            caption="../report/training_curves.rst",
            category="3 Training",
            labels={"experiment": "{experiment}", "figure": "training curves"},
        ),
        training_curves_csv="<results>/evaluation/{experiment}/training_curves.csv",
    log:
        "<logs>/evaluate_experiment/{experiment}.log",
    benchmark:
        "<benchmarks>/evaluate_experiment/{experiment}.tsv"
    group:
        of_experiment("evaluation")
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=doubled(2000),
        runtime=doubled(30),
    params:
        horizons=horizons(config),
        bootstrap=config["evaluation"]["bootstrap"],
        seed=config["seed"],
        unit=config["unit"],
        code=code_of("mil.evaluation"),
    message:
        "evaluation of {wildcards.experiment}"
    script:
        "../workflow_scripts/evaluate_experiment.py"


rule draw_distributions:
    """Draw predicted survival curves, intervals and times, and whether they are right."""
    input:
        predictions=collect(
            "<results>/models/{{experiment}}/fold{fold}/predictions.csv", fold=FOLDS
        ),
        draws=collect(
            "<results>/models/{{experiment}}/fold{fold}/draws.npz", fold=FOLDS
        ),
    output:
        chosen_patients=distribution_figure("chosen_patients"),
        chosen_patients_csv="<results>/evaluation/{experiment}/chosen_patients.csv",
        intervals=distribution_figure("intervals"),
        intervals_csv="<results>/evaluation/{experiment}/intervals.csv",
        predicted_times=distribution_figure("predicted_times"),
        predicted_times_csv="<results>/evaluation/{experiment}/predicted_times.csv",
        calibration=distribution_figure("calibration"),
        calibration_csv="<results>/evaluation/{experiment}/calibration.csv",
        over_time=distribution_figure("over_time"),
        over_time_csv="<results>/evaluation/{experiment}/over_time.csv",
    log:
        "<logs>/draw_distributions/{experiment}.log",
    benchmark:
        "<benchmarks>/draw_distributions/{experiment}.tsv"
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
        code=code_of("mil.distributions.draw"),
    message:
        "distributions of {wildcards.experiment}"
    script:
        "../workflow_scripts/draw_distributions.py"


rule compare_experiments:
    """Put all experiments into one table, with paired differences."""
    input:
        predictions=collect(
            "<results>/models/{experiment}/fold{fold}/predictions.csv",
            experiment=EXPERIMENTS,
            fold=FOLDS,
        ),
        metrics=collect(
            "<results>/evaluation/{experiment}/metrics.csv", experiment=EXPERIMENTS
        ),
    output:
        comparison=report(
            "<results>/evaluation/comparison.csv",
            caption="../report/comparison.rst",
            category="4 Evaluation",
            subcategory="Comparison",
            labels={"experiment": "all", "figure": "table"},
        ),
        text="<results>/evaluation/comparison.txt",
        forest=report(
            "<results>/evaluation/forest.svg",
            caption="../report/forest.rst",
            category="4 Evaluation",
            subcategory="Comparison",
            labels={"experiment": "all", "figure": "forest plot"},
        ),
    log:
        "<logs>/compare_experiments.log",
    benchmark:
        "<benchmarks>/compare_experiments.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=doubled(2000),
        runtime=doubled(30),
    params:
        names=list(EXPERIMENTS),
        groups=GROUPS,
        bootstrap=config["evaluation"]["bootstrap"],
        seed=config["seed"],
        code=code_of("mil.comparison"),
    message:
        "comparison of {params.names}"
    script:
        "../workflow_scripts/compare_experiments.py"


use rule compare_experiments as compare_permuted with:
    input:
        predictions=collect(
            "<results>/models/{experiment}/fold{fold}/predictions.csv",
            experiment=PERMUTED,
            fold=FOLDS,
        ),
        metrics=collect(
            "<results>/evaluation/{experiment}/metrics.csv", experiment=PERMUTED
        ),
    output:
        comparison="<results>/evaluation/null/comparison.csv",
        text="<results>/evaluation/null/comparison.txt",
        forest="<results>/evaluation/null/forest.svg",
    log:
        "<logs>/compare_permuted.log",
    benchmark:
        "<benchmarks>/compare_permuted.tsv"
    params:
        names=list(PERMUTED),
        groups=None,
        bootstrap=config["evaluation"]["bootstrap"],
        seed=config["seed"],
        code=code_of("mil.comparison"),
    message:
        "comparison with permuted labels"
