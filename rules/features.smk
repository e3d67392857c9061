"""patches -> features."""


rule fetch_weights:
    """Find the weights of one encoder, once, and keep them as a file for all jobs."""
    output:
        "<results>/encoders/{encoder}.safetensors",
    log:
        "<logs>/fetch_weights/{encoder}.log",
    benchmark:
        "<benchmarks>/fetch_weights/{encoder}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=doubled(8000),
        runtime=doubled(60),
    params:
        encoder=lookup("{encoder}/architecture", within=ENCODERS),
        weights=weights_source,
        content=weights_content,
        declared=lookup("{encoder}/declared", within=ENCODERS),
        code=code_of("wsi.weights"),
    message:
        "weights of {wildcards.encoder}"
    script:
        "../workflow_scripts/fetch_weights.py"


rule extract_features:
    """Encode the level-1 patches of one slide; on a GPU, go on with others that wait."""
    input:
        patches="<results>/patches/level1/{slide}.h5",
        weights=encoder_weights,
    output:
        "<results>/features/{encoder}/{slide}.h5",
    log:
        "<logs>/extract_features/{encoder}/{slide}.log",
    benchmark:
        "<benchmarks>/extract_features/{encoder}/{slide}.tsv"
    priority: after_the_first
    retries: RETRIES
    group:
        neighbours("features", of="slide")
    conda:
        "../envs/torch.yaml"
    threads: cores_of_encoder
    resources:
        gpu=gpu_of_encoder,
        mem_mb=memory_of_encoder,
        runtime=minutes_of_encoder,
        attempt=this_attempt,
    params:
        slide=slide_path,
        precision=lookup("{encoder}/precision", within={**ENCODERS, **PERTURBED}),
        device=lookup("{encoder}/device", within={**ENCODERS, **PERTURBED}),
        perturbation=perturbation_of_encoder,
        run=RUN,
        speeds=f"{config['results']}/benchmarks/encoding/{{encoder}}",
        code=code_of("wsi.extract"),
        attempts=RETRIES + 1,
    message:
        "features of {wildcards.slide} ({wildcards.encoder})"
    script:
        "../workflow_scripts/extract_features.py"
