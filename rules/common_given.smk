"""Files that the user gives: what tells that one has changed, and where jobs find it.

None of them is the input of a rule that long work hangs on. Snakemake would see their times, which
any copy changes, and their paths, which change with a folder's name. They reach a job as params
instead: the path as a function of `input`, for which Snakemake re-runs nothing, and beside it what
the file holds.
"""

from wsi.contents import Contents, rows_digest

CONTENTS = Contents(f"{config['results']}/logs/contents.csv")


def content(path):
    """Digest of a file, empty for no file or one that was never there.

    Nobody compares it where nothing was made of the file, so a dry run does not read it then, nor
    does a job on another node.
    """
    if workflow.is_main_process and not workflow.dryrun:
        return CONTENTS.of(path)
    return CONTENTS.known(path)


def given_files():
    """Every file given for a slide or as weights, with the first file that is made of it."""
    results = config["results"]
    for name, slide in SLIDES.items():
        if FROM_SLIDES:
            yield slide.path, f"{results}/tissue/{name}.geojson"
            yield slide.tissue, f"{results}/tissue/{name}.geojson"
            yield slide.patches, f"{results}/patches/level2/{name}.h5"
        else:
            for path in (slide.path, *IMPORTED[name].values()):
                encoder = config["features"]["encoder"]
                yield path, f"{results}/features/{encoder}/{name}.h5"
        for encoder in (name for name, own in ENCODED.items() if slide.slide_id in own):
            made = f"{results}/annotations/{encoder}/{slide.slide_id}.geojson"
            yield slide.annotations, made
    for name, settings in ENCODERS.items():
        if settings["weights"] not in WEIGHTS:
            yield settings["weights"], f"{results}/encoders/{name}.safetensors"


if workflow.is_main_process:  # those that will be compared, side by side
    CONTENTS.read(path for path, made in given_files() if path and os.path.exists(made))


def slide_path(wildcards, input):
    """The slide's file."""
    return SLIDES[wildcards.slide].path


def given_tissue(wildcards, input):
    """The user's own outline of the slide's tissue, if there is one."""
    return SLIDES[wildcards.slide].tissue


def given_patches(wildcards, input):
    """The file of the slide's coarse patches made elsewhere, if there is one."""
    return SLIDES[wildcards.slide].patches


def given_annotations(wildcards, input):
    """The file of the regions annotated on the slide."""
    return SLIDES[wildcards.slide].annotations


def imported_files(wildcards, input):
    """The slide's files of features made elsewhere: h5, pt, patches."""
    return IMPORTED[wildcards.slide]


def import_folder(wildcards, input):
    """The folder of features made elsewhere."""
    return config["features"]["import"]


def weights_source(wildcards, input):
    """Where an encoder's weights come from: a file, or imagenet, hub, random."""
    return ENCODERS[wildcards.encoder]["weights"]


def slide_tables(wildcards, input):
    """The table of the slides that models are trained on."""
    return config["slides"]


def patient_table(wildcards, input):
    """The table of their patients."""
    return config["patients"]


def predicted_table(wildcards, input):
    """The table of a further cohort's slides."""
    return PREDICTED[wildcards.cohort].table.path


def slide_content(wildcards):
    """What the slide's file holds."""
    return content(SLIDES[wildcards.slide].path)


def tissue_content(wildcards):
    """What the user's own outline of the slide's tissue holds."""
    return content(SLIDES[wildcards.slide].tissue or "")


def patches_content(wildcards):
    """What the file of the slide's coarse patches made elsewhere holds."""
    return content(SLIDES[wildcards.slide].patches or "")


def annotations_content(wildcards):
    """What the file of the regions annotated on the slide holds."""
    return content(SLIDES[wildcards.slide].annotations or "")


def imported_content(wildcards):
    """What the slide's files of features made elsewhere hold, by kind."""
    files = IMPORTED[wildcards.slide].items()
    return {kind: content(path) for kind, path in files}


def weights_content(wildcards):
    """What the file of an encoder's weights holds, or the name of its source."""
    weights = ENCODERS[wildcards.encoder]["weights"]
    return weights if weights in WEIGHTS else content(weights)
