"""Contributions of instances: their sums, their signs, and what they are to first order."""

import numpy as np
import pytest
import torch
from examples import example_bag
from torch import nn

from mil.bags import pack
from mil.contributions import contributions
from mil.heads import build_head
from mil.models import build_model, model_names
from mil.models.base import BagModel, Embedding
from mil.network import Network
from mil.nn.segments import bag_softmax, segment_sum

WIDTH = 24
FITTED = {"cox": {}, "time": {"t_ref": 9.0}, "adversarial": {"t_ref": 9.0}}
FITTED["nll"] = {"edges": [0.0, 2.0, 5.0, np.inf]}


class LinearHead(nn.Module):
    """A head of one layer, as heads of classes are."""

    def __init__(self, width, classes):
        super().__init__()
        self.linear = nn.Linear(width, classes)

    def read(self, logits):
        return logits.mean(1) if logits.ndim == 3 else logits  # over draws of random attention

    def forward(self, vector, noise):
        return self.read(self.linear(vector))


class RandomAttention(BagModel):
    """Averages with draws of its weights, which are not the softmax of its scores."""

    out_dim = WIDTH

    def forward(self, bag):
        draws = bag_softmax(bag.features[:, :5], bag.offsets)  # [N, 5]
        vector = segment_sum(draws.mean(1, keepdim=True) * bag.features, bag.offsets)
        zero = torch.zeros(len(bag.features))
        return Embedding(vector, zero, pooled=bag.features, samples=draws)


class Branches(BagModel):
    """An average for each of two branches of attention, one behind the other."""

    out_dim = 2 * WIDTH

    def forward(self, bag):
        scores = bag.features[:, :2]
        weights = bag_softmax(scores, bag.offsets)
        z = segment_sum(weights.unsqueeze(2) * bag.features.unsqueeze(1), bag.offsets)
        vector = self.after_pooling(z)
        return Embedding(vector, scores.amax(1), class_scores=scores, pooled=bag.features)

    def after_pooling(self, average):
        return average.flatten(1)


def bags(dtype=torch.float64):
    packed = pack([example_bag(n, WIDTH, seed) for seed, n in enumerate((16, 64, 32))])
    return packed.__class__(**{**vars_of(packed), "features": packed.features.to(dtype)})


def vars_of(bag):
    return {name: getattr(bag, name) for name in bag.__dataclass_fields__}


def network_of(name, head):
    torch.manual_seed(3)
    model = build_model(name, WIDTH)
    head = (
        LinearHead(model.out_dim, 3)
        if head == "linear"
        else build_head(head, model.out_dim, FITTED[head])
    )
    return Network(model, head, None).double().eval()


def explain(network, bag, noise=None):
    noise = torch.empty(len(bag), 1, 0) if noise is None else noise
    with torch.no_grad():
        output, embedding = network(bag, noise)
        return contributions(network, embedding, bag.offsets, noise), output, embedding


def average_of(embedding, bag):
    if embedding.samples is not None:
        weights = embedding.samples.mean(1)
    elif embedding.class_scores is not None:
        weights = bag_softmax(embedding.class_scores, bag.offsets)
        x = embedding.pooled.unsqueeze(1)
        return segment_sum(weights.unsqueeze(2) * x, bag.offsets)
    else:
        weights = bag_softmax(embedding.scores, bag.offsets)
    return segment_sum(weights.unsqueeze(1) * embedding.pooled, bag.offsets)


@pytest.mark.parametrize("name", model_names())
def test_the_vector_is_made_of_the_average_of_what_is_pooled(name):
    network, bag = network_of(name, "linear"), bags()
    found, _, embedding = explain(network, bag)
    if embedding.pooled is None:
        assert found is None
        return
    average = average_of(embedding, bag)
    torch.testing.assert_close(
        network.model.after_pooling(average), embedding.vector, rtol=1e-9, atol=1e-12
    )
    assert found.values.shape == (len(bag.features), 3)


@pytest.mark.parametrize("name", model_names())
def test_under_a_linear_head_they_add_up_to_the_logit_less_its_bias(name):
    """Of every model that says so, whatever it does before the pooling."""
    network, bag = network_of(name, "linear"), bags()
    found, logits, embedding = explain(network, bag)
    if found is None or not found.exact:
        assert found is None or network.model.bends
        return
    at_zero = network.head(network.model.after_pooling(0 * average_of(embedding, bag)), None)
    total = segment_sum(found.values, bag.offsets)
    torch.testing.assert_close(total, (logits - at_zero).detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["patchgcn", "esat", "deepattnmisl"])
def test_under_a_linear_head_they_are_the_products(name):
    network, bag = network_of(name, "linear"), bags()
    found, logits, embedding = explain(network, bag)
    weight, bias = network.head.linear.weight, network.head.linear.bias
    literal = bag_softmax(embedding.scores, bag.offsets).unsqueeze(1) * torch.stack(
        [embedding.pooled @ weight[c] for c in range(3)], 1
    )
    torch.testing.assert_close(found.values, literal.detach(), rtol=1e-12, atol=1e-14)
    total = segment_sum(found.values, bag.offsets)
    torch.testing.assert_close(total, (logits - bias).detach(), rtol=1e-12, atol=1e-12)
    assert found.exact
    assert found.towards == ("output 0", "output 1", "output 2")
    assert (found.values < 0).any()
    assert (found.values > 0).any()


@pytest.mark.parametrize(
    ("names", "outputs", "towards"),
    [
        (("luad", "lusc", "normal"), 3, ("luad", "lusc", "normal")),
        (("normal", "tumour"), 1, ("tumour",)),
        (("grade 1", "grade 2", "grade 3"), 1, ("output",)),
        ((), 1, ("output",)),
    ],
)
def test_logits_have_the_names_of_their_classes(names, outputs, towards):
    network = Network(Branches(), LinearHead(2 * WIDTH, outputs), None).double().eval()
    network.head.names = names
    assert explain(network, bags())[0].towards == towards


def test_layers_between_pooling_and_a_linear_head_make_them_first_order():
    found, _, _ = explain(network_of("abmil", "linear"), bags())
    assert not found.exact


@pytest.mark.parametrize("head", FITTED)
def test_to_first_order_they_are_what_more_weight_does_to_the_risk(head):
    """a_n times the slope of the risk in the weight of instance n, by central differences."""
    network, bag = network_of("abmil", head), bags()
    noise = network.head.noise(3, 7, torch.Generator().manual_seed(1)).double()
    found, _, embedding = explain(network, bag, noise)
    assert (found.towards, found.exact) == (("risk",), False)
    weights = bag_softmax(embedding.scores, bag.offsets)
    rows, step = [0, 20, 79, 80, 111], 1e-6
    ends = bag.offsets.tolist()

    def risk(change):
        average = segment_sum((weights + change).unsqueeze(1) * embedding.pooled, bag.offsets)
        with torch.no_grad():
            output = network.head(network.model.after_pooling(average), noise)
        if output.ndim == 2 and head in ("time", "adversarial"):
            return -output.median(1).values
        return network.head.risk(output)

    for row in rows:
        change = torch.zeros(len(weights), dtype=torch.float64)
        change[row] = step
        slope = (risk(change) - risk(-change)) / (2 * step)
        mine = next(b for b in range(3) if ends[b] <= row < ends[b + 1])
        expected = weights[row] * slope[mine]
        torch.testing.assert_close(found.values[row, 0], expected, rtol=1e-5, atol=1e-9)


def test_bags_do_not_see_each_other():
    network, bag = network_of("abmil", "cox"), bags()
    together, _, _ = explain(network, bag)
    alone, _, _ = explain(network, bags_alone(1))
    torch.testing.assert_close(together.values[16:80], alone.values, rtol=1e-9, atol=1e-12)


def bags_alone(seed):
    one = example_bag((16, 64, 32)[seed], WIDTH, seed)
    return one.__class__(**{**vars_of(one), "features": one.features.double()})


def test_random_attention_counts_with_the_mean_of_its_draws():
    model = RandomAttention()
    network = Network(model, LinearHead(WIDTH, 1), None).double().eval()
    bag = bags()
    found, logits, _ = explain(network, bag)
    total = segment_sum(found.values, bag.offsets)
    torch.testing.assert_close(total, (logits - network.head.linear.bias).detach())


def test_branches_of_attention_add_up_together():
    head = LinearHead(2 * WIDTH, 3).double()
    network, bag = Network(Branches(), head, None).eval(), bags()
    found, logits, embedding = explain(network, bag)
    weights = bag_softmax(embedding.class_scores, bag.offsets)
    parts = head.linear.weight.view(3, 2, WIDTH)  # output, branch
    literal = sum(weights[:, [c]] * (embedding.pooled @ parts[:, c].T) for c in (0, 1))
    torch.testing.assert_close(found.values, literal.detach(), rtol=1e-12, atol=1e-14)
    total = segment_sum(found.values, bag.offsets)
    torch.testing.assert_close(total, (logits - head.linear.bias).detach())
    assert found.exact


def test_training_does_not_copy_regions_and_clusters():
    for name in ("esat", "deepattnmisl"):
        model = build_model(name, WIDTH)
        assert model.train()(bags(torch.float32)).pooled is None
        assert model.eval()(bags(torch.float32)).pooled is not None


def test_empty_clusters_that_take_part_have_no_patch_to_stand_for_them():
    model = build_model("deepattnmisl", WIDTH, mask_empty=False, clusters=12).eval()
    assert model(bags(torch.float32)).pooled is None
