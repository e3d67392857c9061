"""DSMIL against the values of the original modules, and what is its own."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import example_bag, golden_fill, golden_input
from synthetic_cohort import run, write_cohort
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mil.annealing import annealings
from mil.bags import Bag, pack
from mil.contributions import contributions
from mil.heads import HEADS
from mil.heads.base import Labels
from mil.models import build_model
from mil.network import build_network
from mil.nn.segments import bag_softmax
from mil.training.step import Stepper
from wsi.storage import load_npz

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
        weights = bag_softmax(raw, bag.offsets)
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


@pytest.mark.parametrize("outputs", [1, 3])
def test_linear_queries_are_made_of_the_critical_instances_alone(outputs):
    """(exact): scores and all gradients are those of the queries of all instances."""
    torch.manual_seed(0)
    model = build_model("dsmil", 24, outputs=outputs, nonlinear=False, query=8).double()
    torch.nn.init.normal_(model.query[0].bias)  # it starts at 0
    bag = pack([example_bag(size, seed=size) for size in (16, 32, 16)])
    x = bag.features.double().requires_grad_()
    learnt = [x, *model.query.parameters()]
    sizes, slope = bag.sizes, torch.randn(len(x), outputs).double()

    q, c = model.query(x), model.classify(x)
    guides = [one.argmax(0) for one in c.split(sizes)]
    parts = zip(q.split(sizes), guides, strict=True)
    literal = torch.cat([one @ one[k].T / 8**0.5 for one, k in parts])
    embedding = model(replace(bag, features=x))
    torch.testing.assert_close(embedding.class_scores, literal)
    found = [torch.autograd.grad(y, learnt, slope) for y in (embedding.class_scores, literal)]
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_weights_start_orthogonal():
    model = build_model("dsmil", 24, outputs=2, query=16)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            rows = layer.weight @ layer.weight.T
            torch.testing.assert_close(rows, torch.eye(len(rows)), rtol=0, atol=1e-5)
            assert not layer.bias.any()


def averaging(head, fitted, average=True):
    torch.manual_seed(0)
    experiment = {"model": "dsmil", "head": head, "model_options": {"average": average}}
    return build_network(experiment, 24, fitted, standardise=False).eval()


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "c"]])
def test_the_mean_of_both_streams_probabilities_is_predicted(classes):
    """Of probabilities, not of logits; in training the vector alone meets the head's loss."""
    fitted = HEADS.find("classes").fit(np.arange(len(classes), dtype=float), classes)
    both, alone = (averaging("classes", fitted, average) for average in (True, False))
    bag = pack([example_bag(16, seed=s, name=str(s)) for s in range(2)])
    output, embedding = both(bag, None)
    assert output.shape == (2, 2, len(classes) if len(classes) > 2 else 1)
    told = [alone.head.predict(logits.detach()).probability for logits in (
        alone(bag, None)[0], alone.model(bag).auxiliary.logits
    )]  # fmt: skip
    predicted = both.head.predict(output.detach())
    np.testing.assert_allclose(predicted.probability, (told[0] + told[1]) / 2, atol=1e-7)
    np.testing.assert_allclose(predicted.spread, abs(told[0] - told[1]) / 2, atol=1e-7)
    assert both.train()(bag, None)[0].ndim == 2
    assert not contributions(both.eval(), embedding, bag.offsets, None).exact
    assert contributions(alone, alone.model(bag), bag.offsets, None).exact


def test_of_survival_the_mean_of_outputs_is_predicted():
    both, alone = (averaging("cox", {}, average) for average in (True, False))
    bag = pack([example_bag(16, seed=s, name=str(s)) for s in range(2)])
    risk, embedding = alone(bag, None)
    expected = (risk + embedding.auxiliary.logits[:, 0]) / 2
    torch.testing.assert_close(both(bag, None)[0], expected)


def test_instances_may_learn_first():
    """Two steps without the loss of the vector, then with it."""
    torch.manual_seed(0)
    network = averaging("nll", {"edges": [0, 4.0, 6.0, float("inf")]})
    wait = {"from": 0.0, "to": 1.0, "steps": 1, "warmup": 1}
    one = Stepper(
        network,
        None,
        learning_rate=1e-2,
        weight_decay=0.0,
        l1=0.0,
        noise=torch.Generator(),
        annealing=annealings({"bag": wait}, "dsmil", network.model.terms),
    )
    bag = pack([example_bag(16, seed=s, name=str(s)) for s in range(4)])
    labels = Labels.of(np.array([5.0, 9.0, 3.0, 7.0]), np.array([1, 0, 1, 0]))
    moved = []
    for _ in range(3):
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        one.step([bag], labels)
        moved.append({n for n, p in network.named_parameters() if not torch.equal(p, before[n])})
    first = {"model.classify.weight", "model.classify.bias"}
    assert moved[0] == moved[1] == first
    assert moved[2] >= first | {"model.query.0.weight", "head.layers.0.weight"}


def test_attention_that_is_the_same_everywhere_is_told(tmp_path, caplog):
    """Features near 0 leave nothing to look for."""
    write_cohort(tmp_path, patients=24, patches=16, scale=1e-3)
    keys = {"epochs": 1, "warmup": 0, "learning_rate": 1e-6}
    for model in ("dsmil", "abmil"):
        caplog.clear()
        run(tmp_path, "cox", model=model, out=model, **keys)
        told = load_npz(tmp_path / f"{model}/draws.npz")[0]["alarms"].tolist()
        sentence = "the attention is the same everywhere in 100% of the bags (entropy above 0.99"
        assert any(sentence in alarm for alarm in told) == (model == "dsmil")
        assert caplog.text.count(sentence) == (2 if model == "dsmil" else 0)  # training, prediction
    write_cohort(tmp_path / "large", patients=24, patches=16, scale=3.0)
    run(tmp_path / "large", "cox", model="dsmil", **keys)
    assert not load_npz(tmp_path / "large/out/draws.npz")[0]["alarms"].tolist()
