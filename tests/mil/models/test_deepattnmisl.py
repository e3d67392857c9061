"""DeepAttnMISL against the values of AdvMIL's cluster backbone, and what is its own."""

from dataclasses import replace

import pytest
import torch
from examples import example_bag, golden_fill, golden_input
from golden import golden, golden_parameters, renamed, take_over

from mil.bags import Bag, BagError, pack
from mil.heads import build_head
from mil.models import build_model
from mil.network import Network
from mil.nn.segments import bag_softmax
from mil.survival.losses.cox import cox_loss

NAMES = {
    "MLPs.0.0": "head.layers.0",
    "MLPs.1.0": "head.layers.1",
    "backbone.phis.0": "model.phi",
    "backbone.attention_net.0": "model.embed.0",
    "backbone.attention_net.3.attention_a.0": "model.pool.direction.0",
    "backbone.attention_net.3.attention_b.0": "model.pool.gate.0",
    "backbone.attention_net.3.attention_c": "model.pool.score",
}


def make(**options):
    torch.manual_seed(0)
    return build_model("deepattnmisl", 24, hidden=32, **options).eval()


@pytest.mark.parametrize("mask_empty", [True, False])
@pytest.mark.parametrize(
    ("noise", "parameters", "values"),
    [
        ("0-1", 911_810, (-0.394213, -0.381814)),
        ("1-1", 985_538, (-0.025150, -0.009142)),
        ("1-0", 985_346, (-0.030899, -0.008260)),
    ],
)
def test_values_of_advmils_generator(noise, parameters, values, mask_empty):
    model = build_model("deepattnmisl", 1024, mask_empty=mask_empty)
    head = build_head("adversarial", model.out_dim, {"t_ref": 1.0}, noise=noise)
    network = Network(model, head, None).eval()
    assert sum(p.numel() for p in network.parameters()) == parameters
    golden_fill(network, NAMES)
    zeros = torch.zeros(1, 1, sum(head.noise_widths))
    cluster = torch.arange(64) % 8  # none is empty
    for p, expected in enumerate(values):
        bag = Bag.single(torch.from_numpy(golden_input(p)).float(), cluster=cluster)
        with torch.no_grad():
            logit = head.logits(model(bag).vector, zeros)
        assert logit.item() == pytest.approx(expected, abs=2e-5)


ORIGINAL = {
    "embedding_net.0": "model.phi",
    "attention.0": "model.pool.direction.0",
    "attention.2": "model.pool.score",
    "fc6.0": "head.layers.0",
    "fc6.3": "head.layers.3",
}


def original(parameters):
    """Preset and Cox head with the original's parameters, whose first layer is a convolution."""
    model = build_model("deepattnmisl", 4096, preset="paper")
    network = Network(model, build_head("cox", 64, {}, dropout=0.5), None).eval()
    filled = golden_parameters(dict(parameters))
    filled["embedding_net.0.weight"] = filled["embedding_net.0.weight"].flatten(1)
    take_over(network, renamed(filled, ORIGINAL))
    return network


@pytest.mark.parametrize("p", [0, 1])
@pytest.mark.parametrize(("case", "clusters"), [("all_clusters", 10), ("two_empty", 8)])
def test_values_of_the_original(p, case, clusters):
    file = golden("deep_attn_misl")
    expected, network = file["expected"][f"{case} x_{p}"], original(file["parameters"])
    near = {"rel": 1e-5, "abs": 1e-6}
    group = torch.arange(64) % clusters
    bag = Bag.single(torch.from_numpy(golden_input(p, 4096)), cluster=group)
    risk, embedding = network(bag, None)
    assert risk.item() == pytest.approx(expected["risk"], **near)
    raw = embedding.scores[:clusters] + group.bincount().log()[:clusters]
    assert raw.tolist() == pytest.approx(expected["attention_raw"][:clusters], **near)
    weights = bag_softmax(embedding.scores, bag.offsets)
    of_clusters = torch.zeros(10, dtype=torch.float64).index_add(0, group, weights)
    assert of_clusters.tolist() == pytest.approx(expected["attention_normalised"], **near)
    assert embedding.vector[0, :5].tolist() == pytest.approx(expected["pooled_first5"], **near)
    for k in (0, 9):  # that of an empty cluster would be ReLU(bias), which nothing reads
        if k < clusters:
            first = embedding.pooled[k, :5].tolist()
            assert first == pytest.approx(expected[f"cluster{k}_embedding_first5"], **near)
    risk.sum().backward()
    check_gradients(network, expected["grad_norms_risk"])


def check_gradients(network, expected):
    found = dict(network.named_parameters())
    for name, norm in expected.items():
        gradient = found[next(iter(renamed({name: 0}, ORIGINAL)))].grad.norm().item()
        assert gradient == pytest.approx(norm, rel=1e-5, abs=1e-6), name


def test_loss_of_the_original():
    """Its mean is over all patients, ours over those with an event."""
    file = golden("deep_attn_misl")
    network, given = original(file["parameters"]), file["cox"]
    x = [torch.from_numpy(golden_input(p, 4096)) for p in (0, 1)]
    bags = [
        Bag.single(one, cluster=torch.arange(64) % clusters) for clusters in (10, 8) for one in x
    ]
    risk, _ = network(pack(bags), None)
    for name, expected in given["loss"].items():
        numbers = [
            [float(n) for n in part.split("_") if n.isdigit()] for part in name.split("events")
        ]
        time, event = torch.tensor(numbers, dtype=torch.float64)
        loss = cox_loss(risk, time, event, ties="breslow") * event.mean()
        assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-6), name
        if name in "grad_norms_times_5_3_9_4_events_1_1_0_1":
            loss.backward(retain_graph=True)
            check_gradients(network, given[f"grad_norms_{name}"])
    total = sum(p.abs().sum().item() for p in network.parameters())
    assert total == pytest.approx(file["l1"]["all_parameters_sum_abs"], rel=1e-6)


def by_hand(model, bag, clusters):
    """The formula, cluster by cluster, for one bag."""
    means = [
        model.phi(bag.features[bag.cluster == k]).relu().mean(0)
        if (bag.cluster == k).any()
        else torch.zeros(32)
        for k in clusters
    ]
    h = model.embed(torch.stack(means))
    f = model.pool.score(model.pool.direction(h) * model.pool.gate(h)).squeeze(-1)
    return f.softmax(0) @ h


def test_empty_clusters_are_left_out_or_take_part_as_zeros():
    bag = replace(example_bag(40), cluster=torch.tensor([0, 2, 3, 5, 5]).repeat(8))
    masked, unmasked = make(), make(mask_empty=False)
    near = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(masked(bag).vector[0], by_hand(masked, bag, (0, 2, 3, 5)), **near)
    torch.testing.assert_close(unmasked(bag).vector[0], by_hand(unmasked, bag, range(8)), **near)
    # another bag's clusters, or how many there could be, do not matter
    other = example_bag(32, seed=1)
    for model in (masked, unmasked):
        torch.testing.assert_close(model(pack([bag, other])).vector[:1], model(bag).vector, **near)
    assert torch.equal(make(clusters=100)(bag).vector, masked(bag).vector)


def test_numbers_of_clusters_have_no_meaning():
    bag, model = example_bag(), make()
    renamed = replace(bag, cluster=torch.tensor([9, 3, 0, 7, 4, 21, 2, 6])[bag.cluster])
    torch.testing.assert_close(model(renamed).vector, model(bag).vector, rtol=1e-5, atol=1e-6)


def test_scores_divide_the_attention_of_a_cluster_among_its_patches():
    bag = replace(example_bag(6), cluster=torch.tensor([0, 0, 0, 4, 4, 2]))
    model = make()
    weights = bag_softmax(model(bag).scores, bag.offsets)
    c = torch.stack(
        [model.phi(bag.features[rows]).relu().mean(0) for rows in ([0, 1, 2], [5], [3, 4])]
    )
    h = model.embed(c)
    a = model.pool.score(model.pool.direction(h) * model.pool.gate(h)).squeeze(-1).softmax(0)
    each = torch.stack([a[0] / 3, a[0] / 3, a[0] / 3, a[2] / 2, a[2] / 2, a[1]])
    torch.testing.assert_close(weights, each, rtol=1e-5, atol=1e-6)


def test_clusters_that_are_not_there_are_a_sentence():
    with pytest.raises(BagError, match="bag P7: no clusters"):
        make()(Bag.single(torch.randn(4, 24), "P7"))
    with pytest.raises(BagError, match=r"cluster 7 is there, .* has 5\. Set model_options"):
        make(mask_empty=False, clusters=5)(example_bag())
