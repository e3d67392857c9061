"""What the rules share: the validated configuration, the slides, and small helpers."""

import glob
import os
import shutil
import sys
from argparse import Namespace
from dataclasses import asdict

sys.path.insert(0, workflow.basedir)

from mil.config import (
    encoders,
    experiments,
    fold_count,
    fold_files,
    load_config,
    running,
    tissue_parameters,
)
from mil.config_encoders import WEIGHTS
from mil.report.sample import shown_slides
from mil.tables import missing_slides, read_patients, read_slides
from wsi import __version__
from mil.__main__ import STAGES as COHORT_STAGES
from wsi.__main__ import STAGES as SLIDE_STAGES
from wsi.digest import code_digest
from wsi.jobs import prepare_environment

prepare_environment(workflow.basedir)

RETRIES = 2  # of the stages of one slide; the last attempt records a crash as the slide's outcome

config.update(load_config(config, f"{workflow.basedir}/schemas/config.schema.yaml"))
RUN = f"{config['results']}/run.json"  # what jobs may use that decides no result
FROM_SLIDES = not config["features"]["import"]  # otherwise features were made elsewhere
SLIDES = {
    s.slide_id: s
    for s in read_slides(config["slides"], config["exclude"], need_paths=FROM_SLIDES)
}
read_patients(config["patients"], config["unit"])
MISSING = (
    missing_slides(SLIDES.values(), config["max_failed_slides"]) if FROM_SLIDES else {}
)
IMPORTED = {}
if not FROM_SLIDES:
    from wsi.layouts.finding import find_imported  # h5py: only where it is asked for

    IMPORTED = find_imported(
        config["features"]["import"],
        config["features"]["layout"],
        config["features"]["encoder"],
        {name: slide.path for name, slide in SLIDES.items()},
        config["max_failed_slides"],
        {name: slide.patches for name, slide in SLIDES.items() if slide.patches},
    )
TISSUE = tissue_parameters(config)
PROCESS_LIST = {}
if config["tissue"]["process_list"]:
    from wsi.clam.process_list import overrides  # numpy: only where it is asked for

    PROCESS_LIST = overrides(config["tissue"]["process_list"], TISSUE)
TEMPLATES = sorted(glob.glob(f"{workflow.basedir}/mil/report/*.html"))
TEMPLATES += sorted(glob.glob(f"{workflow.basedir}/mil/report/*.css"))
SHOWN = shown_slides(list(SLIDES))  # in the report, with a picture each
PATIENTS = {}
for slide in SLIDES.values():
    PATIENTS.setdefault(slide.patient_id, []).append(slide.slide_id)
ENCODERS = encoders(config)
EXPERIMENTS = experiments(config)
FOLDS = range(fold_count(config))
PERMUTED = {
    f"{name}.permuted{repeat}": {**settings, "permute_labels": repeat}
    for name, settings in EXPERIMENTS.items()
    for repeat in range(config["permutations"])
}


def slide_file(wildcards):
    """The slide's file, unless it is missing: that is an outcome of the slide, not of the run."""
    return [] if wildcards.slide in MISSING else SLIDES[wildcards.slide].path


def imported_files(wildcards):
    """The slide's files of features made elsewhere, and the slide itself where it is there."""
    path = SLIDES[wildcards.slide].path
    there = {"slide": path} if path and os.path.exists(path) else {}
    return {**IMPORTED[wildcards.slide], **there}


def files_by_kind(wildcards):
    """The slide's files of features made elsewhere: h5, pt, patches."""
    return IMPORTED[wildcards.slide]


def slide_entry(wildcards):
    """What jobs need of the slide's row of the table, as plain values."""
    slide = SLIDES[wildcards.slide]
    return {"path": slide.path, "mpp": slide.mpp}


def slide_entries(wildcards):
    """Id and file of every slide."""
    return {slide.slide_id: slide.path for slide in SLIDES.values()}


def slides_to_check(wildcards):
    """Every row of the slide table, with how its tissue is found and its patches are laid."""
    return [
        {
            **asdict(slide),
            "parameters": tissue_of_slide(Namespace(slide=name)),
            "laying": patches_of_slide(Namespace(slide=name)),
        }
        for name, slide in SLIDES.items()
    ]


def from_slides(wildcards):
    """Nothing, unless a target wants slides where features were made elsewhere."""
    if FROM_SLIDES:
        return []
    raise WorkflowError(
        "features: import takes the place of slides, tissue and patches, so the targets preflight, "
        "tissue and patches have nothing to do; ask for features, graphs or any other."
    )


def given_tissue(wildcards):
    """The user's own outline of the slide's tissue, if there is one."""
    return SLIDES[wildcards.slide].tissue or []


def given_patches(wildcards):
    """The file of the slide's coarse patches made elsewhere, if there is one."""
    return SLIDES[wildcards.slide].patches or []


def tissue_of_slide(wildcards):
    """Parameters of the segmentation: the configuration's, or the process list's."""
    path = SLIDES[wildcards.slide].path
    return {**TISSUE, **PROCESS_LIST.get(os.path.basename(path), ({}, {}))[0]}


def patches_of_slide(wildcards):
    """How patches are laid: the configuration's way, or the process list's."""
    path = SLIDES[wildcards.slide].path
    listed = PROCESS_LIST.get(os.path.basename(path), ({}, {}))[1]
    return {**config["patches"], **listed}


def picture(path):
    """A slide's picture; Snakemake's report shows it too, unless there are too many slides."""
    if len(SLIDES) > len(SHOWN):
        return path
    labels = {"slide": "{slide}"}
    return report(
        path, caption="../report/tissue.rst", category="2 Slides", labels=labels
    )


def weights_file(wildcards):
    """The file of an encoder's weights, where the configuration names one."""
    weights = ENCODERS[wildcards.encoder]["weights"]
    return [] if weights in WEIGHTS else weights


def features_of_patient(wildcards):
    """Feature files of a patient's slides, in the order of the slide table."""
    return [
        f"<results>/features/{wildcards.encoder}/{slide}.h5"
        for slide in PATIENTS[wildcards.patient]
    ]


def experiment(wildcards):
    """All settings of an experiment, or of its copy with permuted labels."""
    return EXPERIMENTS.get(wildcards.experiment) or PERMUTED[wildcards.experiment]


def running_file(wildcards):
    """What decides no result of an experiment's jobs, or of its copy's with permuted labels."""
    return (
        f"{config['results']}/run/{wildcards.experiment.partition('.permuted')[0]}.json"
    )


def digest_with_model(stage):
    """Digest of the code behind a stage together with an experiment's model and head."""

    def digest(wildcards):
        settings = experiment(wildcards)
        model, head = settings["model"], settings["head"]
        return code_digest(stage, f"mil.models.{model}", f"mil.heads.{head}")

    return digest


def cohort_file(wildcards):
    """The usable slides, with the features of the experiment's encoder."""
    return f"<results>/cohort/{experiment(wildcards)['encoder']}.csv"


def results_folder(wildcards):
    """Where the paths inside result files start from."""
    return config["results"]


def whole_configuration(wildcards):
    """All settings, for the page that shows them."""
    return dict(config)


def version(wildcards):
    """This software's version and a digest of the code behind every stage."""
    modules = [*SLIDE_STAGES.values(), *COHORT_STAGES.values()]
    for settings in EXPERIMENTS.values():
        modules += [f"mil.models.{settings['model']}", f"mil.heads.{settings['head']}"]
    return f"{__version__}, code {code_digest(*modules)}"


def describe_run():
    """Write what jobs may use that decides no result: patches at once, all slides, devices."""
    from wsi.storage import write_json

    keys = ("batch_size", "ahead")
    slides = {name: slide.path for name, slide in SLIDES.items()}
    write_json(
        RUN, {**{key: config["features"][key] for key in keys}, "slides": slides}
    )
    for name, settings in running(config).items():
        write_json(running_file(Namespace(experiment=name)), {"running": settings})


def cores_of_encoder(wildcards):
    """One core a slide on a CPU; eight that read for a GPU."""
    device = ENCODERS[wildcards.encoder]["device"]
    has_gpu = shutil.which("nvidia-smi") is not None
    return 8 if device.startswith("cuda") or (device == "auto" and has_gpu) else 1


def gpus_wanted(device):
    """Number of GPUs to ask for: none where the configuration says cpu."""
    return 0 if device == "cpu" else 1


def more_memory(megabytes):
    """Memory in MB that doubles with every attempt."""
    return lambda wildcards, attempt: megabytes * 2 ** (attempt - 1)


def memory_of_encoder(wildcards, input, attempt):
    """Memory in MB: what ResNet50 takes with room to spare, and three times the weights."""
    there = os.path.exists(input.weights)  # not yet, when the jobs are planned
    weights = os.path.getsize(input.weights) // 1_000_000 if there else 0
    return (4000 + 3 * weights) * 2 ** (attempt - 1)


def this_attempt(wildcards, attempt):
    """Which attempt this is, from 1."""
    return attempt
