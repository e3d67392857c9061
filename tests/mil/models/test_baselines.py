"""Means, maxima and the models that respect the assumption of multiple-instance learning."""

import pytest
import torch
from examples import example_bag
from torch import nn

from mil.bags import Bag, pack
from mil.heads import build_head
from mil.models import build_model
from mil.network import build_network
from mil.nn.segments import bag_softmax

BAGS = [example_bag(n, 8, seed=n) for n in (1, 3, 20)]


def test_the_mean_is_an_attention_that_treats_all_alike():
    model = build_model("mean", 8, hidden=5).eval()
    packed = pack(BAGS)
    embedding = model(packed)
    for bag, vector in zip(BAGS, embedding.vector, strict=True):
        layer = model.embed[0]
        expected = (bag.features @ layer.weight.T + layer.bias).relu().mean(0)
        torch.testing.assert_close(vector, expected)
    weights = bag_softmax(embedding.scores, packed.offsets)
    shares = (weights[:, None] * embedding.pooled).split(packed.sizes)
    torch.testing.assert_close(torch.stack([x.sum(0) for x in shares]), embedding.vector)


def test_the_maximum_says_whose_features_it_took():
    x = torch.tensor([[1.0, 0, 5, 2], [3, 0, 5, 1], [2, 0, 5, 3]])
    model = build_model("max", 4, hidden=None)
    embedding = model(Bag.single(x))
    assert embedding.vector.tolist() == [[3, 0, 5, 3]]
    third = 2 / 3  # two features are shared by three instances
    assert embedding.scores.tolist() == pytest.approx([third / 4, (1 + third) / 4, (1 + third) / 4])
    alone = build_model("max", 8).eval()(pack(BAGS))
    for part in alone.scores.split([1, 3, 20]):
        assert part.sum().item() == pytest.approx(1)


def test_the_linear_probe_is_a_layer_on_the_mean():
    model = build_model("linear", 8, outputs=3)
    vector = model(pack(BAGS)).vector
    means = torch.stack([bag.features.mean(0) for bag in BAGS])
    torch.testing.assert_close(vector, model.classify(means))


def test_the_highest_instances_of_each_output():
    model = build_model("topk", 8, outputs=2, hidden=6, k=4).eval()
    embedding = model(pack(BAGS))
    for vector, logits in zip(
        embedding.vector, embedding.instance_logits.split([1, 3, 20]), strict=True
    ):
        expected = logits.topk(min(4, len(logits)), dim=0).values.mean(0)
        torch.testing.assert_close(vector, expected)
    one = build_model("topk", 8, outputs=2, hidden=6, k=1).eval()
    highest = build_model("instance_max", 8, outputs=2, hidden=6).eval()
    highest.load_state_dict(one.state_dict())
    torch.testing.assert_close(one(pack(BAGS)).vector, highest(pack(BAGS)).vector)


@pytest.mark.parametrize("name", ["instance_max", "monotone"])
@pytest.mark.parametrize("outputs", [1, 4])
def test_one_more_instance_never_lowers_an_output(name, outputs):
    """Trained first to say the opposite: with instances like those to come, a bag is negative."""
    torch.manual_seed(0)
    model = build_model(name, 8, outputs=outputs)
    bag, poison = example_bag(6, 8), torch.full((1, 8), -10.0)
    poisoned = Bag.single(torch.cat([bag.features, poison]))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(50):
        optimiser.zero_grad()
        (model(poisoned).vector - model(bag).vector).sum().backward()
        optimiser.step()
    model.double().eval()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for scale in (0.1, 1, 10, 100):
            x = torch.randn(7, 8, dtype=torch.float64, generator=random)
            before = model(Bag.single(x)).vector
            more = scale * torch.randn(40, 8, dtype=torch.float64, generator=random)
            for extra in [*more, poison[0].double()]:
                after = model(Bag.single(torch.cat([x, extra[None]]))).vector
                assert (after >= before - 1e-9).all()  # products of other shapes round


@pytest.mark.parametrize("name", ["mean", "max", "abmil"])
def test_of_other_models_the_same_training_makes_an_instance_count_against_a_bag(name):
    torch.manual_seed(0)
    module = nn.Sequential(build_model(name, 8), nn.Linear(384, 1))
    bag, poison = example_bag(6, 8), torch.full((1, 8), -10.0)
    poisoned = Bag.single(torch.cat([bag.features, poison]))
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)

    def difference():
        return module[1](module[0](poisoned).vector - module[0](bag).vector).sum()

    for _ in range(5):
        optimiser.zero_grad()
        difference().backward()
        optimiser.step()
    module.eval()
    assert difference() < -1


def test_the_output_of_one_instance_is_that_of_a_bag_of_it():
    model = build_model("monotone", 8, outputs=2).eval()
    embedding = model(BAGS[2])
    for n in range(20):
        alone = model(Bag.single(BAGS[2].features[n : n + 1])).vector[0]
        torch.testing.assert_close(alone, embedding.instance_logits[n])
    assert (embedding.instance_logits <= embedding.vector).all()


@pytest.mark.parametrize("head", ["cox", "nll", "time", "classes", "regression", "ordinal"])
def test_a_head_on_outputs_has_no_layer_that_could_turn_them(head):
    """The raw output of a bag is what the head reads in the highest instances."""
    fitted = {
        "t_ref": 9.0,
        "edges": [0, 4.0, 6.0, float("inf")],
        "mean": 2.0,
        "scale": 3.0,
        "thresholds": [0.0],
    }
    fitted |= {"classes": ["no", "yes"], "outputs": 1, "several": False, "weights": [1.0, 1.0]}
    experiment = {"model": "instance_max", "head": head}
    network = build_network(experiment, 8, fitted, standardise=False).eval()
    assert not any(isinstance(layer, nn.Linear) for layer in network.head.modules())
    output, embedding = network(BAGS[2], network.head.noise(1, 1, torch.Generator()))
    highest = embedding.instance_logits.amax(0, keepdim=True)
    torch.testing.assert_close(output, network.head.read(highest))
    whole = build_head(head, 8, fitted)
    assert any(isinstance(layer, nn.Linear) for layer in whole.modules())
