"""ESAT against the values of the original modules, and what its regions see of each other."""

import pytest
import torch
from examples import example_bag, golden_fill, golden_input, reordered
from torch.nn.functional import layer_norm

from mil.bags import REGION, Bag, BagError, pack
from mil.heads import build_head
from mil.models import build_model
from mil.network import Network
from mil.problems import InputError

ENCODER = "backbone.patch_encoder_layer.layers.0."
NAMES = {
    "MLPs.0.0": "head.layers.0",
    "MLPs.1.0": "head.layers.1",
    "backbone.patch_embedding_layer.conv": "model.embed.0",
    "backbone.patch_embedding_layer.norm": "model.embed.1",
    f"{ENCODER}self_attn.in_proj_weight": "model.encoder.attention.project.weight",
    f"{ENCODER}self_attn.in_proj_bias": "model.encoder.attention.project.bias",
    f"{ENCODER}self_attn.out_proj": "model.encoder.attention.out",
    f"{ENCODER}linear1": "model.encoder.mlp.0",
    f"{ENCODER}linear2": "model.encoder.mlp.2",
    f"{ENCODER}norm1": "model.encoder.norms.0",
    f"{ENCODER}norm2": "model.encoder.norms.1",
    "backbone.pool.fc1.0": "model.pool.direction.0",
    "backbone.pool.score.0": "model.pool.gate.0",
    "backbone.pool.fc2": "model.pool.score",
}
NORMS = {
    "backbone.patch_embedding_layer.norm.weight",
    f"{ENCODER}norm1.weight",
    f"{ENCODER}norm2.weight",
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_model("esat", 24, hidden=32).eval()


@pytest.mark.parametrize(
    ("noise", "parameters", "values"),
    [
        ("0-1", 1_653_314, (-0.116547, -0.071947)),
        ("1-1", 1_727_042, (-0.742092, -0.755168)),
        ("1-0", 1_726_850, (-1.044808, -1.063300)),
    ],
)
def test_values_of_the_original_generator(noise, parameters, values):
    model = build_model("esat", 1024)
    head = build_head("adversarial", model.out_dim, {"t_ref": 1.0}, noise=noise)
    network = Network(model, head, None).eval()
    assert sum(p.numel() for p in network.parameters()) == parameters
    golden_fill(network, NAMES, norm_weights=NORMS)
    zeros = torch.zeros(1, 1, sum(network.head.noise_widths))
    for p, expected in enumerate(values):
        bag = Bag.single(torch.from_numpy(golden_input(p)).float())
        for gradients in (False, True):
            with torch.set_grad_enabled(gradients):
                logit = network.head.logits(network.model(bag).vector, zeros)
            assert logit.item() == pytest.approx(expected, abs=2e-5)


def test_the_transformer_is_that_of_the_formula(model):
    """Written out with matrices, in double precision."""
    model.double()
    bag = example_bag(80)
    bag = Bag.single(bag.features.double())
    e = model.embed(bag.features)  # [5, 32]
    mlp, attention = model.encoder.mlp, model.encoder.attention
    q, k, v = (
        (e @ w.T + b).view(5, 8, 4).transpose(0, 1)  # [heads, M, H / heads]
        for w, b in zip(
            attention.project.weight.chunk(3), attention.project.bias.chunk(3), strict=True
        )
    )
    mixed = ((q @ k.transpose(1, 2) / 4**0.5).softmax(-1) @ v).transpose(0, 1).reshape(5, 32)
    s = layer_norm(e + attention.out(mixed), (32,))
    r = layer_norm(s + mlp[2](mlp[0](s).relu()), (32,))
    z, scores = model.pool(r, torch.tensor([0, 5]))
    embedding = model(bag)
    torch.testing.assert_close(embedding.vector, z)
    torch.testing.assert_close(embedding.scores, scores.repeat_interleave(REGION))


def test_membership_in_a_region_matters(model):
    bag = example_bag(64)
    order = torch.arange(64)
    order[[0, 40]] = torch.tensor([40, 0])
    assert (model(reordered(bag, order)).vector - model(bag).vector).abs().max() > 1e-4


def test_regions_see_those_of_their_own_patient_only(model):
    a, b = example_bag(32, seed=0), example_bag(48, seed=1)
    vectors = []
    for other in (b, Bag.single(b.features + 1)):
        bag = pack([Bag.single(a.features), Bag.single(other.features)])
        vectors.append(model(bag).vector)
    torch.testing.assert_close(vectors[0][0], vectors[1][0], rtol=0, atol=0)
    assert not torch.equal(vectors[0][1], vectors[1][1])

    changed = a.features.clone()
    changed[:REGION] += 1  # the first region moves the score of the second
    before, after = model(a).scores, model(Bag.single(changed)).scores
    assert (after[REGION:] - before[REGION:]).abs().min() > 1e-6


def test_start_is_that_of_the_original():
    """Xavier on every layer of transformer and pooling; PyTorch's own start on the embedding."""
    torch.manual_seed(0)
    model = build_model("esat", 1024)
    for name, p in model.named_parameters():
        if "norm" in name or name.startswith("embed.1"):
            assert (p == (1 if name.endswith("weight") else 0)).all()
        elif name == "embed.0.bias" or p.ndim == 2:
            fan_in, fan_out = (1024, 0) if name.startswith("embed") else (p.shape[1], p.shape[0])
            bound = fan_in**-0.5 if name.startswith("embed") else (6 / (fan_in + fan_out)) ** 0.5
            assert p.abs().max().item() == pytest.approx(bound, rel=0.05)
            assert p.abs().max() <= bound * (1 + 1e-6)
        else:
            assert (p == 0).all(), name


def test_without_dropout_training_is_evaluation():
    model = build_model("esat", 8, hidden=16, dropout=0.0)
    bag = example_bag(48, 8)
    torch.testing.assert_close(model.train()(bag).vector, model.eval()(bag).vector)


def test_rows_that_are_no_regions_are_refused(model):
    with pytest.raises(BagError, match="bag B: 40 instances are no multiple of 16"):
        model(pack([example_bag(32, name="A"), example_bag(40, name="B")]))


def test_a_width_that_cannot_be_divided_is_a_sentence():
    with pytest.raises(InputError, match=r"hidden is 20; it must be a multiple of heads, 8"):
        build_model("esat", 8, hidden=20)
