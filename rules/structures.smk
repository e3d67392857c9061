"""features -> graphs, clusters."""


rule build_graph:
    """Join the patches of one slide to their nearest neighbours, in space and in features."""
    input:
        features="<results>/features/{encoder}/{slide}.h5",
    output:
        "<results>/graphs/{encoder}/{slide}.npz",
    log:
        "<logs>/build_graph/{encoder}/{slide}.log",
    benchmark:
        "<benchmarks>/build_graph/{encoder}/{slide}.tsv"
    retries: RETRIES
    group:
        neighbours("graphs", of="slide")
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus_wanted(config["graphs"]["device"]),
        mem_mb=by_features(4000, 4000),
        runtime=by_features(3, 50),
        attempt=this_attempt,
    params:
        graphs=config["graphs"],
        code=code_of("mil.graphs"),
        attempts=RETRIES + 1,
    message:
        "graph of {wildcards.slide}"
    script:
        "../workflow_scripts/build_graph.py"


rule cluster_patches:
    """Group the patches of one patient by their features."""
    input:
        features=features_of_patient,
    output:
        "<results>/clusters/{encoder}/{patient}.npz",
    log:
        "<logs>/cluster_patches/{encoder}/{patient}.log",
    benchmark:
        "<benchmarks>/cluster_patches/{encoder}/{patient}.tsv"
    retries: RETRIES
    group:
        neighbours("clusters", of="patient")
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=by_features(4000, 4000),
        runtime=by_features(3, 20),
        attempt=this_attempt,
    params:
        slides=lambda wildcards: PATIENTS[wildcards.patient],
        k=config["clusters"]["k"],
        seed=config["seed"],
        code=code_of("mil.clusters"),
        attempts=RETRIES + 1,
    message:
        "clusters of {wildcards.patient}"
    script:
        "../workflow_scripts/cluster_patches.py"
