"""the finished run -> its record, an RO-Crate."""


rule write_provenance:
    """Record what the run was made of, how long it took, and every file it made."""
    input:
        report="<results>/report.html",
        slides=config["slides"] or [],
        patients=config["patients"] or [],
        slide_table="<results>/slides.csv",
        cohorts=collect("<results>/cohort/{encoder}.csv", encoder=OWN_ENCODERS),
    output:
        "<results>/provenance/ro-crate-metadata.json",
    log:
        "<logs>/write_provenance.log",
    benchmark:
        "<benchmarks>/write_provenance.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=doubled(2000),
        runtime=doubled(60),
    params:
        root=results_folder,
        config=whole_configuration,
        run=START,
        version=version,
        workflow=[workflow.snakefile, *PARTS],
        slides=slide_entries,
        code=code_of("mil.provenance.crate"),
    message:
        "provenance"
    script:
        "../workflow_scripts/write_provenance.py"
