"""attention, predictions, annotations -> heatmaps, whatever is predicted."""


rule read_annotations:
    """Read the annotated regions of one slide and label its patches by them."""
    input:
        features="<results>/features/{encoder}/{slide}.h5",
    output:
        outlines="<results>/annotations/{encoder}/{slide}.geojson",
        labels="<results>/annotations/{encoder}/{slide}.npz",
    log:
        "<logs>/read_annotations/{encoder}/{slide}.log",
    benchmark:
        "<benchmarks>/read_annotations/{encoder}/{slide}.tsv"
    retries: RETRIES
    group:
        neighbours("graphs", of="slide")
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=doubled(2000),
        runtime=doubled(10),
        attempt=this_attempt,
    params:
        given=given_annotations,
        given_content=annotations_content,
        code=code_of("wsi.annotations"),
        attempts=RETRIES + 1,
    message:
        "annotations of {wildcards.slide} ({wildcards.encoder})"
    script:
        "../workflow_scripts/read_annotations.py"


rule draw_heatmaps:
    """Draw attention on slides of test patients, from the lowest to the highest risk."""
    input:
        cohort=cohort_file,
        attention=collect(
            "<results>/models/{{experiment}}/fold{fold}/attention.npz", fold=FOLDS
        ),
        predictions=collect(
            "<results>/models/{{experiment}}/fold{fold}/predictions.csv", fold=FOLDS
        ),
        annotations=annotations_of_experiment,
    output:
        report(
            "<results>/evaluation/{experiment}/heatmaps.jpg",
            caption="../report/heatmaps.rst",
            category="4 Evaluation",
            subcategory="Attention",
            labels={"experiment": "{experiment}", "figure": "attention on slides"},
        ),
    log:
        "<logs>/draw_heatmaps/{experiment}.log",
    benchmark:
        "<benchmarks>/draw_heatmaps/{experiment}.tsv"
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
        "attention heatmaps of {wildcards.experiment}"
    script:
        "../workflow_scripts/draw_heatmaps.py"


rule export_scores:
    """Write attention and contributions of test patients' patches for QuPath."""
    input:
        cohort=cohort_file,
        attention=collect(
            "<results>/models/{{experiment}}/fold{fold}/attention.npz", fold=FOLDS
        ),
    output:
        directory("<results>/evaluation/{experiment}/scores"),
    log:
        "<logs>/export_scores/{experiment}.log",
    benchmark:
        "<benchmarks>/export_scores/{experiment}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=doubled(2000),
        runtime=doubled(30),
    params:
        root=results_folder,
        code=code_of("mil.export_scores"),
    message:
        "scores of patches by {wildcards.experiment}"
    script:
        "../workflow_scripts/export_scores.py"


rule export_pyramids:
    """Write the scores of test patients' patches over their slides as pyramidal TIFFs."""
    input:
        scores="<results>/evaluation/{experiment}/scores",
    output:
        directory("<results>/evaluation/{experiment}/pyramids"),
    log:
        "<logs>/export_pyramids/{experiment}.log",
    benchmark:
        "<benchmarks>/export_pyramids/{experiment}.tsv"
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=doubled(4000),
        runtime=doubled(120),
    params:
        slides=slide_entries,
        code=code_of("wsi.score_pyramid"),
    message:
        "pyramids of scores by {wildcards.experiment}"
    script:
        "../workflow_scripts/export_pyramids.py"
