"""features made elsewhere -> ours; in place of slides, patches and encoder."""


rule import_features:
    """Check the features of one slide and write them as extract_features would."""
    output:
        features=f"<results>/features/{config['features']['encoder']}/{{slide}}.h5",
        thumbnail="<results>/tissue/{slide}.jpg",
        picture=picture("<results>/patches/{slide}.jpg"),
    log:
        "<logs>/import_features/{slide}.log",
    benchmark:
        "<benchmarks>/import_features/{slide}.tsv"
    retries: RETRIES
    group:
        neighbours("features", of="slide")
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=doubled(4000),
        runtime=doubled(10),
        attempt=this_attempt,
    params:
        slide=slide_path,
        files=imported_files,
        folder=import_folder,
        slide_content=slide_content,
        files_content=imported_content,
        mpp=lambda wildcards: SLIDES[wildcards.slide].mpp,
        layout=config["features"]["layout"],
        encoder=config["features"]["encoder"],
        code=code_of("wsi.import_features"),
        attempts=RETRIES + 1,
    message:
        "import of {wildcards.slide}"
    script:
        "../workflow_scripts/import_features.py"


rule list_imported:
    """List every slide with what its file held."""
    input:
        features=each(
            "<results>/features/{encoder}/{slide}.h5",
            encoder=OWN_ENCODERS,
            slide=OWN_SLIDES,
        ),
    output:
        table=report(
            "<results>/slides.csv",
            caption="../report/imported.rst",
            category="2 Slides",
            labels={"table": "all slides"},
        ),
    log:
        "<logs>/list_imported.log",
    benchmark:
        "<benchmarks>/list_imported.tsv"
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=doubled(2000),
        runtime=doubled(30),
    params:
        slides=OWN_SLIDES,
        code=code_of("wsi.imported_table"),
    message:
        "table of imported slides"
    script:
        "../workflow_scripts/list_imported.py"
