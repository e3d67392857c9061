"""tables -> patients and folds; outcomes of all slides -> the cohort that models see."""


rule make_folds:
    """Name the patients with a usable follow-up and deal them to folds."""
    input:
        files=fold_files(config),
    output:
        folds=collect("<results>/folds/fold{fold}.csv", fold=FOLDS),
        patients="<results>/cohort/patients.csv",
        excluded="<results>/cohort/excluded_patients.csv",
    log:
        "<logs>/make_folds.log",
    benchmark:
        "<benchmarks>/make_folds.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=doubled(2000),
        runtime=doubled(10),
    params:
        slides=slide_tables,
        patients=patient_table,
        owners=rows_digest(OWN_TABLE.owners),
        follow_up=rows_digest(FOLLOW_UP),
        folds=config["folds"],
        seed=config["seed"],
        strict=config["strict"],
        exclude=list(OWN_TABLE.exclude),
        task=TASK,
        code=code_of("mil.folds", *task_modules()),
    message:
        "folds"
    script:
        "../workflow_scripts/make_folds.py"


rule gather_cohort:
    """Count what became of every slide; list the usable ones with a hash of their features."""
    input:
        features=features_of_encoder,
        graphs=graphs_of_encoder,
        clusters=clusters_of_encoder,
    output:
        cohort="<results>/cohort/{encoder}.csv",
        graph_statistics="<results>/cohort/{encoder}.graphs.csv",
        excluded=report(
            "<results>/cohort/{encoder}.excluded.csv",
            caption="../report/excluded.rst",
            category="1 Cohort",
            labels={"table": "excluded slides and patients"},
        ),
        counts="<results>/cohort/{encoder}.json",
    log:
        "<logs>/gather_cohort/{encoder}.log",
    benchmark:
        "<benchmarks>/gather_cohort/{encoder}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=doubled(2000),
        runtime=doubled(30),
    params:
        slides=slide_tables,
        owners=rows_digest(OWN_TABLE.owners),
        root=results_folder,
        max_failed_slides=share_that_may_fail,
        strict=config["strict"],
        exclude=slides_left_out,
        code=code_of("mil.cohort"),
    message:
        "cohort of usable slides ({wildcards.encoder})"
    script:
        "../workflow_scripts/gather_cohort.py"
