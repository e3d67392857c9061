"""slide -> tissue; tissue -> level-2 patches and their level-1 children; all slides -> a table."""


rule find_tissue:
    """Find the tissue of one slide, pen and folds on it, or take the user's own outline."""
    output:
        tissue="<results>/tissue/{slide}.geojson",
        thumbnail="<results>/tissue/{slide}.jpg",
    log:
        "<logs>/find_tissue/{slide}.log",
    benchmark:
        "<benchmarks>/find_tissue/{slide}.tsv"
    retries: RETRIES
    group:
        neighbours("prep", of="slide")
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=doubled(2000),
        runtime=by_slide(5, 2),
        attempt=this_attempt,
    params:
        slide=slide_path,
        given=given_tissue,
        slide_content=slide_content,
        given_content=tissue_content,
        mpp=lambda wildcards: SLIDES[wildcards.slide].mpp,
        scale_by=config["scale"]["by"],
        parameters=tissue_of_slide,
        code=code_of("wsi.tissue"),
        attempts=RETRIES + 1,
    message:
        "tissue of {wildcards.slide}"
    script:
        "../workflow_scripts/find_tissue.py"


rule make_patches:
    """Lay level-2 patches on the tissue of one slide and split each into 16 of level 1."""
    input:
        tissue="<results>/tissue/{slide}.geojson",
        thumbnail="<results>/tissue/{slide}.jpg",
    output:
        level2="<results>/patches/level2/{slide}.h5",
        level1="<results>/patches/level1/{slide}.h5",
        picture=picture("<results>/patches/{slide}.jpg"),
    log:
        "<logs>/make_patches/{slide}.log",
    benchmark:
        "<benchmarks>/make_patches/{slide}.tsv"
    retries: RETRIES
    group:
        neighbours("prep", of="slide")
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=doubled(2000),
        runtime=by_slide(5, 5),
        attempt=this_attempt,
    params:
        slide=slide_path,
        given=given_patches,
        given_content=patches_content,
        scale=config["scale"],
        patches=patches_of_slide,
        drop=config["tissue"]["drop"],
        code=code_of("wsi.patches"),
        attempts=RETRIES + 1,
    message:
        "patches of {wildcards.slide}"
    script:
        "../workflow_scripts/make_patches.py"


rule list_slides:
    """List every slide with what was found on it, odd stains, and CLAM's process list."""
    input:
        tissue=each("<results>/tissue/{slide}.geojson", slide=OWN_SLIDES),
        patches=each("<results>/patches/level2/{slide}.h5", slide=OWN_SLIDES),
    output:
        table=report(
            "<results>/slides.csv",
            caption="../report/slides.rst",
            category="2 Slides",
            labels={"table": "all slides"},
        ),
        process_list="<results>/process_list_autogen.csv",
    log:
        "<logs>/list_slides.log",
    benchmark:
        "<benchmarks>/list_slides.tsv"
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=doubled(2000),
        runtime=doubled(30),
    params:
        slides=slide_names,
        patches=config["patches"],
        code=code_of("wsi.slide_table"),
    message:
        "table of slides"
    script:
        "../workflow_scripts/list_slides.py"
