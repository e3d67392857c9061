"""Cohorts under ``predict``: which table has their labels, and models of another task."""

import pytest
import yaml

from mil.config_task import task_settings
from mil.predicted_cohorts import predicted_cohorts
from mil.problems import InputError
from mil.slide_tables import read_slide_tables
from mil.tables import TableError

OWN = {"name": "classification", "columns": ["grade"], "classes": ["low", "high"],
       "unit": "patient"}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Models of a finished run that predict a grade, and the slides of another cohort."""
    made = {"name": "a", "model": "abmil", "head": "classes", "encoder": "uni",
            "model_options": {}, "task": OWN}  # fmt: skip
    for name in ("model.safetensors", "predictions.csv"):
        (tmp_path / "run/models/a/fold0").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"run/models/a/fold0/{name}").touch()
    (tmp_path / "run/models/a/fold0/config.yaml").write_text(yaml.safe_dump({"experiment": made}))
    (tmp_path / "slides.csv").write_text("slide_id,patient_id,path\nS,P,S.svs\n")
    (tmp_path / "graded.csv").write_text("slide_id,patient_id,path,grade\nS,P,S.svs,low\n")
    (tmp_path / "patients.csv").write_text("patient_id,grade\nP,high\n")
    return tmp_path


def found(folder, slides="slides.csv", patients=None, unit="patient", classes=("low", "high")):
    config = {
        "task": "classification",
        "label": {"columns": ["grade"], "classes": list(classes), "unit": unit},
        "unit": "months",
        "features": {"encoder": "uni", "import": None},
        "encoders": {},
        "predict": [
            {"name": "b", "slides": str(folder / slides), "models": str(folder / "run"),
             "patients": patients and str(folder / patients)}
        ],
    }  # fmt: skip
    tables = read_slide_tables({"b": str(folder / slides)}, [], need_paths=True)
    assert task_settings(config)["unit"] == unit
    return predicted_cohorts(config, tables, 0)["b"]


def test_labels_are_in_the_patient_table_if_there_is_one(folder):
    assert found(folder).labels is None
    assert found(folder, patients="patients.csv").labels == str(folder / "patients.csv")


def test_a_label_that_is_no_class_is_a_sentence(folder):
    (folder / "patients.csv").write_text("patient_id,grade\nP,hihg\n")
    with pytest.raises(TableError, match=r"line 2: grade is hihg; it must be one of low, high"):
        found(folder, patients="patients.csv")


def test_models_of_another_task_are_refused(folder):
    with pytest.raises(InputError) as caught:
        found(folder, classes=["low", "mid", "high"])
    assert (
        "predicts classification of label: {columns: [grade], classes: [low, high], unit: "
        "patient}, but here task is classification of label: {columns: [grade], classes: [low, "
        "mid, high], unit: patient}; set task and label as for the models."
    ) in str(caught.value)


def test_slides_have_labels_where_their_table_has_the_columns(folder):
    path = folder / "run/models/a/fold0/config.yaml"
    made = yaml.safe_load(path.read_text())
    made["experiment"]["task"]["unit"] = "slide"
    path.write_text(yaml.safe_dump(made))
    assert found(folder, unit="slide").labels is None
    assert found(folder, "graded.csv", unit="slide").labels == str(folder / "graded.csv")
