"""predictions of classes, grades or numbers -> metrics, figures, comparison, report."""


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
        **{name: label_figure(name) for name in LABEL_FIGURES},
        **{
            f"{name}_csv": f"<results>/evaluation/{{experiment}}/{name}.csv"
            for name in LABEL_FIGURES
        },
        metrics="<results>/evaluation/{experiment}/metrics.csv",
        alarms="<results>/evaluation/{experiment}/alarms.csv",
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
        task=TASK,
        figures=LABEL_FIGURES,
        bootstrap=config["evaluation"]["bootstrap"],
        seed=config["seed"],
        code=code_of("mil.labelled.evaluation", *task_modules()),
    message:
        "evaluation of {wildcards.experiment}"
    script:
        "../workflow_scripts/evaluate_labels.py"


rule compare_experiments:
    """Put all experiments into one table, with paired differences."""
    input:
        predictions=collect(
            "<results>/models/{experiment}/fold{fold}/predictions.csv",
            experiment=EXPERIMENTS,
            fold=FOLDS,
        ),
    output:
        comparison=report(
            "<results>/evaluation/comparison.csv",
            caption="../report/label_comparison.rst",
            category="4 Evaluation",
            subcategory="Comparison",
            labels={"experiment": "all", "figure": "table"},
        ),
        text="<results>/evaluation/comparison.txt",
        forest=report(
            "<results>/evaluation/forest.svg",
            caption="../report/label_forest.rst",
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
        task=TASK,
        names=list(EXPERIMENTS),
        groups=GROUPS,
        bootstrap=config["evaluation"]["bootstrap"],
        seed=config["seed"],
        code=code_of("mil.labelled.comparison", *task_modules()),
    message:
        "comparison of {params.names}"
    script:
        "../workflow_scripts/compare_labels.py"


use rule compare_experiments as compare_permuted with:
    input:
        predictions=collect(
            "<results>/models/{experiment}/fold{fold}/predictions.csv",
            experiment=PERMUTED,
            fold=FOLDS,
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
        task=TASK,
        names=list(PERMUTED),
        groups=None,
        bootstrap=config["evaluation"]["bootstrap"],
        seed=config["seed"],
        code=code_of("mil.labelled.comparison", *task_modules()),
    message:
        "comparison with permuted labels"


rule write_report:
    """Write the report: one page that holds everything."""
    input:
        slide_table="<results>/slides.csv",
        patients="<results>/cohort/patients.csv",
        excluded_patients="<results>/cohort/excluded_patients.csv",
        folds=collect("<results>/folds/fold{fold}.csv", fold=FOLDS),
        cohorts=collect("<results>/cohort/{encoder}.csv", encoder=OWN_ENCODERS),
        excluded=collect(
            "<results>/cohort/{encoder}.excluded.csv", encoder=OWN_ENCODERS
        ),
        graphs=collect("<results>/cohort/{encoder}.graphs.csv", encoder=OWN_ENCODERS),
        metrics=collect(
            "<results>/evaluation/{experiment}/metrics.csv", experiment=EXPERIMENTS
        ),
        figures=collect(
            "<results>/evaluation/{experiment}/{figure}.svg",
            experiment=EXPERIMENTS,
            figure=[*LABEL_FIGURES, "training_curves"],
        ),
        heatmaps=collect(
            "<results>/evaluation/{experiment}/heatmaps.jpg", experiment=EXPERIMENTS
        ),
        alarms=collect(
            "<results>/evaluation/{experiment}/alarms.csv", experiment=EXPERIMENTS
        ),
        comparison="<results>/evaluation/comparison.csv",
        forest="<results>/evaluation/forest.svg",
        robustness=collect("<results>/robustness/{curve}.svg", curve=CURVES),
        robustness_tables=collect("<results>/robustness/{curve}.csv", curve=CURVES),
        thumbnails=collect("<results>/tissue/{slide}.jpg", slide=SHOWN),
        pictures=collect("<results>/patches/{slide}.jpg", slide=SHOWN),
        patches=collect(
            "<results>/patches/level2/{slide}.h5", slide=SHOWN if FROM_SLIDES else []
        ),
        citation=f"{workflow.basedir}/CITATION.cff",
        templates=TEMPLATES,
    output:
        report(
            "<results>/report.html",
            caption="../report/html.rst",
            category="5 Provenance",
            labels={"page": "the whole report"},
        ),
    log:
        "<logs>/write_report.log",
    benchmark:
        "<benchmarks>/write_report.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=doubled(4000),
        runtime=doubled(30),
    params:
        slides=slide_tables,
        owners=rows_digest(OWN_TABLE.owners),
        config=whole_configuration,
        root=results_folder,
        run=START,
        version=version,
        note=config["note"],
        speeds=f"{config['results']}/benchmarks/encoding",
        code=code_of("mil.report.label_page", *task_modules()),
    message:
        "report"
    script:
        "../workflow_scripts/write_label_report.py"
