"""What the report says of imported files."""

import pandas as pd

from mil.report.cohort_flow import slide_flow
from mil.report.imported_notes import ImportedKind, imported_notes
from wsi.imported_table import COLUMNS


def row(slide, **cells):
    usable = {"patches": "32", "width": "1024", "dtype": "float16", "footprint0": "1024",
              "footprint_source": "file", "mpp0": "0.2527", "mpp_source": "slides.csv",
              "regions": "True"}  # fmt: skip
    return {**dict.fromkeys(COLUMNS, ""), "slide_id": slide, **usable, **cells}


def test_files_that_are_alike_are_counted_together():
    failed = {**dict.fromkeys(COLUMNS, ""), "slide_id": "S2", "status": "damaged"}
    table = pd.DataFrame(
        [row("S1"), failed, row("S3", patches="16"), row("S4", mpp0="", regions="False",
         look="3 of 32 patches lie where another one does.")]
    )  # fmt: skip
    notes = imported_notes(table)
    patch = "1024 level-0 pixels (file)"
    assert notes["kinds"] == [
        ImportedKind("1024 x float16", patch, "0.253 µm per pixel (slides.csv)", "yes", 2, 48),
        ImportedKind("1024 x float16", patch, "not said", "no", 1, 32),
    ]
    assert notes["to_look_at"] == [("S4", "3 of 32 patches lie where another one does.")]


def test_the_flow_of_imported_slides_names_no_stage_that_did_not_run():
    lost = [
        ("slide", "S2", "P2", "import_features", "no_features", "none"),
        ("slide", "S3", "P3", "cluster_patches", "crash", "killed"),
        ("slide", "S4", "P4", "configuration", "excluded", "left out"),
    ]
    table = pd.DataFrame(lost, columns=["level", "id", "patient_id", "stage", "kind", "reason"])
    steps = slide_flow(10, table, 7, imported=True)
    assert [(step.label, step.left, step.lost) for step in steps] == [
        ("in the slide table", 10, ""),
        ("not left out on purpose", 9, "1 left out on purpose"),
        ("with sound features", 8, "1 no features"),
        ("with graph and clusters", 7, "1 crashed"),
        ("used", 7, ""),
    ]
