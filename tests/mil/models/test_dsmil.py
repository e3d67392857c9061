"""DSMIL against the values of the original modules, and what is its own."""

import json
from pathlib import Path

import pytest
import torch
from examples import example_bag, golden_fill, golden_input
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mil.bags import Bag, pack
from mil.models import build_model
from mil.nn.segments import segment_softmax

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/dsmil.json"
NEAR = {"rel": 1e-5, "abs": 1e-6}
CASES = [
    "D512_C1_nonlinear_identity",
    "D512_C2_nonlinear_identity",
    "D512_C2_linear_identity",
    "D512_C2_nonlinear_valuenet",
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("p", [0, 1])
def test_values_of_the_original(case, p):
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN.name}: golden values of the specifications are not here")
    stored = json.loads(GOLDEN.read_text())["cases"][case]
    given, expected = stored["constructor"], stored["expected"][f"x_{p}"]
    classes = given["output_class"]
    module = nn.Module()
    module.model = model = build_model(
        "dsmil", 512, outputs=classes, nonlinear=given["nonlinear"], value=given["passing_v"]
    )
    module.linear = nn.Linear(model.out_dim, classes)
    module.double().eval()
    names = {"b_classifier.fcc": "linear", "i_classifier.fc.0": "model.classify"}
    if given["nonlinear"]:
        names |= {"b_classifier.q.0": "model.query.0", "b_classifier.q.2": "model.query.2"}
    else:
        names |= {"b_classifier.q": "model.query.0"}
    if given["passing_v"]:
        names |= {"b_classifier.v.1": "model.value.1"}
    golden_fill(module, names)  # [C, C D] has the numbers of the original's [C, C, D]

    bag = Bag.single(torch.from_numpy(golden_input(p, 512)))
    embedding = model(bag)
    logits = module.linear(embedding.vector)
    critical = embedding.auxiliary.logits
    assert logits[0].tolist() == pytest.approx(expected["bag_logits"], **NEAR)
    assert critical[0].tolist() == pytest.approx(expected["max_instance_logits"], **NEAR)
    z = embedding.vector.reshape(classes, 512)
    for c in range(classes):
        found = embedding.instance_logits[:, c]
        assert found.argmax().item() == expected["critical_instance"][c]
        key = f"class_{c}"
        assert found[:5].tolist() == pytest.approx(expected["instance_logits_first5"][key], **NEAR)
        attention, raw = expected["attention"][key], embedding.class_scores[:, c]
        weights = segment_softmax(raw, bag.offsets)
        assert raw[:5].tolist() == pytest.approx(attention["raw_first5"], **NEAR)
        assert weights[:5].tolist() == pytest.approx(attention["normalised_first5"], **NEAR)
        assert weights.argmax().item() == attention["argmax"]
        assert weights.max().item() == pytest.approx(attention["normalised_max"], **NEAR)
        assert z[c, :5].tolist() == pytest.approx(expected["bag_embedding_first5"][key], **NEAR)

    for key, told in expected.items():
        if not key.startswith("loss_"):
            continue
        target = torch.zeros_like(logits)
        if key != "loss_negative":
            target[0] = float(key[-1]) if classes == 1 else torch.eye(2)[int(key[-1])]
        of_bag = binary_cross_entropy_with_logits(logits, target)
        of_critical = binary_cross_entropy_with_logits(critical, target)
        total = model.bag_weight * of_bag + embedding.auxiliary.weight * of_critical
        assert of_bag.item() == pytest.approx(told["bag"], **NEAR)
        assert of_critical.item() == pytest.approx(told["max"], **NEAR)
        assert total.item() == pytest.approx(told["total"], **NEAR)
        if key == "loss_label1":
            total.backward(retain_graph=True)
            found = dict(module.named_parameters())
            for original, norm in expected["grad_norms_total_label1"].items():
                layer, part = original.rsplit(".", 1)
                grad = found[f"{names[layer]}.{part}"].grad
                assert grad.norm().item() == pytest.approx(norm, **NEAR), original


def test_critical_instances_are_those_of_their_own_bag():
    """Another bag with higher logits, packed before, must not become anybody's guide."""
    model = build_model("dsmil", 24, outputs=2).eval()
    quiet, loud = example_bag(16, seed=1), example_bag(16, seed=2)
    loud.features.mul_(100)
    together = model(pack([loud, quiet]))
    alone = model(quiet)
    torch.testing.assert_close(together.vector[1:], alone.vector)
    torch.testing.assert_close(together.auxiliary.logits[1:], alone.auxiliary.logits)


def test_attention_learns_through_the_features_of_the_critical_instance():
    model = build_model("dsmil", 24).double().eval()
    x = torch.randn(9, 24, dtype=torch.float64, requires_grad=True)
    embedding = model(Bag.single(x))
    critical = embedding.instance_logits[:, 0].argmax()
    (grad,) = torch.autograd.grad(embedding.scores[0 if critical else 1], x)
    assert (grad.abs().sum(1) > 0).nonzero()[:, 0].tolist() == sorted(
        {int(critical), 0 if critical else 1}
    )


def test_weights_start_orthogonal():
    model = build_model("dsmil", 24, outputs=2, query=16)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            rows = layer.weight @ layer.weight.T
            torch.testing.assert_close(rows, torch.eye(len(rows)), rtol=0, atol=1e-5)
            assert not layer.bias.any()
