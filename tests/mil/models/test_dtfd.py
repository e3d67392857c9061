"""DTFD-MIL against the values of the original modules, and what is its own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import example_bag, golden_fill, golden_input
from torch import nn
from torch.nn.functional import cross_entropy

from mil.bags import Bag, pack
from mil.models import build_model
from mil.nn.segments import bag_softmax

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/dtfd.json"
NEAR = {"rel": 1e-5, "abs": 1e-6}
FORMS = {
    "AFS": {"distil": "afs"},
    "MaxS": {"distil": "maxs"},
    "MaxS_r2": {"distil": "maxs", "instances": 2},
    "MaxMinS": {"distil": "maxmins"},
    "MaxMinS_r2": {"distil": "maxmins", "instances": 2},
    "MAS": {"distil": "mas"},
}


def build(given, **options):
    module = nn.Module()
    module.model = build_model(
        "dtfd", 1024, outputs=given["num_cls"], residual=given["numLayer_Res"], **options
    )
    module.linear = nn.Linear(512, given["num_cls"])
    module.double().eval()
    names = {"dim_reduction.fc1": "model.reduce.0"}
    for tier, ours in (("attention", "first"), ("att_classifier.attention", "second")):
        names |= {
            f"{tier}.attention_V.0": f"model.{ours}.direction.0",
            f"{tier}.attention_U.0": f"model.{ours}.gate.0",
            f"{tier}.attention_weights": f"model.{ours}.score",
        }
    names |= {"classifier.fc": "model.classify", "att_classifier.classifier.fc": "linear"}
    for k in range(given["numLayer_Res"]):
        for i in (0, 2):
            names[f"dim_reduction.resBlocks.{k}.block.{i}.weight"] = f"model.blocks.{k}.{i}.weight"
    names["dim_reduction.fc1.weight"] = "model.reduce.0.weight"
    del names["dim_reduction.fc1"]
    return module, names


@pytest.mark.parametrize("case", ["res0_C2", "res1_C2", "res0_C3"])
@pytest.mark.parametrize("p", [0, 1])
def test_values_of_the_original(case, p, monkeypatch):
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN.name}: golden values of the specifications are not here")
    golden = json.loads(GOLDEN.read_text())
    stored = golden["cases"][case]
    given, expected = stored["constructor"], stored["expected"][f"x_{p}"]
    dealt = [torch.tensor(golden[f"perm_{j}"]) for j in (0, 1)]
    bag = Bag.single(torch.from_numpy(golden_input(p)))
    checked = 0
    for form, told in expected["modes"].items():
        module, names = build(given, **FORMS[form])
        golden_fill(module, names)
        model = module.model
        monkeypatch.setattr(model, "_dealt", lambda bag, draw: dealt[draw])
        embedding = model(bag)
        logits = module.linear(embedding.vector)
        assert logits[0].tolist() == pytest.approx(told["tier2_logits"], **NEAR)
        if form == "AFS":
            _compare_first_tier(model, embedding, expected, dealt[0], bag)
        tier1 = embedding.auxiliary.logits
        if "tier1_logits_per_group" in told:
            for found, group in zip(tier1, told["tier1_logits_per_group"], strict=True):
                assert found.tolist() == pytest.approx(group, **NEAR)
        for y in (0, 1):
            if f"loss_label{y}" not in told:
                continue
            loss1 = cross_entropy(tier1, torch.full((4,), y))
            loss2 = cross_entropy(logits, torch.tensor([y]))
            assert loss1.item() == pytest.approx(told[f"loss_label{y}"]["tier1"], **NEAR)
            assert loss2.item() == pytest.approx(told[f"loss_label{y}"]["tier2"], **NEAR)
        if "grad_norms_label1" in told:
            (embedding.auxiliary.weight * loss1 + model.bag_weight * loss2).backward()
            found = dict(module.named_parameters())
            for original, norm in told["grad_norms_label1"].items():
                layer, part = original.rsplit(".", 1)
                ours = names[original] if original in names else f"{names[layer]}.{part}"
                assert found[ours].grad.norm().item() == pytest.approx(norm, **NEAR), original
                checked += 1
        if "test_probabilities_J2" in told:
            model.groupings = 2
            _compare_groupings(module, bag, told)
    assert checked or case != "res0_C2"


def _compare_first_tier(model, embedding, expected, order, bag):
    group = expected["group0"]
    mine = order[:16]
    activation = embedding.instance_logits[mine]
    for row, cam in zip(activation, group["cam_logits_first5"], strict=False):
        assert row.tolist() == pytest.approx(cam, **NEAR)
    p_last = activation.softmax(1)[:, -1]
    assert p_last[:5].tolist() == pytest.approx(group["p_last_class_first5"], **NEAR)
    assert embedding.pooled[0, :5].tolist() == pytest.approx(
        expected["reduced_row0_first5"], **NEAR
    )
    runs = order.reshape(4, 16)
    p = embedding.instance_logits.softmax(1)[:, -1]
    for key, best in (("max", p[runs].argmax(1)), ("min", p[runs].argmin(1))):
        found = [run[i].item() for run, i in zip(runs, best, strict=True)]
        assert found == expected[f"{key}_p_index_per_group"]
    weights = bag_softmax(embedding.scores, bag.offsets)
    torch.testing.assert_close((weights @ embedding.pooled)[None], embedding.vector)
    heavy = weights[runs].argmax(1)
    found = [run[i].item() for run, i in zip(runs, heavy, strict=True)]
    assert found == expected["max_s_index_per_group"]
    within = weights[mine] / weights[mine].sum()
    told, h = group["attention"], embedding.pooled[mine]
    assert within[:5].tolist() == pytest.approx(told["normalised_first5"], **NEAR)
    assert (within.argmax().item(), within.max().item()) == pytest.approx(
        (told["argmax"], told["normalised_max"]), **NEAR
    )
    assert model.first.raw(h)[:5].tolist() == pytest.approx(told["raw_first5"], **NEAR)
    assert (within @ h)[:5].tolist() == pytest.approx(group["embedding_first5"], **NEAR)


def _compare_groupings(module, bag, told):
    """Two groupings: probabilities of each, from the weights of instances, are averaged."""
    embedding = module.model(bag)
    each = module.linear(embedding.samples.T @ embedding.pooled).softmax(1)  # [J, C]
    assert each[0].tolist() == pytest.approx(told["test_probabilities_J1"], **NEAR)
    assert each.mean(0).tolist() == pytest.approx(told["test_probabilities_J2"], **NEAR)
    mean = embedding.samples.T @ embedding.pooled
    torch.testing.assert_close(mean.mean(0, keepdim=True), embedding.vector)


@pytest.mark.parametrize(("p", "expected"), [(0, -0.873326), (1, -0.735815)])
def test_layers_of_torchmil(p, expected):
    """Measured on torchmil 1.0.2, which passes every instance on: here, as many as there are."""
    module = nn.Module()
    module.model = build_model("dtfd", 64, preset="torchmil", distil="maxs", instances=64)
    module.linear = nn.Linear(64, 1)
    names = {"classifier.module": "model.classify", "u_classifier.module": "linear"}
    for theirs, ours in (("attention_pool", "first"), ("u_attention_pool", "second")):
        names[f"{theirs}.fc1.module"] = f"model.{ours}.direction.0"
        names[f"{theirs}.fc2.weight"] = f"model.{ours}.score.weight"
        getattr(module.model, ours).score.register_parameter("bias", None)  # torchmil has none
    module.double().eval()
    golden_fill(module, names)
    bag = Bag.single(torch.from_numpy(golden_input(p, 64)))
    embedding = module.model(bag)
    assert module.linear(embedding.vector).item() == pytest.approx(expected, abs=2e-6)
    few = build_model("dtfd", 64, preset="torchmil").double().eval()(bag)
    heard = bag_softmax(few.scores, bag.offsets)
    assert (heard > 1e-12).sum() == 2 * 8  # mended: the highest and the lowest of 8 groups


@pytest.mark.parametrize("distil", ["afs", "maxs", "maxmins", "mas"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_packed_bags_of_any_size_are_those_of_a_loop(distil, outputs):
    torch.manual_seed(0)
    model = build_model(
        "dtfd", 24, outputs=outputs, hidden=8, attention=4, groups=3, distil=distil, instances=2
    ).eval()
    bag = pack([example_bag(n, seed=n, name=str(n)) for n in (1, 2, 5, 11)])
    with torch.no_grad():
        embedding = model(bag)
        order = model._dealt(bag, 0)
        h = model.reduce(bag.features)
        told = []
        for b, (start, end) in enumerate(zip(bag.offsets[:-1], bag.offsets[1:], strict=True)):
            mine = order[start:end]
            assert sorted(mine.tolist()) == list(range(start, end))
            passed = []
            for run in np.array_split(mine.numpy(), min(3, len(mine))):
                run = torch.from_numpy(run)
                s = model.first.raw(h[run]).softmax(0)
                e = s[:, None] * h[run]
                told.append((model.classify(e.sum(0)), b))
                cam = e @ model.classify.weight.T
                p = cam[:, 0] if outputs == 1 else cam.softmax(1)[:, -1]
                r = min(2, len(run))
                top, low = p.topk(r).indices, (-p).topk(r).indices
                passed += {
                    "afs": [e.sum(0)],
                    "maxs": list(h[run][top]),
                    "maxmins": [*h[run][top], *h[run][low]],
                    "mas": [h[run][s.argmax()]],
                }[distil]
            passed = torch.stack(passed)
            weights = model.second.raw(passed).softmax(0)
            torch.testing.assert_close(embedding.vector[b], weights @ passed)
    logits = torch.stack([logits for logits, _ in told])
    torch.testing.assert_close(embedding.auxiliary.logits, logits)
    assert embedding.auxiliary.bag.tolist() == [b for _, b in told]
    of_scores = bag_softmax(embedding.scores, bag.offsets)[:, None] * embedding.pooled
    for b, part in enumerate(of_scores.split(bag.sizes)):
        torch.testing.assert_close(part.sum(0), embedding.vector[b])


def test_the_second_tier_teaches_the_first_only_if_joint():
    for joint in (False, True):
        model = build_model("dtfd", 24, joint=joint)
        model(example_bag()).vector.square().sum().backward()
        reached = {n for n, p in model.named_parameters() if p.grad is not None}
        assert ("reduce.0.weight" in reached) == joint
        assert {n for n in reached if not n.startswith("second.")} == (
            {"reduce.0.weight", *(f"first.{n}" for n, _ in model.first.named_parameters())}
            if joint
            else set()
        )


def test_groupings_follow_from_the_name_in_evaluation_and_from_chance_in_training():
    model = build_model("dtfd", 24).eval()
    a, b = example_bag(name="A"), example_bag(name="B")
    assert torch.equal(model._dealt(a, 0), model._dealt(a, 0))
    assert not torch.equal(model._dealt(a, 0), model._dealt(b, 0))
    assert not torch.equal(model._dealt(a, 0), model._dealt(a, 1))
    assert not torch.equal(model._dealt(a, 0), build_model("dtfd", 24, seed=1).eval()._dealt(a, 0))
    model.train()
    torch.manual_seed(5)
    first, second = model._dealt(a, 0), model._dealt(b, 0)
    assert not torch.equal(first, second)
    torch.manual_seed(5)  # packing changes nobody's grouping
    assert torch.equal(model._dealt(pack([a, b]), 0), torch.cat([first, 64 + second]))
