"""slide -> tissue; tissue -> level-2 patches and their level-1 children."""


rule find_tissue:
    """Segment the tissue of one slide."""
    input:
        slide_file,
    output:
        tissue="<results>/tissue/{slide}.geojson",
        thumbnail=picture("<results>/tissue/{slide}.jpg"),
    log:
        "<logs>/find_tissue/{slide}.log",
    benchmark:
        "<benchmarks>/find_tissue/{slide}.tsv"
    retries: RETRIES
    group:
        "prep"
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=more_memory(2000),
        runtime=10,
        attempt=this_attempt,
    params:
        slide=slide_entry,
        scale_by=config["scale"]["by"],
        parameters=config["tissue"],
        code=code_digest("wsi.tissue"),
        attempts=RETRIES + 1,
    message:
        "tissue of {wildcards.slide}"
    script:
        "../workflow_scripts/find_tissue.py"


rule make_patches:
    """Lay level-2 patches on the tissue of one slide and split each into 16 of level 1."""
    input:
        slide_file,
        tissue="<results>/tissue/{slide}.geojson",
    output:
        level2="<results>/patches/level2/{slide}.h5",
        level1="<results>/patches/level1/{slide}.h5",
    log:
        "<logs>/make_patches/{slide}.log",
    benchmark:
        "<benchmarks>/make_patches/{slide}.tsv"
    retries: RETRIES
    group:
        "prep"
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=more_memory(2000),
        runtime=10,
        attempt=this_attempt,
    params:
        slide=slide_entry,
        scale=config["scale"],
        patches=config["patches"],
        code=code_digest("wsi.patches"),
        attempts=RETRIES + 1,
    message:
        "patches of {wildcards.slide}"
    script:
        "../workflow_scripts/make_patches.py"
