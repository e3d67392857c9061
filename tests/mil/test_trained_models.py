"""Finding the models of a finished run, and what is said where they are not whole."""

import re

import pytest
import yaml

from mil.trained_models import ModelsError, find_models


@pytest.fixture
def finished(tmp_path):
    """Two experiments on two folds, and one with permuted labels that stopped half-way."""
    for name in ("a", "b", "a.permuted0"):
        for fold in (0, 1):
            folder = tmp_path / f"models/{name}/fold{fold}"
            folder.mkdir(parents=True)
            made = {"experiment": {"name": "old", "model": "abmil", "encoder": "uni"}}
            (folder / "config.yaml").write_text(yaml.safe_dump(made))
            if name != "a.permuted0":
                (folder / "model.safetensors").touch()
                (folder / "predictions.csv").touch()
    (tmp_path / "folds").mkdir()
    for fold in (0, 1):
        (tmp_path / f"folds/fold{fold}.csv").touch()
    return tmp_path


def test_experiments_and_folds_are_found_without_those_of_permuted_labels(finished):
    found = find_models(finished)
    assert list(found.experiments) == ["a", "b"]
    assert found.folds == (0, 1)
    assert found.experiments["b"] == {"name": "b", "model": "abmil", "encoder": "uni"}
    assert found.trained == {"a", "b"}
    assert list(find_models(finished, ["b"]).experiments) == ["b"]


def test_converted_models_have_no_predictions_and_no_folds(finished):
    for path in [*finished.glob("models/a/*/predictions.csv"), *finished.glob("folds/*")]:
        path.unlink()
    assert find_models(finished, ["a"]).trained == frozenset()
    assert find_models(finished, ["a"]).folds == (0, 1)


@pytest.mark.parametrize(
    ("remove", "sentence"),
    [
        ("models/a/fold1/model.safetensors", "experiment a lacks models/a/fold1/model.safetensors"),
        ("models/b/fold0/predictions.csv", "experiment b lacks models/b/fold0/predictions.csv"),
    ],
)
def test_a_fold_whose_files_are_not_all_there_is_named(finished, remove, sentence):
    (finished / remove).unlink()
    with pytest.raises(ModelsError, match=re.escape(sentence)):
        find_models(finished)


def test_a_fold_that_was_never_trained_is_named(finished):
    (finished / "folds/fold2.csv").touch()
    with pytest.raises(ModelsError) as caught:
        find_models(finished, ["a"])
    assert "experiment a lacks models/a/fold2/model.safetensors; finish that" in str(caught.value)


def test_an_unknown_experiment_and_a_folder_without_models(finished, tmp_path_factory):
    with pytest.raises(ModelsError, match="has no experiment ab; it has a, "):
        find_models(finished, ["ab"])
    with pytest.raises(ModelsError, match="must be the results folder of a finished run"):
        find_models(tmp_path_factory.mktemp("empty"))
