"""CLAM against the values of the original modules, and its clustering against the formulas."""

import json
from pathlib import Path

import pytest
import torch
from examples import example_bag, golden_fill, golden_input
from torch import nn
from torch.nn.functional import cross_entropy

from mil.bags import Bag, pack
from mil.losses.smooth_svm import smooth_svm_loss
from mil.models import build_model
from mil.nn.segments import bag_softmax, segment_rank
from mil.registry import UnknownNameError

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden"
NEAR = {"rel": 1e-5, "abs": 1e-6}
WIDTHS = {"small": 256, "big": 384}
CASES = ["C2_small", "C3_small", "C2_big", "C2_small_ungated"]


def golden_case(form, case):
    path = GOLDEN / f"{form}.json"
    if not path.exists():
        pytest.skip(f"{path.name}: golden values of the specifications are not here")
    return json.loads(path.read_text())["cases"][case]


def build(form, given, **options):
    """The model with the head of the original: one linear layer, or none of its own."""
    module = nn.Module()
    module.model = build_model(
        form,
        1024,
        outputs=given["n_classes"],
        attention=WIDTHS[given["size_arg"]],
        gated=given["gate"],
        **options,
    )
    single = form == "clam_sb"
    module.linear = nn.Linear(512, given["n_classes"]) if single else nn.Identity()
    module.double().eval()
    names = {"attention_net.0": "model.embed.0"}
    if given["gate"]:
        names |= {
            "attention_net.3.attention_a.0": "model.pool.direction.0",
            "attention_net.3.attention_b.0": "model.pool.gate.0",
            "attention_net.3.attention_c": "model.pool.score",
        }
    else:
        names |= {
            "attention_net.3.module.0": "model.pool.direction.0",
            "attention_net.3.module.3": "model.pool.score",
        }
    for c in range(given["n_classes"]):
        names[f"instance_classifiers.{c}"] = f"model.instance_heads.{c}"
        if not single:
            names[f"classifiers.{c}"] = f"model.classifiers.{c}"
    if single:
        names["classifiers"] = "linear"
    return module, names


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", ["clam_sb", "clam_mb"])
def test_values_of_the_original(form, case):
    stored = golden_case(form, case)
    given = stored["constructor"]
    for p in (0, 1):
        expected = stored["expected"][f"x_{p}"]
        bag = Bag.single(torch.from_numpy(golden_input(p)))
        for kind in ("ce", "svm") if "loss" in expected else ("ce",):
            for subtyping in (False, True) if "loss" in expected else (False,):
                module, names = build(form, given, clustering_loss=kind, subtyping=subtyping)
                golden_fill(module, names)
                _compare(module, names, bag, expected, kind, subtyping)


def _compare(module, names, bag, expected, kind, subtyping):
    model = module.model
    embedding = model(bag)
    logits = module.linear(embedding.vector)
    assert logits[0].tolist() == pytest.approx(expected["logits"], **NEAR)
    assert logits.softmax(1)[0].tolist() == pytest.approx(expected["probabilities"], **NEAR)
    raw = embedding.scores if embedding.class_scores is None else embedding.class_scores
    raw = raw.reshape(64, -1)
    for branch in range(raw.shape[1]):
        attention = expected["attention"][f"branch_{branch}"]
        weights = bag_softmax(raw[:, branch], bag.offsets)
        assert raw[:5, branch].tolist() == pytest.approx(attention["raw_first5"], **NEAR)
        assert weights[:5].tolist() == pytest.approx(attention["normalised_first5"], **NEAR)
        assert weights.argmax().item() == attention["argmax"]
        assert weights.max().item() == pytest.approx(attention["normalised_max"], **NEAR)
        assert weights.sum().item() == pytest.approx(1)

    rank = segment_rank(raw, bag.offsets)
    for branch, (top, low) in enumerate(
        zip(expected["top8_indices"], expected["bottom8_indices"], strict=True)
    ):
        assert torch.nonzero(rank[:, branch] < 8)[:, 0].tolist() == top
        assert torch.nonzero(rank[:, branch] >= 64 - 8)[:, 0].tolist() == low

    name = f"inst_{kind}_{'subtyping' if subtyping else 'plain'}"
    for y in range(logits.shape[1] if "loss" in expected else 0):
        label = torch.tensor([y])
        told = expected["loss"][f"label{y}"]
        bag_loss = cross_entropy(logits, label)
        assert bag_loss.item() == pytest.approx(told["bag_ce"], **NEAR)
        svm = smooth_svm_loss(logits, label)
        assert svm.item() == pytest.approx(told["bag_svm"], **NEAR)
        clustering = model.instance_loss(embedding, bag, label)
        assert clustering.shape == (1,)
        assert clustering.item() / 0.3 == pytest.approx(told[name], **NEAR)
        total = model.bag_weight * bag_loss + clustering.sum()
        assert total.item() == pytest.approx(told[f"total_{name}"], **NEAR)
        norms = expected.get(f"grad_norms_total_{name}_label{y}")
        if norms is not None:
            module.zero_grad()
            total.backward(retain_graph=True)
            found = dict(module.named_parameters())
            for original, norm in norms.items():
                layer, part = original.rsplit(".", 1)
                grad = found[f"{names[layer]}.{part}"].grad
                size = 0.0 if grad is None else grad.norm().item()
                assert size == pytest.approx(norm or 0.0, **NEAR), original


def literal(model, embedding, bag, classes):
    """The clustering loss bag by bag, with top-k and both logits of every head."""
    h = model.embed(bag.features)
    losses = []
    for b, (start, end) in enumerate(zip(bag.offsets[:-1], bag.offsets[1:], strict=True)):
        y, k = int(classes[b]), min(model.k, int(end - start) // 2)
        if y < 0 or k == 0:
            losses.append(torch.zeros(()))
            continue
        total = 0.0
        for c, head in enumerate(model.instance_heads):
            scores = embedding.class_scores
            branch = embedding.scores if scores is None else scores[:, min(c, scores.shape[1] - 1)]
            top = branch[start:end].topk(k).indices + start
            low = (-branch[start:end]).topk(k).indices + start
            if c == y:
                logits = head(h[torch.cat([top, low])])
                target = torch.cat([torch.ones(k), torch.zeros(k)]).long()
            elif model.subtyping:
                logits, target = head(h[top]), torch.zeros(k).long()
            else:
                continue
            loss = smooth_svm_loss if model.margin else cross_entropy
            total += loss(logits, target).mean()
        losses.append(0.3 * total / (len(model.instance_heads) if model.subtyping else 1))
    return torch.stack(losses)


@pytest.mark.parametrize("form", ["clam_sb", "clam_mb"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("kind", ["ce", "svm"])
@pytest.mark.parametrize("subtyping", [False, True])
def test_clustering_of_packed_bags_is_that_of_the_formula(form, outputs, kind, subtyping):
    """Bags of 1, 3, 6 and 40 instances: k' = min(k, n // 2), so nobody is asked for both."""
    torch.manual_seed(0)
    model = build_model(
        form, 24, outputs=outputs, hidden=8, attention=4, clustering_loss=kind, subtyping=subtyping
    ).eval()
    bag = pack([example_bag(n, seed=n) for n in (1, 3, 6, 40, 9)])
    classes = torch.tensor([0, 1, min(outputs, 2), 0, -1])
    embedding = model(bag)
    found = model.instance_loss(embedding, bag, classes)
    torch.testing.assert_close(found, literal(model, embedding, bag, classes), rtol=1e-5, atol=1e-6)
    assert found[0] == 0
    assert found[4] == 0
    assert (found[1:4] > 0).all()


def test_the_choice_of_instances_carries_no_gradient():
    model = build_model("clam_mb", 24, outputs=2)
    bag = example_bag()
    model.instance_loss(model(bag), bag, torch.tensor([1])).sum().backward()
    assert model.embed[0].weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.pool.parameters())


@pytest.mark.parametrize("form", ["clam_sb", "clam_mb"])
@pytest.mark.parametrize("gated", [False, True])
def test_dropout_in_the_attention_is_a_quarter_or_none(form, gated):
    """Whatever that of the instances is, as published; one mask does for both of the factors."""
    for dropout, kept in ((0.1, 0.75), (0.6, 0.75), (0.0, 1.0)):
        pool = build_model(form, 24, gated=gated, dropout=dropout).pool
        shares = [layer.p for layer in pool.modules() if isinstance(layer, nn.Dropout)]
        assert shares == pytest.approx([1 - kept ** (2 if gated else 1)])


def test_misspelt_loss_is_a_sentence():
    with pytest.raises(UnknownNameError, match=r"clustering_loss is 'svn'; did you mean svm\?"):
        build_model("clam_sb", 24, clustering_loss="svn")
