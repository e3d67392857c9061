"""The discriminator against the original's values, and what it may depend on."""

import pytest
import torch
from examples import example_bag, golden_fill, golden_input

from mil.bags import Bag, BagError, pack
from mil.discriminator import TERMS, Discriminator

NAMES = {
    "net_pair_one.embedding.conv": "embed.0",
    "net_pair_one.embedding.norm": "embed.1",
    "net_pair_one.fc1.0": "region.0",
    "net_pair_one.fc1.3": "region.3",
    "net_pair_one.pool.fc1.0": "pool.direction.0",
    "net_pair_one.pool.score.0": "pool.gate.0",
    "net_pair_one.pool.fc2": "pool.score",
    "net_pair_one.fc2.0": "bag.0",
    "net_pair_one.fc2.3": "bag.3",
    "net_pair_two.0.0": "time.0",
    "net_pair_two.1.0": "time.2",
}


@pytest.mark.parametrize(
    ("fusion", "parameters", "values"),
    [
        ("instance", 206_338, (2.345376, 2.148371, 5.616163)),
        ("bag", 206_338, (0.437039, 0.420393, 0.110306)),
        ("cat", 206_466, (0.066136, 0.048238, 0.265315)),
    ],
)
def test_values_of_the_original(fusion, parameters, values):
    judge = Discriminator(1024, fusion).eval()
    assert sum(p.numel() for p in judge.parameters()) == parameters
    out = {"cat": "fc"}.get(fusion, "prj_layer")
    golden_fill(judge, NAMES | {out: "out"}, norm_weights={"net_pair_one.embedding.norm.weight"})
    for (p, time), expected in zip([(0, 0.3), (1, 0.3), (0, 0.9)], values, strict=True):
        bag = Bag.single(torch.from_numpy(golden_input(p)).float())
        with torch.no_grad():
            assert judge(bag, torch.tensor([time])).item() == pytest.approx(expected, abs=2e-5)


@pytest.fixture(params=["instance", "bag", "cat"])
def judge(request):
    torch.manual_seed(0)
    return Discriminator(24, request.param).eval()


def test_order_inside_a_region_does_not_matter_and_across_does(judge):
    bag, time = example_bag(64), torch.tensor([0.5])
    swap_inside = torch.arange(64)
    swap_inside[[0, 7]] = torch.tensor([7, 0])
    across = torch.arange(64)
    across[[0, 40]] = torch.tensor([40, 0])
    before = judge(bag, time)
    inside = judge(Bag.single(bag.features[swap_inside]), time)
    torch.testing.assert_close(inside, before, rtol=1e-5, atol=1e-6)
    changed = judge(Bag.single(bag.features[across]), time)
    # in the instance fusion the first term is a mean over regions, but the embedding is not linear
    assert (changed - before).abs() > 1e-7


def test_packed_bags_are_the_bags_one_by_one(judge):
    bags = [example_bag(n, seed=n) for n in (16, 64, 32)]
    times = torch.tensor([0.1, 0.5, 0.9])
    alone = torch.cat([judge(bag, times[i : i + 1]) for i, bag in enumerate(bags)])
    torch.testing.assert_close(judge(pack(bags), times), alone, rtol=1e-4, atol=1e-6)


def test_gradient_reaches_every_parameter_and_the_time(judge):
    judge.train()
    times = torch.tensor([0.3, 0.9], requires_grad=True)
    judge(pack([example_bag(64, seed=0), example_bag(64, seed=1)]), times).square().sum().backward()
    assert all(p.grad is not None for p in judge.parameters())
    assert (times.grad.abs() > 0).all()


def test_incomplete_regions_are_refused(judge):
    with pytest.raises(BagError, match="bag A: 40 instances are no multiple of 16"):
        judge(example_bag(40), torch.tensor([0.5]))


def test_the_term_beside_the_product_reads_bag_time_or_nothing():
    """By the closed form, from the parts that the discriminator itself is made of."""
    bag, time = example_bag(64), torch.tensor([0.5])
    for fusion in ("instance", "bag"):
        for term in TERMS:
            torch.manual_seed(0)
            judge = Discriminator(24, fusion, term).eval()
            seen, h_t = judge.encode(bag), judge.time(time[:, None])
            instance = torch.stack([(f * h_t[0]).sum() for f in seen.regions]).mean()
            expected = instance if fusion == "instance" else (seen.vector * h_t).sum()
            if term == "none":
                assert not any(name.startswith("out") for name, _ in judge.named_parameters())
            else:
                expected = expected + judge.out({"bag": seen.vector, "time": h_t}[term])
            torch.testing.assert_close(judge(bag, time)[0], expected.squeeze())
    with pytest.raises(ValueError, match="term is 'path'; it must be one of bag, time, none"):
        Discriminator(24, term="path")
