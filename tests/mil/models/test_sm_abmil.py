"""SmABMIL and SmTransformerABMIL against torchmil's values, and their pooling as written down."""

import math

import pytest
import torch
from examples import example_bag, golden_input
from golden import eight_neighbours, golden, golden_parameters, renamed, take_over
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mil.bags import Bag
from mil.models import build_model
from mil.nn.adjacency import bag_graph
from mil.nn.segments import bag_softmax
from mil.nn.smooth import Smooth
from mil.nn.smooth_attention import SmoothAttentionPool
from mil.problems import InputError

POOL = {
    "last_layer": "head",
    "pool.proj1.weight": "model.pool.hidden.weight",
    "pool.proj1.parametrizations.weight.original": "model.pool.hidden.weight",
    "pool.proj1.bias": "model.pool.bias",
    "pool.proj2.weight": "model.pool.score.weight",
    "pool.proj2.parametrizations.weight.original": "model.pool.score.weight",
    "pool.sm.sm.coef": "model.pool.smooth.logit",
    "transformer_encoder.norm": "model.encoder.norm",
}
LAYER = {
    "att_module.qkv_nn": "attention.qkv",
    "att_proj": "enter",
    "out_proj": "leave",
    "norm1": "norm",
    "norm2": "mlp.0",
    "mlp_module.0": "mlp.1",
    "mlp_module.3": "mlp.4",
}
for layer in range(2):
    theirs, ours = f"transformer_encoder.layers.{layer}", f"model.encoder.layers.{layer}"
    POOL |= {f"{theirs}.{name}": f"{ours}.{other}" for name, other in LAYER.items()}
    POOL[f"{theirs}.att_module.sm.sm.coef"] = f"model.smooth.{layer}.logit"


def cases(kind):
    return [
        pytest.param(name, id=name)
        for name in {
            "sm_abmil": (
                *(
                    f"SmABMIL {w} {m}"
                    for w in ("early", "mid", "late")
                    for m in ("approx", "exact")
                ),
                "SmABMIL none approx",
                "SmABMIL early approx, spectral norm at convergence",
            ),
            "sm_transformer_abmil": (
                "SmTransformerABMIL widths differ, 1 layer",
                "SmTransformerABMIL equal widths, 2 layers",
            ),
        }[kind]
    ]


def build(made):
    if "sm_where" in made:
        return build_model(
            "sm_abmil",
            64,
            preset="torchmil",
            smooth=made["sm_where"],
            mode={"approx": "approximate"}.get(made["sm_mode"], "exact"),
            spectral_norm=made["spectral_norm"],
        )
    return build_model(
        "sm_transformer_abmil",
        64,
        preset="torchmil",
        hidden=made["transf_att_dim"],
        heads=made["transf_n_heads"],
        layers=made["transf_n_layers"],
    )


@pytest.mark.parametrize("case", cases("sm_abmil") + cases("sm_transformer_abmil"))
@pytest.mark.parametrize("p", [0, 1])
def test_values_of_torchmil(case, p):
    file = golden("sm_family")
    case = next(one for one in file["cases"] if one["case"] == case)
    made, near = case["constructor"], {"abs": case.get("tolerance", 2e-6), "rel": 1e-6}
    coefficients = {n: lambda g: 1 + 0.2 * g for n in case["parameters"] if n.endswith("coef")}
    values = golden_parameters(case["parameters"], case["norm_weights"], coefficients)
    exact = made.get("sm_mode") == "exact"
    sign = 1 if exact else -1  # their coefficient is gamma or 1 / gamma
    coefficients = {name: values[name].item() for name in coefficients}
    values |= {n: torch.tensor(sign * math.log(c)).double() for n, c in coefficients.items()}
    module = nn.Module()
    module.model, module.head = build(made), nn.Linear(64, 1)
    take_over(module, renamed(values, POOL))
    module.eval()

    expected = case["expected"][f"x_{p}"]
    edges = eight_neighbours()
    x = torch.from_numpy(golden_input(p, 64)).requires_grad_()
    bag = Bag.single(x, edge_index=edges, edge_weight=torch.ones(edges.shape[1]).double())
    embedding = module.model(bag)
    logit = module.head(embedding.vector)[0, 0]
    assert logit.item() == pytest.approx(expected["logit"], **near)
    raw = embedding.scores[:5].tolist()
    assert raw == pytest.approx(expected["attention_raw_first5"], **near)
    if "attention_softmax_first5" in expected:
        weights = bag_softmax(embedding.scores, bag.offsets)[:5].tolist()
        assert weights == pytest.approx(expected["attention_softmax_first5"], **near)
    losses = [binary_cross_entropy_with_logits(logit, logit.new_full((), y)) for y in (0.0, 1.0)]
    for loss, key in zip(losses, ("loss_label0", "loss_label1"), strict=True):
        assert loss.item() == pytest.approx(expected[key], **near)
    losses[1].backward()
    found = {name: p.grad for name, p in module.named_parameters()} | {"input": x.grad}
    for name, norm in expected.get("grad_norms_label1", {}).items():
        ours = next(iter(renamed({name: 0}, POOL | {"input": "input"})))
        gradient = found[ours].norm().item() / coefficients.get(name, 1.0)
        assert gradient == pytest.approx(norm, **near), name


def literal(pool, x, graph, offsets):
    """The pooling as it is written down, with everything that is smoothed as wide as it is."""
    weight = {
        layer: layer.weight / torch.linalg.svdvals(layer.weight)[0]
        if type(layer) is not nn.Linear
        else layer.weight
        for layer in (pool.hidden, pool.score)
    }
    if pool.where == "early":
        x = pool.smooth(x, graph, offsets)
    h = x @ weight[pool.hidden].T + pool.bias
    if pool.where == "mid":
        h = pool.smooth(h, graph, offsets)
    f = (pool.activation(h) @ weight[pool.score].T).squeeze(-1)
    if pool.where == "late":
        f = pool.smooth(f, graph, offsets)
    return f.softmax(0) @ x, f, x


@pytest.mark.parametrize("where", ["early", "mid", "late", "none"])
@pytest.mark.parametrize("mode", ["approximate", "exact"])
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_pooling_is_what_is_written_down(where, mode, spectral_norm):
    torch.manual_seed(0)
    pool = SmoothAttentionPool(
        6, 5, where, Smooth(mode, steps=7, alpha=0.8), spectral_norm=spectral_norm
    ).double()
    torch.nn.init.normal_(pool.bias)
    bag = example_bag(32, 6)
    graph, x = bag_graph(bag, "it").normalised("sym"), bag.features.double()
    near = {"rtol": 1e-6, "atol": 1e-7}  # weights of edges have float32
    z, f, averaged = literal(pool, x, graph, bag.offsets)
    found, scores = pool(x, graph, bag.offsets)
    torch.testing.assert_close(found[0], z, **near)
    torch.testing.assert_close(scores, f, **near)
    torch.testing.assert_close(pool.averaged(x, graph, bag.offsets), averaged, **near)


@pytest.mark.parametrize("model", ["sm_abmil", "sm_transformer_abmil"])
@pytest.mark.parametrize("smooth", ["early", "late"])
def test_the_vector_is_the_softmax_average_of_what_is_pooled(model, smooth):
    options = {"hidden": 16} | ({"heads": 2} if "transformer" in model else {})
    network = build_model(model, 24, smooth=smooth, **options).eval()
    bag = example_bag(32)
    embedding = network(bag)
    z = bag_softmax(embedding.scores, bag.offsets) @ embedding.pooled
    torch.testing.assert_close(embedding.vector[0], z, rtol=1e-5, atol=1e-6)
    assert network.train()(bag).pooled is None


def test_wrong_options_are_sentences():
    with pytest.raises(InputError, match=r"smooth is 'erly'; did you mean early"):
        build_model("sm_abmil", 8, smooth="erly")
    with pytest.raises(InputError, match=r"activation is 'tan'; did you mean tanh"):
        SmoothAttentionPool(8, activation="tan")
