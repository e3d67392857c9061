"""From whole-slide images to an evaluated survival model.

Tables -> folds; slide -> tissue -> patches -> features -> graph, clusters; fold x experiment ->
model -> predictions -> evaluation -> comparison -> report. config.yaml says what is computed.
"""

from snakemake.utils import min_version

min_version("9.27")

if (
    not workflow.overwrite_configfiles
):  # a user's file stands alone, without the demo's values

    configfile: "config.yaml"


include: "rules/common.smk"


pathvars:
    results=config["results"],
    logs=f"{config['results']}/logs",
    benchmarks=f"{config['results']}/benchmarks",


report: "report/workflow.rst"


wildcard_constraints:
    slide=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    patient=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    encoder=r"[A-Za-z0-9_-]+",
    experiment=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    fold=r"\d+",


resource_scopes:
    gpu="local",


include: "rules/cohort.smk"


if FROM_SLIDES:

    include: "rules/preflight.smk"
    include: "rules/slides.smk"
    include: "rules/features.smk"

else:

    include: "rules/imports.smk"

    localrules:
        preflight,

    rule preflight:
        input:
            from_slides,


include: "rules/structures.smk"
include: "rules/training.smk"
include: "rules/evaluation.smk"
include: "rules/report.smk"


onstart:
    describe_run()


localrules:
    all,
    tissue,
    patches,
    features,
    graphs,
    clusters,
    train,
    evaluate,
    report,
    null,


rule all:
    default_target: True
    input:
        rules.write_report.output,


rule tissue:
    input:
        from_slides,
        collect("<results>/tissue/{slide}.geojson", slide=SLIDES),


rule patches:
    input:
        from_slides,
        "<results>/slides.csv",
        collect("<results>/patches/level1/{slide}.h5", slide=SLIDES),


rule features:
    input:
        collect(
            "<results>/features/{encoder}/{slide}.h5", encoder=ENCODERS, slide=SLIDES
        ),


rule graphs:
    input:
        collect(
            "<results>/graphs/{encoder}/{slide}.npz", encoder=ENCODERS, slide=SLIDES
        ),


rule clusters:
    input:
        collect(
            "<results>/clusters/{encoder}/{patient}.npz",
            encoder=ENCODERS,
            patient=PATIENTS,
        ),


rule train:
    input:
        collect(
            "<results>/models/{experiment}/fold{fold}/predictions.csv",
            experiment=EXPERIMENTS,
            fold=FOLDS,
        ),


rule evaluate:
    input:
        rules.compare_experiments.output,
        collect(
            "<results>/evaluation/{experiment}/heatmaps.jpg", experiment=EXPERIMENTS
        ),


rule report:
    input:
        rules.write_report.output,


rule null:
    input:
        rules.compare_permuted.output,
