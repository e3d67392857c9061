"""From whole-slide images to an evaluated model of survival, classes, grades or numbers.

Tables -> folds; slide -> tissue -> patches -> features -> graph, clusters; fold x experiment ->
model -> predictions -> evaluation -> comparison -> report; models x further cohorts -> predictions
-> a page each. config.yaml says what is computed.
"""

from snakemake.utils import min_version

min_version("9.27")

if (
    not workflow.overwrite_configfiles
):  # a user's file stands alone, without the demo's values

    configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/common_given.smk"
include: "rules/common_predict.smk"


pathvars:
    results=config["results"],
    logs=f"{config['results']}/logs",
    benchmarks=f"{config['results']}/benchmarks",


report: "report/workflow.rst"


wildcard_constraints:
    slide=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    patient=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    cohort=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    encoder=r"[A-Za-z0-9_-]+(@(blur|hed)-[a-z]+)?",  # what is behind @ was done to the pixels
    experiment=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    fold=r"\d+",


container: IMAGE


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
include: "rules/heatmaps.smk"


if TASK:

    include: "rules/labels.smk"
    include: "rules/predict_labels.smk"

else:

    include: "rules/evaluation.smk"
    include: "rules/report.smk"
    include: "rules/predict_survival.smk"


include: "rules/predict.smk"
include: "rules/robustness.smk"
include: "rules/provenance.smk"


onstart:
    check_software()
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
    scores,
    pyramids,
    predict,
    robustness,
    report,
    null,


rule all:
    default_target: True
    input:
        [rules.write_report.output, rules.write_provenance.output]
        if config["slides"]
        else [],
        predicted_pages if PREDICTED else [],


rule tissue:
    input:
        from_slides,
        each("<results>/tissue/{slide}.geojson", slide=SLIDES),


rule patches:
    input:
        from_slides,
        "<results>/slides.csv" if OWN_SLIDES else [],
        each("<results>/patches/level1/{slide}.h5", slide=SLIDES),


rule features:
    input:
        for_each_slide("<results>/features/{encoder}/{slide}.h5"),


rule graphs:
    input:
        for_each_slide("<results>/graphs/{encoder}/{slide}.npz"),


rule clusters:
    input:
        each(
            "<results>/clusters/{encoder}/{patient}.npz",
            encoder=OWN_ENCODERS,
            patient=PATIENTS,
        ),
        predicted_clusters(),


rule train:
    input:
        trained_here,
        collect(
            "<results>/models/{experiment}/fold{fold}/predictions.csv",
            experiment=EXPERIMENTS,
            fold=FOLDS,
        ),


rule evaluate:
    input:
        trained_here,
        rules.compare_experiments.output,
        collect(
            "<results>/evaluation/{experiment}/{figure}",
            experiment=EXPERIMENTS,
            figure=[
                "heatmaps.jpg",
                *(f"{name}.svg" for name in LABEL_FIGURES or ["predicted_times"]),
            ],
        ),


rule scores:
    input:
        trained_here,
        collect("<results>/evaluation/{experiment}/scores", experiment=EXPERIMENTS),


rule pyramids:
    input:
        trained_here,
        from_slides,
        collect("<results>/evaluation/{experiment}/pyramids", experiment=EXPERIMENTS),


rule predict:
    input:
        predicted_pages,


rule robustness:
    input:
        asked_for_robustness,
        collect("<results>/robustness/{curve}.svg", curve=CURVES),


rule report:
    input:
        trained_here,
        rules.write_report.output,


rule null:
    input:
        trained_here,
        rules.compare_permuted.output,
