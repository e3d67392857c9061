"""What the rules of predicted cohorts share: which slides, which models."""


def trained_here(wildcards):
    """Nothing, unless a target wants a training where there is no cohort to train on."""
    if config["slides"]:
        return []
    raise WorkflowError(
        "slides and patients are empty, so nothing is trained here, and the targets train, "
        "evaluate, report and null have nothing to do; ask for predict or features."
    )


def predicted_pages(wildcards):
    """The pages of all predicted cohorts."""
    if PREDICTED:
        return [f"<results>/predict/{name}/report.html" for name in PREDICTED]
    raise WorkflowError(
        "predict is empty, so there is no further cohort to predict; name one in the configuration "
        "(docs/predict.md)."
    )


def predicted_clusters():
    """The clusters of all patients of all predicted cohorts."""
    return [
        f"<results>/predict/{cohort.name}/clusters/{encoder}/{patient}.npz"
        for cohort in PREDICTED.values()
        for encoder in cohort.encoders
        for patient in cohort.slides_of
    ]


def predicted_experiment(wildcards):
    """Settings of an experiment that predicts a further cohort."""
    return PREDICTED[wildcards.cohort].experiments[wildcards.experiment]


def predicted_cohort_file(wildcards):
    """The usable slides of a further cohort, with the features of the experiment's encoder."""
    encoder = predicted_experiment(wildcards)["encoder"]
    return f"<results>/predict/{wildcards.cohort}/cohort/{encoder}.csv"


def predicted_annotations(wildcards):
    """Annotations of a further cohort's slides."""
    encoder = predicted_experiment(wildcards)["encoder"]
    return annotated(encoder, PREDICTED[wildcards.cohort].slides)


def model_of_fold(wildcards):
    """The files of one trained model, of this run or of another."""
    return PREDICTED[wildcards.cohort].model_files(wildcards.experiment, wildcards.fold)


def training_of_models(wildcards):
    """Predictions of the training part of each fold's model, where they are known."""
    cohort = PREDICTED[wildcards.cohort]
    files = [cohort.model_files(wildcards.experiment, fold) for fold in cohort.folds]
    return [its["trained"] for its in files if "trained" in its]


def of_predicted_patient(wildcards):
    """Feature files of a patient's slides in a further cohort, in the order of its table."""
    return [
        f"<results>/features/{wildcards.encoder}/{slide}.h5"
        for slide in PREDICTED[wildcards.cohort].slides_of[wildcards.patient]
    ]


def of_predicted(pattern, only_evaluated=False):
    """A file of a further cohort for each of what the pattern names beside it.

    ``{slide}``, ``{patient}``, ``{encoder}``, ``{experiment}`` and ``{fold}`` that the job itself
    does not have; none where follow-up or labels are needed for it and not known.
    """

    def files(wildcards):
        cohort = PREDICTED[wildcards.cohort]
        if only_evaluated and not cohort.labels:
            return []
        every = {
            "slide": cohort.slides,
            "patient": list(cohort.slides_of),
            "encoder": cohort.encoders,
            "experiment": list(cohort.experiments),
            "fold": cohort.folds,
        }
        return collect(pattern, **{**every, **dict(wildcards)})

    return files
