"""Models of a finished run, moved elsewhere, predict a cohort of their own; nothing is trained."""

import csv
import shutil

import pytest
import yaml

pytestmark = pytest.mark.xdist_group("finished")

# own id, patient, and the slide of the finished run that it is a copy of
SLIDES = [("X1", "Q1", "S001"), ("X2", "Q2", "S002"), ("X5", "Q5", "S005"), ("X6", "P006", "S006")]
BROKEN = "X2"  # cut in the middle
SAME_SETTINGS = ("max_failed_slides", "scale", "patches", "features", "evaluation")


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_tables(folder, slides):
    table = [f"{slide},{patient},{path}" for slide, patient, path in slides]
    (folder / "b.csv").write_text("slide_id,patient_id,path\n" + "\n".join(table) + "\n")
    follow_up = ["Q1,3.5,1", "Q2,7,1", "Q5,5,0", "P006,20,1"]
    (folder / "b_patients.csv").write_text("patient_id,time,event\n" + "\n".join(follow_up) + "\n")


def configured(project, name, **changes):
    config = yaml.safe_load((project.folder / "config.yaml").read_text())
    path = project.folder / name
    path.write_text(yaml.safe_dump({**config, **changes}))
    return "--configfile", str(path)


@pytest.fixture(scope="module")
def predicted(finished, bare_project):
    """A run of the models alone: `known` has follow-up, `unknown` the same slides without."""
    folder = bare_project.folder
    for part in ("models", "folds"):
        shutil.copytree(finished.folder / "results" / part, folder / "moved" / part)
    for _, _, source in SLIDES:
        shutil.copy2(finished.folder / f"data/slides/{source}.tiff", folder)
    write_tables(folder, [(slide, patient, f"{source}.tiff") for slide, patient, source in SLIDES])
    trained = yaml.safe_load((finished.folder / "config.yaml").read_text())
    cohort = {"slides": "b.csv", "models": "moved"}
    config = {
        "slides": None,
        "patients": None,
        "predict": [
            {"name": "known", "patients": "b_patients.csv", "experiments": ["advmil"], **cohort},
            {"name": "unknown", "experiments": ["nll"], **cohort},
        ],
        **{key: trained[key] for key in SAME_SETTINGS},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    bare_project.run()
    return bare_project


def test_everything_is_predicted_once(predicted):
    assert predicted.planned() == set()
    here = str(predicted.folder).encode()
    assert [name for name, content in predicted.results().items() if here in content] == []


def test_a_copy_of_a_slide_has_the_risk_that_the_finished_run_gave_it(predicted, finished):
    for fold in (0, 1):
        path = f"models/nll/fold{fold}/predictions.csv"
        own = {r["patient_id"]: r for r in rows(finished.folder / "results" / path)}
        found = {
            r["patient_id"]: r for r in rows(predicted.folder / "results/predict/unknown" / path)
        }
        assert {"Q1", "Q5", "P006"} == set(found)
        for name, copied in (("Q1", "P001"), ("Q5", "P005"), ("P006", "P006")):
            assert found[name]["risk"] == own[copied]["risk"]
        assert [found[name]["part"] for name in ("Q1", "P006")] == ["", own["P006"]["part"]]


def test_a_slide_that_fails_is_an_outcome_and_its_patient_is_listed(predicted):
    for name in ("known", "unknown"):
        folder = predicted.folder / "results/predict" / name
        lost = rows(folder / "cohort/resnet50.excluded.csv")
        assert [(row["level"], row["id"]) for row in lost] == [("slide", "X2"), ("patient", "Q2")]
        assert all(row["id"] in (folder / "report.html").read_text() for row in lost)


def test_without_follow_up_nothing_is_judged_and_the_page_says_so(predicted):
    folder = predicted.folder / "results/predict/unknown"
    assert not (folder / "evaluation").exists()
    text = " ".join((folder / "report.html").read_text().split())
    assert "Their follow-up is not known here" in text
    assert "Random encoder weights" in text
    assert "by models of another run, moved" in text


def test_with_follow_up_the_ensemble_is_judged_without_whom_it_was_trained_on(predicted):
    folder = predicted.folder / "results/predict/known"
    joined = {r["patient_id"]: r for r in rows(folder / "models/advmil/ensemble/predictions.csv")}
    seen = int(joined["P006"]["seen_by"])
    assert seen, "two folds of which one tests a patient at most"
    metrics = {(r["metric"], r["fold"]): r for r in rows(folder / "evaluation/advmil/metrics.csv")}
    assert metrics["c_index", "ensemble"]["n"] == "2"
    assert (folder / "evaluation/advmil/heatmaps.jpg").stat().st_size > 10_000
    page = (folder / "report.html").read_text()
    assert page.count("was trained or chosen on patients of this cohort") == seen
    assert "Kaplan–Meier curves with 95 % bands" in page


def test_a_changed_slide_runs_only_what_depends_on_it(predicted):
    slide = predicted.folder / "S001.tiff"
    before = slide.read_bytes()
    slide.write_bytes(before + b"\0")
    planned = predicted.planned()
    slide.write_bytes(before)
    of_slides = {job for job in planned if not job.startswith(("known: ", "unknown: "))}
    assert of_slides == {
        *("tissue of X1", "patches of X1", "features of X1 (resnet50)", "graph of X1"),
        *(f"clusters of Q1 in {name}" for name in ("known", "unknown")),
        *(f"usable slides of {name} (resnet50)" for name in ("known", "unknown")),
    }
    assert "known: predictions of advmil, model of fold 0" in planned
    assert {job for job in planned if job.startswith("unknown: ")} == {
        *(f"unknown: predictions of nll, model of fold {fold}" for fold in (0, 1)),
        *("unknown: ensemble of nll", "unknown: report"),
    }


def test_follow_up_that_becomes_known_predicts_nothing_again(predicted):
    config = yaml.safe_load((predicted.folder / "config.yaml").read_text())
    config["predict"][1]["patients"] = "b_patients.csv"
    changed = configured(predicted, "later.yaml", predict=config["predict"])
    assert {job for job in predicted.planned(*changed) if job.startswith("unknown")} == {
        *(f"unknown: {what} of nll" for what in ("evaluation", "attention heatmaps")),
        "unknown: report",
    }


def test_a_cohort_beside_the_training_one_trains_nothing(finished):
    folder = finished.folder
    slides = [("X1", "Q1", "data/slides/S001.tiff")]
    write_tables(folder, slides)
    entry = {"name": "beside", "slides": "b.csv"}
    changed = configured(finished, "beside.yaml", predict=[entry])
    planned = finished.planned(*changed)
    assert {job for job in planned if not job.startswith("beside: ")} == {
        *("tissue of X1", "patches of X1", "features of X1 (resnet50)", "graph of X1"),
        *("clusters of Q1 in beside", "usable slides of beside (resnet50)"),
        *("report", "provenance"),  # they show the configuration
    }
    assert planned >= {
        f"beside: predictions of {name}, model of fold {fold}"
        for name in ("advmil", "nll")
        for fold in (0, 1)
    }


def refused(project, *arguments):
    result = project.run("-n", *arguments, check=False)
    assert result.returncode
    text = result.stdout + result.stderr
    assert "Traceback (most recent call last)" not in text
    return " ".join(text.split())


def test_what_cannot_be_predicted_is_refused_before_the_first_job(predicted, finished):
    folder = predicted.folder
    assert "predict is empty, so there is no further cohort" in refused(finished, "predict")
    assert "nothing is trained here" in refused(predicted, "train")
    other = configured(
        predicted, "other.yaml", features={"encoder": "vit_small", "weights": "random"}
    )
    assert "reads features of the encoder resnet50, but the encoders here are vit_small" in refused(
        predicted, *other
    )
    model = folder / "moved/models/nll/fold1/model.safetensors"
    model.rename(folder / "away")
    assert "experiment nll lacks models/nll/fold1/model.safetensors" in refused(predicted)
    (folder / "away").rename(model)
    (folder / "c.csv").write_text("slide_id,patient_id,path\nX1,Q1,S005.tiff\n")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    clash = [*config["predict"], {"name": "c", "slides": "c.csv", "models": "moved"}]
    assert "c.csv: slide X1 is not the slide of that id in b.csv" in refused(
        predicted, *configured(predicted, "clash.yaml", predict=clash)
    )
