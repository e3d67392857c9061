"""slides -> what is wrong with them and what the run will take, before any long job."""


localrules:
    preflight,


rule check_slides:
    """Open every slide: scale, a few tiles, number of patches, copies; time the encoders."""
    input:
        slides=[slide.path for name, slide in SLIDES.items() if name not in MISSING],
        given=[
            path
            for slide in SLIDES.values()
            for path in (slide.tissue, slide.patches)
            if path
        ],
    output:
        slides="<results>/preflight/slides.csv",
        encoders="<results>/preflight/encoders.csv",
    log:
        "<logs>/check_slides.log",
    benchmark:
        "<benchmarks>/check_slides.tsv"
    conda:
        "../envs/torch.yaml"
    threads: workflow.cores or 8  # slides are looked at side by side; a cluster names no number
    resources:
        gpu=gpus_wanted(config["features"]["device"]),
        mem_mb=lambda wildcards, threads: 4000 + 1000 * threads,
        runtime=120,
    params:
        slides=slides_to_check,
        scale=config["scale"],
        size=config["patches"]["size"],
        encoders=ENCODERS,
        code=code_of("wsi.preflight.check"),
    message:
        "check of all slides"
    script:
        "../workflow_scripts/check_slides.py"


rule preflight:
    """Print what is wrong and what the run will take, each time: an output would be up to date."""
    input:
        slides=rules.check_slides.output.slides,
        encoders=rules.check_slides.output.encoders,
    log:
        "<logs>/preflight.log",
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        page=f"{config['results']}/preflight/summary.txt",
        results=results_folder,
        scale=config["scale"],
        drop=config["tissue"]["drop"],
        neighbours=config["graphs"]["neighbours"],
        max_failed_slides=config["max_failed_slides"],
        strict=config["strict"],
    message:
        "what the check has found"
    script:
        "../workflow_scripts/preflight.py"
