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
from mil.nn.attention import AttentionPool

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
def test_values_of_the_original_attention_pooling(gated):
    path = GOLDEN / ("abmil_gated.json" if gated else "abmil.json")
    if not path.exists():
        pytest.skip(f"{path.name}: golden values of the specifications are not here")
    case = json.loads(path.read_text())["case_features"]
    module = nn.Module()
    module.embed = nn.Linear(800, 500)
    module.pool = AttentionPool(500, 128, gated)
    module.out = nn.Linear(500, 1)
    names = {"classifier.0": "out", "feature_extractor_part2.0": "embed"} | (
        {
            "attention_V.0": "pool.direction.0",
            "attention_U.0": "pool.gate.0",
            "attention_w": "pool.score",
        }
        if gated
        else {"attention.0": "pool.direction.0", "attention.2": "pool.score"}
    )
    module.double()
    golden_fill(module, names)
    for p in (0, 1):
        expected = case["expected"][f"x_{p}"]
        h = module.embed(torch.from_numpy(golden_input(p, 800))).relu()
        offsets = torch.tensor([0, 64])
        z, scores = module.pool(h, offsets)
        logit = module.out(z).item()
        near = {"rel": 1e-5, "abs": 1e-6}
        assert logit == pytest.approx(expected["logit"], **near)
        z, scores = z.detach().numpy()[0], scores.detach().numpy()
        weights = np.exp(scores) / np.exp(scores).sum()
        attention = expected["attention"]
        assert scores[:5] == pytest.approx(attention["raw_first5"], **near)
        assert weights[:5] == pytest.approx(attention["normalised_first5"], **near)
        assert weights.argmax() == attention["argmax"]
        assert z[:5] == pytest.approx(expected["bag_embedding_first5"], **near)
        module.zero_grad()
        bce = nn.functional.softplus(-module.out(module.pool(h, offsets)[0])).sum()
        bce.backward()
        for original, norm in expected["grad_norms_bce_label1"].items():
            layer, kind = original.rsplit(".", 1)
            found = dict(module.named_parameters())[f"{names[layer]}.{kind}"].grad.norm().item()
            assert found == pytest.approx(norm, rel=1e-5, abs=1e-6)


def test_attention_dropout_is_off_without_dropout():
    model = build_model("abmil", 8, dropout=0.0).train()
    bag = Bag.single(torch.randn(16, 8))
    torch.testing.assert_close(model(bag).vector, model(bag).vector, rtol=0, atol=0)
