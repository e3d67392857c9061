"""TransformerABMIL against the values of torchmil, and what its instances hear."""

import json
from pathlib import Path

import pytest
import torch
from examples import example_bag, golden_fill, golden_input
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mil.bags import Bag, pack
from mil.models import build_model
from mil.nn.segments import bag_softmax

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/sm_family.json"
LAYER = {
    "att_module.qkv_nn.weight": "attention.qkv.weight",
    "att_proj": "enter",
    "out_proj": "leave",
    "norm1": "norm",
    "norm2": "mlp.0",
    "mlp_module.0": "mlp.1",
    "mlp_module.3": "mlp.4",
}
OTHERS = {
    "last_layer": "head",
    "pool.fc1.module": "model.pool.direction.0",
    "pool.fc2.weight": "model.pool.score.weight",
    "transformer_encoder.norm": "model.encoder.norm",
}


def golden_names(parameters):
    """Map the names of torchmil's layers to ours."""
    names = dict(OTHERS)
    for parameter in parameters:
        if parameter.startswith("transformer_encoder.layers."):
            _, _, number, rest = parameter.split(".", 3)
            layer = rest if rest in LAYER else rest.rsplit(".", 1)[0]
            ours = f"model.encoder.layers.{number}.{LAYER[layer]}"
            names[f"transformer_encoder.layers.{number}.{layer}"] = ours
    return names


@pytest.mark.parametrize("case", ["widths differ, 1 layer", "equal widths, 2 layers"])
@pytest.mark.parametrize("p", [0, 1])
def test_values_of_torchmil(case, p):
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN.name}: golden values of the specifications are not here")
    cases = {case["case"]: case for case in json.loads(GOLDEN.read_text())["cases"]}
    golden = cases[f"TransformerABMIL {case}"]
    made = golden["constructor"]
    module = nn.Module()
    module.model = build_model(
        "transformer_abmil",
        64,
        preset="torchmil",
        hidden=made["transf_att_dim"],
        heads=made["transf_n_heads"],
        layers=made["transf_n_layers"],
    )
    module.head = nn.Linear(64, 1)
    module.model.pool.score.register_parameter("bias", None)  # torchmil's has none
    module.double().eval()
    mapped = golden_names(golden["parameters"])
    golden_fill(module, mapped, golden["norm_weights"])

    expected = golden["expected"][f"x_{p}"]
    x = torch.from_numpy(golden_input(p, 64)).requires_grad_()
    embedding = module.model(Bag.single(x))
    logit = module.head(embedding.vector)[0, 0]
    near = {"abs": 2e-6}
    assert logit.item() == pytest.approx(expected["logit"], **near)
    raw = embedding.scores[:5].tolist()
    assert raw == pytest.approx(expected["attention_raw_first5"], **near)
    weights = bag_softmax(embedding.scores, torch.tensor([0, 64]))[:5].tolist()
    assert weights == pytest.approx(expected["attention_softmax_first5"], **near)
    other = binary_cross_entropy_with_logits(logit, torch.zeros_like(logit))
    assert other.item() == pytest.approx(expected["loss_label0"], **near)
    loss = binary_cross_entropy_with_logits(logit, torch.ones_like(logit))
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss_label1"], **near)
    found = {name: p.grad for name, p in module.named_parameters()}
    for name, norm in expected["grad_norms_label1"].items():
        layer, _, kind = name.rpartition(".")
        ours = mapped[name] if name in mapped else f"{mapped.get(layer)}.{kind}"
        grad = x.grad if name == "input" else found[ours]
        assert grad.norm().item() == pytest.approx(norm, rel=1e-6, **near), name


def test_instances_hear_of_all_of_their_own_bag_only():
    torch.manual_seed(0)
    model = build_model("transformer_abmil", 24, hidden=16).eval()
    bags = [example_bag(16, seed=0), example_bag(48, seed=1)]
    before = model(pack(bags))
    bags[0].features[3] *= -9
    after = model(pack(bags))
    moved = (after.scores - before.scores).abs()
    assert moved[:16].min() > 0
    assert moved[16:].max() == 0


def test_pooled_averages_to_the_vector():
    model = build_model("transformer_abmil", 24, hidden=16).eval()
    bag = pack([example_bag(16, seed=0), example_bag(5, seed=1)])
    embedding = model(bag)
    weights = bag_softmax(embedding.scores, bag.offsets).unsqueeze(1)
    parts = (weights * embedding.pooled).split([16, 5])
    torch.testing.assert_close(embedding.vector, torch.stack([part.sum(0) for part in parts]))
