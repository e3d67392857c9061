"""Wrong tables and configurations stop before the first job, in a sentence."""

import pytest
import yaml

pytestmark = pytest.mark.xdist_group("fresh")


def refused(project, *arguments):
    result = project.run("-n", *arguments, check=False)
    assert result.returncode != 0
    text = result.stdout + result.stderr
    assert "Traceback" not in text
    return text


def configured(project, **changes):
    config = yaml.safe_load((project.folder / "config.yaml").read_text())
    path = project.folder / "wrong.yaml"
    path.write_text(yaml.safe_dump({**config, **changes}))
    return "--configfile", str(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tisue": {}}, "did you mean tissue?"),
        ({"folds": {"k": 1}}, "folds.k"),
        ({"scale": {"by": "mpp", "coarse": 4.0, "fine": 2.0}}, "coarse must be 4 x fine"),
        ({"experiments": [{"name": "a", "model": "abmill", "head": "cox"}]}, "did you mean abmil?"),
        ({"experiments": [{"name": "a", "model": "abmil", "head": "coxx"}]}, "did you mean cox?"),
        ({"features": {"weights": "nowhere.pth"}}, "there is no such file"),
        ({"slides": "gone.csv"}, "gone.csv: there is no such table"),
        ({"exclude": ["S0001"]}, "exclude names slide S0001, not in"),
    ],
)
def test_a_wrong_configuration(project, changes, sentence):
    assert sentence in refused(project, *configured(project, **changes))


@pytest.mark.parametrize(
    ("table", "text", "sentences"),
    [
        (
            "patients",
            "patient_id,time,event\nP001,5,2\n",
            ["line 2", "event is 2 for patient P001", "it must be 1"],
        ),
        ("patients", "patient_id,time,event\nP001,x,1\n", ["line 2", "time is x"]),
        ("patients", "patient,time,event\nP001,5,1\n", ["patient_id"]),
        (
            "slides",
            "slide_id,patient_id,path\nS1,P001,a.svs\nS1,P002,b.svs\n",
            ["line 3", "slide_id is S1, as in line 2"],
        ),
        ("slides", "slide_id,patient_id,path\nS/1,P001,a.svs\n", ["line 2", "S/1"]),
        ("slides", "slide_id,patient_id,path\nS1,P001,a.svs\n", ["there is no file a.svs"]),
        ("slides", "slide_id,patient_id,path,mpp\nS1,P001,a.svs,300\n", ["mpp is 300"]),
    ],
)
def test_a_wrong_table(project, table, text, sentences):
    (project.folder / "wrong.csv").write_text(text)
    said = refused(project, *configured(project, **{table: "wrong.csv"}))
    for sentence in ["wrong.csv" if "no file" not in sentences[0] else "a.svs", *sentences]:
        assert sentence in said


def test_a_users_configuration_stands_alone(project, tmp_path):
    """What it leaves out comes from the schema, not from the config.yaml of the demo."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "slides": "data/slides.csv",
                "patients": "data/patients.csv",
                "experiments": [{"name": "mine", "model": "abmil", "head": "nll"}],
            }
        )
    )
    text = project.run("-n", "--configfile", str(path), "--config", "max_failed_slides=0.4")
    assert "training mine, fold 4" in text.stdout + text.stderr, "five folds by default"
