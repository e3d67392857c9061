"""What the rules share: the validated configuration, the slides, and small helpers."""

import glob
import os
import shlex
import shutil
import sys
from argparse import Namespace
from dataclasses import asdict
from functools import cache

from snakemake.settings.types import DeploymentMethod, ExecMode

sys.path.insert(0, workflow.basedir)

from mil.config import (
    experiment_groups,
    experiments,
    fold_count,
    fold_files,
    horizons,
    load_config,
    running,
    tissue_parameters,
)
from mil.config_encoders import WEIGHTS, encoder_settings
from mil.config_robustness import (
    levels_of,
    perturbed_encoders,
    perturbed_name,
    robustness_curves,
)
from mil.config_task import task_settings
from mil.label_table import read_labels
from mil.predicted_cohorts import predicted_cohorts
from mil.report.sample import MOST, shown_slides
from mil.slide_tables import SlideTable, patients_of, read_slide_tables
from mil.tables import missing_slides, read_patients
from mil.tasks import FIGURES
from wsi import __version__
from mil.__main__ import STAGES as COHORT_STAGES
from wsi.__main__ import STAGES as SLIDE_STAGES
from wsi.digest import code_digest
from wsi.jobs import prepare_environment

prepare_environment(workflow.basedir)

IMAGE = "slide-survival.sif"  # in the folder of the run, for --software-deployment-method apptainer
RETRIES = 2  # of the stages of one slide; the last attempt records a crash as the slide's outcome
GROUPED = (  # what profiles/slurm has under group-components
    "prep features graphs clusters predictions evaluation occlusion perturbed curves"
).split()

if workflow.exec_mode == ExecMode.REMOTE:
    workflow.register_resource("gpu", 1)  # a cluster job has one; its jobs take turns

config.update(load_config(config, f"{workflow.basedir}/schemas/config.schema.yaml"))
RUN = f"{config['results']}/run.json"  # what jobs may use that decides no result
PREDICTING = f"{config['results']}/run/predict.json"  # likewise, of further cohorts
START = f"{config['results']}/logs/start.json"  # the command, when and by whom
FROM_SLIDES = not config["features"]["import"]  # otherwise features were made elsewhere
OWN = ""  # the cohort that models are trained on, among the slide tables
TABLES = read_slide_tables(
    {
        **({OWN: config["slides"]} if config["slides"] else {}),
        **{entry["name"]: entry["slides"] for entry in config["predict"]},
    },
    config["exclude"],
    need_paths=FROM_SLIDES,
)
SLIDES = {s.slide_id: s for table in TABLES.values() for s in table.slides}  # of all
TASK = task_settings(config)  # None for survival
FOLLOW_UP = []
if config["patients"] and not TASK:
    FOLLOW_UP = read_patients(config["patients"], config["unit"])
if TASK and config["slides"]:
    of_slides = TASK["unit"] == "slide"
    FOLLOW_UP = read_labels(
        config["slides" if of_slides else "patients"],
        *(TASK[key] for key in ("columns", "classes", "unit")),
    )
FOLLOWED = {patient.patient_id for patient in FOLLOW_UP if not patient.unusable}
MISSING = set()
if FROM_SLIDES:
    for table in TABLES.values():
        MISSING |= missing_slides(table.slides, config["max_failed_slides"])
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
OWN_TABLE = TABLES.get(OWN, SlideTable("", (), (), ()))
OWN_SLIDES = [slide.slide_id for slide in OWN_TABLE.slides]
PATIENTS = patients_of(OWN_TABLE.slides)
SHOWN = shown_slides(OWN_SLIDES)  # in the report, with a picture each
# The same encoders on changed pixels of tested patients.
PERTURBED = perturbed_encoders(config)
TESTED = FOLLOWED
if PERTURBED and fold_files(config):
    from mil.fixed_folds import patients_tested  # numpy: only where it is asked for

    TESTED = FOLLOWED & patients_tested(fold_files(config))
CURVES = robustness_curves(config)
TRIED = config["robustness"]["experiments"]
PARTS = sorted(glob.glob(f"{workflow.basedir}/rules/*.smk"))  # of the workflow
PARTS += sorted(glob.glob(f"{workflow.basedir}/workflow_scripts/*.py"))
EXPERIMENTS = experiments(config)
GROUPS = experiment_groups(config)  # of experiments that differ by their seeds alone
FOLDS = range(fold_count(config))
PREDICTED = predicted_cohorts(config, TABLES, len(FOLDS))
OWN_ENCODERS = sorted({settings["encoder"] for settings in EXPERIMENTS.values()})
ENCODED = {name: list(OWN_SLIDES) for name in OWN_ENCODERS}  # slides that each encodes
for cohort in PREDICTED.values():
    for name in cohort.encoders:
        ENCODED[name] = list(dict.fromkeys([*ENCODED.get(name, []), *cohort.slides]))
ENCODERS = {name: encoder_settings(name, config) for name in sorted(ENCODED)}
PLACES = {  # in the tables; jobs of neighbours share a cluster job
    "slide": {name: place for place, name in enumerate(SLIDES)},
    "patient": {
        name: place
        for patients in (PATIENTS, *(its.slides_of for its in PREDICTED.values()))
        for place, name in enumerate(patients)
    },
}
LABEL_FIGURES = FIGURES.get(config["task"], ())  # of an experiment
DISTRIBUTIONS = [  # figures of predicted distributions
    "chosen_patients",
    "intervals",
    "predicted_times",
    "calibration",
    "over_time",
]
PERMUTED = {
    f"{name}.permuted{repeat}": {**settings, "permute_labels": repeat}
    for name, settings in EXPERIMENTS.items()
    for repeat in range(config["permutations"])
}


def slide_entries(wildcards):
    """Id and file of every slide of the cohort that models are trained on."""
    return {name: SLIDES[name].path for name in OWN_SLIDES}


def slide_names(wildcards):
    """Id and file name of every slide of that cohort."""
    return {name: os.path.basename(SLIDES[name].path) for name in OWN_SLIDES}


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
    if len(SLIDES) > MOST:
        return path
    labels = {"slide": "{slide}"}
    return report(
        path, caption="../report/tissue.rst", category="2 Slides", labels=labels
    )


def patients_of_encoder(wildcards):
    """Patients whose slides an encoder sees; changed pixels are shown of tested ones alone."""
    if wildcards.encoder in ENCODERS:
        return PATIENTS
    return {name: slides for name, slides in PATIENTS.items() if name in TESTED}


def slides_of_encoder(wildcards):
    """Slides that an encoder sees, in the order of the slide table."""
    patients = patients_of_encoder(wildcards)
    return [s.slide_id for s in OWN_TABLE.slides if s.patient_id in patients]


def features_of_encoder(wildcards):
    """Feature files of all slides that an encoder sees."""
    slides = slides_of_encoder(wildcards)
    path = "<results>/features/{encoder}/{slide}.h5"
    return collect(path, encoder=wildcards.encoder, slide=slides)


def graphs_of_encoder(wildcards):
    """Graphs of all slides that an encoder sees."""
    slides = slides_of_encoder(wildcards)
    path = "<results>/graphs/{encoder}/{slide}.npz"
    return collect(path, encoder=wildcards.encoder, slide=slides)


def clusters_of_encoder(wildcards):
    """Clusters of all patients whose slides an encoder sees."""
    patients = patients_of_encoder(wildcards)
    path = "<results>/clusters/{encoder}/{patient}.npz"
    return collect(path, encoder=wildcards.encoder, patient=patients)


def slides_left_out(wildcards):
    """Slides left out of the cohort of an encoder on purpose."""
    seen = set(slides_of_encoder(wildcards))
    return [*OWN_TABLE.exclude, *(name for name in OWN_SLIDES if name not in seen)]


def share_that_may_fail(wildcards):
    """Share of an encoder's slides that may fail.

    Of changed pixels any: the same slides have been judged as they are, among all of the cohort, and
    predict_perturbed refuses a cohort that lost others.
    """
    return config["max_failed_slides"] if wildcards.encoder in ENCODERS else 1.0


def encoder_weights(wildcards):
    """The weights that an encoder has, whatever it sees."""
    name = PERTURBED.get(wildcards.encoder, {}).get("base", wildcards.encoder)
    return f"<results>/encoders/{name}.safetensors"


def perturbation_of_encoder(wildcards):
    """What is done to the pixels that an encoder sees; None for nothing."""
    return PERTURBED.get(wildcards.encoder, {}).get("perturbation")


def features_of_patient(wildcards):
    """Feature files of a patient's slides, in the order of the slide table."""
    return [
        f"<results>/features/{wildcards.encoder}/{slide}.h5"
        for slide in PATIENTS[wildcards.patient]
    ]


def each(pattern, **values):
    """A file for each combination of values, listed when a job wants them: on a node hardly one."""
    return lambda wildcards: collect(pattern, **values)


def for_each_slide(pattern):
    """A file for each encoder and each slide whose features are read, listed when wanted."""

    def files(wildcards):
        return [
            pattern.format(encoder=name, slide=slide)
            for name, slides in ENCODED.items()
            for slide in slides
        ]

    return files


def experiment(wildcards):
    """All settings of an experiment, or of its copy with permuted labels."""
    return EXPERIMENTS.get(wildcards.experiment) or PERMUTED[wildcards.experiment]


def running_file(wildcards):
    """What decides no result of an experiment's jobs, or of its copy's with permuted labels."""
    return (
        f"{config['results']}/run/{wildcards.experiment.partition('.permuted')[0]}.json"
    )


@cache
def known_digest(*modules):
    """Digest of the code behind stages."""
    return code_digest(*modules)


def code_of(*modules):
    """Digest of the code behind a stage, made when a job wants it: on a node one stage's does."""
    return lambda wildcards: known_digest(*modules)


def digest_with_model(stage, settings_of=experiment):
    """Digest of the code behind a stage together with an experiment's model and head."""

    def digest(wildcards):
        settings = settings_of(wildcards)
        model, head = settings["model"], settings["head"]
        modules = (f"mil.models.{model}", f"mil.heads.{head}", *task_modules())
        return known_digest(stage, *modules)

    return digest


def task_modules():
    """The module of the task: it is found by name, so no import leads to it."""
    return [f"mil.tasks.{config['task']}"]


def cohort_file(wildcards):
    """The usable slides, with the features of the experiment's encoder."""
    return f"<results>/cohort/{experiment(wildcards)['encoder']}.csv"


def annotations_of_experiment(wildcards):
    """Annotations of the cohort's slides, on the patches that an experiment's encoder saw."""
    return annotated(experiment(wildcards)["encoder"], OWN_SLIDES)


def annotated(encoder, slides):
    """Annotations of those slides that have any."""
    named = [slide for slide in slides if SLIDES[slide].annotations]
    return collect(
        "<results>/annotations/{encoder}/{slide}.geojson", encoder=encoder, slide=named
    )


def perturbed_cohorts(wildcards):
    """The cohort tables of an experiment's encoder on changed pixels, the mildest level first."""
    encoder = experiment(wildcards)["encoder"]
    return [
        f"<results>/cohort/{perturbed_name(encoder, wildcards.perturbation, level)}.csv"
        for level in levels_of(wildcards.perturbation, config)
    ]


def levels_of_perturbation(wildcards):
    """The levels that belong to `perturbed_cohorts`."""
    return levels_of(wildcards.perturbation, config)


def damaged_predictions(wildcards):
    """Predictions of damaged test patients behind a curve: experiment by experiment, by fold."""
    return collect(
        "<results>/robustness/{experiment}/fold{fold}/{damage}.csv",
        experiment=TRIED,
        fold=FOLDS,
        damage=wildcards.curve.partition("-")[0],
    )


def asked_for_robustness(wildcards):
    """Nothing, unless the target has nothing to do."""
    if CURVES:
        return []
    raise WorkflowError(
        "robustness: experiments is empty, or neither occlusion nor blur nor hed is asked for; name "
        "experiments in the configuration (docs/robustness.md)."
    )


def results_folder(wildcards):
    """Where the paths inside result files start from."""
    return config["results"]


def whole_configuration(wildcards):
    """All settings, for the page that shows them."""
    return dict(config)


def version(wildcards):
    """This software's version and a digest of the code behind every stage."""
    modules = [*SLIDE_STAGES.values(), *COHORT_STAGES.values()]
    predicting = (
        settings for c in PREDICTED.values() for settings in c.experiments.values()
    )
    for settings in (*EXPERIMENTS.values(), *predicting):
        modules += [f"mil.models.{settings['model']}", f"mil.heads.{settings['head']}"]
    return f"{__version__}, code {code_digest(*modules)}"


def in_this_python():
    """Whether jobs run in the Python that runs Snakemake: neither in conda's nor in an image."""
    own = {DeploymentMethod.APPTAINER, DeploymentMethod.CONDA}
    return not own & set(workflow.deployment_settings.deployment_method)


def check_software():
    """Stop before the first job where jobs would lack software; say so where it is another."""
    ways = workflow.deployment_settings.deployment_method
    if DeploymentMethod.APPTAINER in ways and not os.path.exists(IMAGE):
        raise WorkflowError(
            f"There is no {IMAGE} in {os.getcwd()}, the image that jobs are to run in; "
            "docs/environments.md says how it is built."
        )
    if in_this_python():
        from mil.installed import check_installed

        others = check_installed(workflow.basedir)
        if others:
            logger.warning(others)


def on_node():
    """Whether this Snakemake runs in a cluster job."""
    return workflow.exec_mode == ExecMode.REMOTE


def on_cluster():
    """Whether jobs are submitted; not yet known while the rules are read."""
    return not workflow.local_exec


def group_size(name):
    """How many slides or patients share a cluster job: the profile's group-components.

    Snakemake does not tell a node. There all jobs are those of one cluster job, hence one group:
    each group more would start Snakemake anew.
    """
    if on_node() and not workflow.group_settings.group_components:
        workflow.group_settings.group_components = dict.fromkeys(GROUPED, sys.maxsize)
    return workflow.group_settings.group_components.get(name, 1)


def neighbours(name, of):
    """Put jobs of slides (or patients) that follow each other in the table into one cluster job.

    Left to itself, Snakemake fills such a job with any slides: each GPU job would wait for all of
    the jobs before it, and jobs would encode each other's slides ahead.
    """

    def group(wildcards):
        number = PLACES[of][getattr(wildcards, of)] // group_size(name)
        encoder = getattr(wildcards, "encoder", "")
        own = "-".join(filter(None, [name, encoder, f"{number:04}"]))
        workflow.parent_groupids[own] = name  # whose group-components count
        return own

    return group


def of_experiment(name):
    """Put jobs of one experiment (on one cohort) into one cluster job."""

    def group(wildcards):
        cohort = getattr(wildcards, "cohort", "")
        own = "-".join(filter(None, [name, cohort, wildcards.experiment]))
        workflow.parent_groupids[own] = name
        return own

    return group


def describe_run():
    """Write how the run was started, and what jobs may use that decides no result."""
    from mil.installed import versions_of_jobs
    from mil.provenance.start import describe_start
    from snakemake import __version__ as snakemake_version
    from wsi.storage import write_json

    packages = versions_of_jobs(workflow.basedir, here=in_this_python())
    command = shlex.join(sys.argv)
    describe_start(START, command, workflow.basedir, snakemake_version, packages)
    keys = ("batch_size", "ahead")
    slides = {name: slide.path for name, slide in SLIDES.items()}
    features = {key: config["features"][key] for key in keys}
    together = group_size("features") if on_cluster() else 0
    write_json(RUN, {**features, "slides": slides, "together": together})
    for name, settings in running(config).items():
        write_json(running_file(Namespace(experiment=name)), {"running": settings})
    write_json(PREDICTING, {"device": config["training"]["device"]})


def gpus_wanted(device):
    """Number of GPUs to ask for: none where the configuration says cpu."""
    return 0 if device == "cpu" else 1


def is_laid_ready(wildcards, attempt):
    """Whether the job of a slide only moves its features: on a node, all but the first.

    The first has the GPU and all cores and encodes those of its whole cluster job. The others then
    need neither, and go side by side; else the GPU would wait for them, one after another. After a
    crash each encodes its own.
    """
    if not on_node() or on_cluster() or attempt > 1:
        return False
    if config["features"]["ahead"] != "auto" or not gpus_wanted(
        config["features"]["device"]
    ):
        return False
    names = [spec.wildcards_dict["slide"] for spec in workflow.dag_settings.target_jobs]
    return wildcards.slide != min(names, key=PLACES["slide"].get)


def after_the_first(wildcards, attempt):
    """Priority of a slide's job among those of its cluster job."""
    return -int(is_laid_ready(wildcards, attempt))


def cores_of_encoder(wildcards, attempt):
    """One core a slide on a CPU; eight that read for a GPU, which a login node need not have."""
    device = {**ENCODERS, **PERTURBED}[wildcards.encoder]["device"]
    has_gpu = on_cluster() or shutil.which("nvidia-smi") is not None
    on_gpu = device.startswith("cuda") or (device == "auto" and has_gpu)
    return 8 if on_gpu and not is_laid_ready(wildcards, attempt) else 1


def gpu_of_encoder(wildcards, attempt):
    """Number of GPUs that a slide's job asks for."""
    wanted = gpus_wanted(config["features"]["device"])
    return 0 if is_laid_ready(wildcards, attempt) else wanted


def gigabytes(paths):
    """Size of files in GB; those not yet there, when jobs are planned, count nothing."""
    paths = [paths] if isinstance(paths, str) else paths
    return sum(os.path.getsize(path) for path in paths if os.path.exists(path)) / 1e9


def doubled(amount):
    """Memory in MB or time in minutes that doubles with every attempt."""
    return lambda wildcards, attempt: int(amount * 2 ** (attempt - 1))


def by_slide(least, a_gigabyte):
    """Memory or time by the size of the slide's file, doubled with every attempt."""

    def amount(wildcards, attempt):
        size = gigabytes(SLIDES[wildcards.slide].path or [])
        return int((least + a_gigabyte * size) * 2 ** (attempt - 1))

    return amount


def by_features(least, a_gigabyte):
    """Memory or time by the size of the features, doubled with every attempt."""

    def amount(wildcards, input, attempt):
        return int(
            (least + a_gigabyte * gigabytes(input.features)) * 2 ** (attempt - 1)
        )

    return amount


def memory_of_encoder(wildcards, input, attempt):
    """Memory in MB: what ResNet50 takes with room to spare, and three times the weights."""
    return int((4000 + 3000 * gigabytes(input.weights)) * 2 ** (attempt - 1))


def minutes_of_encoder(wildcards, attempt):
    """Time by the size of the slide: a GPU needs a tenth of a core's."""
    on_gpu = cores_of_encoder(wildcards, attempt) > 1
    return (by_slide(3, 4) if on_gpu else by_slide(20, 40))(wildcards, attempt)


def this_attempt(wildcards, attempt):
    """Which attempt this is, from 1."""
    return attempt


def distribution_figure(name):
    """One of the figures of an experiment's predicted distributions, for the workflow's report."""
    return report(
        f"<results>/evaluation/{{experiment}}/{name}.svg",
        caption=f"../report/{name}.rst",
        category="4 Evaluation",
        subcategory="Distributions",
        labels={"experiment": "{experiment}", "figure": name.replace("_", " ")},
    )


def label_figure(name):
    """One of the figures of an experiment whose label is predicted, for the workflow's report."""
    return report(
        f"<results>/evaluation/{{experiment}}/{name}.svg",
        caption=f"../report/{name}.rst",
        category="4 Evaluation",
        subcategory=name.capitalize(),
        labels={"experiment": "{experiment}", "figure": name},
    )
