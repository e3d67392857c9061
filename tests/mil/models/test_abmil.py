"""ABMIL against the values of the original modules."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import golden_fill, golden_input
from torch import nn

from mil.bags import Bag
from mil.heads import build_head
from mil.models import build_model
from mil.network import Network
from mil.nn.lenet import LeNet
from mil.nn.segments import bag_softmax

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden"
NAMES = {
    "MLPs.0.0": "head.layers.0",
    "MLPs.1.0": "head.layers.1",
    "backbone.attention_net.0": "model.embed.0",
    "backbone.attention_net.3.attention_a.0": "model.pool.direction.0",
    "backbone.attention_net.3.attention_b.0": "model.pool.gate.0",
    "backbone.attention_net.3.attention_c": "model.pool.score",
    "backbone.rho.0": "model.rho.0",
}


def advmil(noise):
    model = build_model("abmil", 1024)
    head = build_head("adversarial", model.out_dim, {"t_ref": 1.0}, noise=noise)
    return Network(model, head, None).eval()


@pytest.mark.parametrize(
    ("noise", "parameters", "values"),
    [
        ("0-1", 911_810, (-0.023478, -0.036821)),
        ("1-1", 985_538, (-0.020978, -0.015684)),
        ("1-0", 985_346, (-0.024998, -0.017512)),
    ],
)
def test_values_of_the_original_generator(noise, parameters, values):
    network = advmil(noise)
    assert sum(p.numel() for p in network.parameters()) == parameters
    golden_fill(network, NAMES)
    zeros = torch.zeros(1, 1, sum(network.head.noise_widths))
    for p, expected in enumerate(values):
        bag = Bag.single(torch.from_numpy(golden_input(p)).float())
        with torch.no_grad():
            logit = network.head.logits(network.model(bag).vector, zeros)
        assert logit.item() == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("case", ["features", "images"])
@pytest.mark.parametrize("p", [0, 1])
def test_values_of_the_article(gated, case, p):
    """Preset ``paper`` on features and, behind the convolutions, on images of digits."""
    path = GOLDEN / ("abmil_gated.json" if gated else "abmil.json")
    if not path.exists():
        pytest.skip(f"{path.name}: golden values of the specifications are not here")
    expected = json.loads(path.read_text())[f"case_{case}"]["expected"][f"x_{p}"]
    module = nn.Module()
    module.model = build_model("abmil", 800, preset="paper", gated=gated)
    module.linear = nn.Linear(500, 1)
    names = {"classifier.0": "linear", "feature_extractor_part2.0": "model.embed.0"} | (
        {
            "attention_V.0": "model.pool.direction.0",
            "attention_U.0": "model.pool.gate.0",
            "attention_w": "model.pool.score",
        }
        if gated
        else {"attention.0": "model.pool.direction.0", "attention.2": "model.pool.score"}
    )
    if case == "images":
        module.lenet = LeNet()
        names |= {f"feature_extractor_part1.{i}": f"lenet.{i}" for i in (0, 3)}
        images = np.random.RandomState(7 + p).standard_normal((16, 1, 28, 28))
        given = torch.from_numpy(np.maximum(images, 0))
    else:
        given = torch.from_numpy(golden_input(p, 800))
    module.double().eval()
    golden_fill(module, names)
    bag = Bag.single(module.lenet(given) if case == "images" else given)
    assert bag.features.shape[1] == 800
    embedding = module.model(bag)
    logit = module.linear(embedding.vector)[0, 0]
    near = {"rel": 1e-5, "abs": 1e-6}
    assert logit.item() == pytest.approx(expected["logit"], **near)
    assert embedding.vector[0, :5].tolist() == pytest.approx(
        expected["bag_embedding_first5"], **near
    )
    scores = embedding.scores
    weights = bag_softmax(scores, bag.offsets)
    torch.testing.assert_close((weights @ embedding.pooled)[None], embedding.vector)
    attention = expected["attention"]
    assert scores[:5].tolist() == pytest.approx(attention["raw_first5"], **near)
    assert weights[:5].tolist() == pytest.approx(attention["normalised_first5"], **near)
    assert weights.argmax().item() == attention["argmax"]
    assert weights.max().item() == pytest.approx(attention["normalised_max"], **near)
    assert logit.sigmoid().item() == pytest.approx(expected["probability"], **near)
    for label in (0, 1):
        bce = nn.functional.softplus(-logit if label else logit)
        assert bce.item() == pytest.approx(expected[f"bce_label{label}"], **near)
    bce.backward()
    found = dict(module.named_parameters())
    for original, norm in expected["grad_norms_bce_label1"].items():
        layer, kind = original.rsplit(".", 1)
        assert found[f"{names[layer]}.{kind}"].grad.norm().item() == pytest.approx(norm, **near)


def test_torchmils_form_pools_the_features_themselves():
    model = build_model("abmil", 24, preset="torchmil").eval()
    bag = Bag.single(torch.randn(16, 24))
    embedding = model(bag)
    assert embedding.pooled is bag.features
    assert model.out_dim == 24
    assert [n for n, _ in model.named_parameters()] == [
        f"pool.{layer}.{kind}" for layer in ("direction.0", "score") for kind in ("weight", "bias")
    ]


def test_attention_dropout_is_off_without_dropout():
    model = build_model("abmil", 8, dropout=0.0).train()
    bag = Bag.single(torch.randn(16, 8))
    torch.testing.assert_close(model(bag).vector, model(bag).vector, rtol=0, atol=0)
