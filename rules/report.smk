"""everything -> report."""


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
        kaplan_meier=collect(
            "<results>/evaluation/{experiment}/kaplan_meier.svg",
            experiment=EXPERIMENTS,
        ),
        training_curves=collect(
            "<results>/evaluation/{experiment}/training_curves.svg",
            experiment=EXPERIMENTS,
        ),
        heatmaps=collect(
            "<results>/evaluation/{experiment}/heatmaps.jpg", experiment=EXPERIMENTS
        ),
        chosen_patients=collect(
            "<results>/evaluation/{experiment}/chosen_patients.svg",
            experiment=EXPERIMENTS,
        ),
        intervals=collect(
            "<results>/evaluation/{experiment}/intervals.svg", experiment=EXPERIMENTS
        ),
        predicted_times=collect(
            "<results>/evaluation/{experiment}/predicted_times.svg",
            experiment=EXPERIMENTS,
        ),
        calibration=collect(
            "<results>/evaluation/{experiment}/calibration.svg", experiment=EXPERIMENTS
        ),
        over_time=collect(
            "<results>/evaluation/{experiment}/over_time.svg", experiment=EXPERIMENTS
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
        distributions=DISTRIBUTIONS,
        speeds=f"{config['results']}/benchmarks/encoding",
        code=code_of("mil.report.page"),
    message:
        "report"
    script:
        "../workflow_scripts/write_report.py"
