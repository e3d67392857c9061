"""What models say of instances by themselves, as probabilities of the head's classes."""

import numpy as np
import pytest
import torch
from examples import example_bag
from labelled_cohort import LEARN, SMALL, label, settings
from synthetic_cohort import run, write_cohort

from mil.bags import pack
from mil.mil_model import MILModel
from mil.slide_scores import read_slide_scores

WIDTH = 24
BAG = pack([example_bag(16, seed=i, name=str(i)) for i in range(2)])


def said(name, classes, head="classes", **options):
    torch.manual_seed(0)
    model = MILModel.build(name, WIDTH, classes=classes, head=head, **options).eval()
    embedding = model.of_bag(BAG).embedding
    return model.network, embedding, model.network.instance_probability(embedding)


@pytest.mark.parametrize("classes", [2, 3])
def test_outputs_are_read_as_those_of_a_bag(classes):
    """Of a bag with one instance, a model that takes the largest output predicts no other."""
    network, embedding, found = said("instance_max", classes)
    logits = embedding.instance_logits.double()
    expected = logits.softmax(1)
    if classes == 2:
        expected = torch.cat([(-logits).sigmoid(), logits.sigmoid()], 1)
    torch.testing.assert_close(found, expected.detach())
    for k in (0, 20):
        alone = MILModel(network).eval()
        one = alone.predict(X=BAG.features[None, k : k + 1]).bags.probability
        np.testing.assert_allclose(found[k], one[0], rtol=1e-6)


def test_classifiers_of_instances_have_a_softmax_or_a_sigmoid_each():
    _, embedding, found = said("iib_mil", 3)
    torch.testing.assert_close(found, embedding.instance_logits.softmax(1).detach())
    for name in ("clam_sb", "clam_mb"):
        for classes in (2, 3):
            _, embedding, found = said(name, classes)
            torch.testing.assert_close(found, embedding.instance_logits.sigmoid().detach())
            assert found.shape == (32, classes)


def test_there_is_none_without_classes_or_without_instances_classified():
    assert said("abmil", 2)[2] is None
    assert said("dtfd", 2)[2] is None  # activations that shares of attention make small
    assert said("clam_sb", 3, head="ordinal")[2] is None  # it has classifiers of two classes
    grades = said("dsmil", 3, head="ordinal")[2]
    torch.testing.assert_close(grades.sum(1), torch.ones(32).double())
    fitted = {"classes": ["a", "b"], "outputs": 2, "several": True, "weights": [[1.0, 1.0]] * 2}
    assert said("clam_sb", None, fitted=fitted)[2] is None  # nobody teaches them
    _, embedding, found = said("dsmil", None, fitted=fitted)
    torch.testing.assert_close(found, embedding.instance_logits.double().sigmoid().detach())
    assert said("dsmil", None, head="cox", fitted={})[2] is None


def test_it_is_stored_beside_the_attention(tmp_path):
    root = write_cohort(tmp_path, patients=24, patches=8, width=16)
    label(root, "classification")
    options = {"task": settings("classification"), **SMALL, "model": "dsmil"}
    options["model_options"] = {"query": 8}
    predictions, _ = run(root, "classes", options=options, **LEARN | {"epochs": 2})
    patient = predictions.loc[predictions["part"] == "test", "patient_id"].iloc[0]
    stored = root / "out/attention.npz"
    with np.load(stored) as archive:
        slide = next(name for name in archive.files if name.startswith(patient))
    scores = read_slide_scores([stored], slide)
    names = [name for name in predictions if name.startswith("probability_")]
    assert [f"probability_{name}" for name in scores.classes] == names
    assert scores.probability.shape == (len(scores.attention), len(names))
    np.testing.assert_allclose(scores.probability.sum(1), 1, atol=1e-6)
