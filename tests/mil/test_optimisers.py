"""What steps are made of: optimisers, slow weights, clipped gradients, averages."""

import numpy as np
import pytest
import torch
from examples import SMALL_MODELS, example_bag
from torch.amp import GradScaler
from torch.nn.functional import mse_loss
from torch.optim.swa_utils import AveragedModel

from mil.bags import pack
from mil.heads.base import Labels
from mil.models import build_model, model_names
from mil.network import build_network
from mil.training.optimisers import build_optimiser
from mil.training.step import Stepper

BAG = pack([example_bag(16, seed=i, name=str(i)) for i in range(4)])
LABELS = Labels.of(np.array([5.0, 9.0, 3.0, 7.0]), np.array([1, 0, 1, 0]))
FITTED = {"t_ref": 9.0, "edges": [0, 4.0, 6.0, float("inf")]}


def stepper(model="mean", head="nll", discriminator=False, **settings):
    torch.manual_seed(0)
    options = SMALL_MODELS.get(model, {})
    experiment = {"model": model, "head": head, "model_options": options}
    network = build_network(experiment, 24, FITTED, standardise=False)
    usual = {"learning_rate": 1e-2, "weight_decay": 0.0, "l1": 0.0}
    noise = torch.Generator().manual_seed(1)
    opponent = network.head.opponent(24) if discriminator else None
    return Stepper(network, opponent, noise=noise, **(usual | settings))


def walk(one, steps):
    """Take steps; return the parameters at the start and after each."""
    torch.manual_seed(2)  # the same dropout
    seen = [parameters(one.network)]
    for _ in range(steps):
        one.step([BAG], LABELS)
        seen.append(parameters(one.network))
    return seen


def parameters(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def gradient_norm(of):
    return torch.cat([p.grad.flatten() for p in of]).norm().item()


def test_radam_is_that_of_another_library():
    """timm's port of the authors' code; it adds epsilon at another place."""
    radam = pytest.importorskip("timm.optim").RAdamLegacy
    x, y = torch.randn(40, 5).double(), torch.randn(40, 3).double()
    ends = []
    for ours in (True, False):
        torch.manual_seed(0)
        layer = torch.nn.Linear(5, 3).double()
        groups = [{"params": [layer.weight], "weight_decay": 0.1}, {"params": [layer.bias]}]
        optimiser = build_optimiser(layer, 1e-2, 0.1, "radam") if ours else radam(groups, lr=1e-2)
        for _ in range(12):  # the variance is known from the sixth
            optimiser.zero_grad()
            mse_loss(layer(x), y).backward()
            optimiser.step()
        ends.append(parameters(layer))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-6)


def test_betas_are_the_optimisers_and_not_the_opponents():
    one = stepper(head="adversarial", discriminator=True, betas=[0.5, 0.9])
    assert {group["betas"] for group in one.optimiser.param_groups} == {(0.5, 0.9)}
    opponents = one.discriminator_optimiser.param_groups
    assert {group["betas"] for group in opponents} == {(0.9, 0.999)}
    # after gradients g and 0 Adam's averages are b1 (1 - b1) g and b2 (1 - b2) g^2
    layer = torch.nn.Linear(1, 1, bias=False)
    optimiser = build_optimiser(layer, 1.0, 0.0, betas=[0.5, 0.75])
    start = layer.weight.item()
    for gradient in (2.0, 0.0):
        layer.weight.grad = torch.tensor([[gradient]])
        optimiser.step()
    second = (0.5 * 0.5 * 2 / (1 - 0.5**2)) / np.sqrt(0.75 * 0.25 * 4 / (1 - 0.75**2))
    assert start - layer.weight.item() == pytest.approx(1 + second, rel=1e-5)


def test_lookahead_goes_half_the_way_from_where_it_was():
    plain, slow = walk(stepper(), 2), walk(stepper(lookahead=2), 4)
    torch.testing.assert_close(slow[1], plain[1], rtol=0, atol=0)
    torch.testing.assert_close(slow[2], (plain[0] + plain[2]) / 2)

    # the next round is that of an optimiser which goes on from there, its averages kept
    again = stepper()
    walk(again, 2)
    torch.nn.utils.vector_to_parameters(slow[2].clone(), again.network.parameters())
    for _ in range(2):
        again.step([BAG], LABELS)
    fast = parameters(again.network)
    torch.testing.assert_close(slow[4], (slow[2] + fast) / 2)


@pytest.mark.parametrize("precision", [torch.float32, torch.float16], ids=["float32", "float16"])
def test_gradients_are_clipped_by_their_norm(precision):
    """In their own size, whatever the losses of half precision are scaled by."""
    for norm, clipped in ((1e-3, 1e-3), (1e6, None)):
        free, bound = (stepper(precision=precision, clip_norm=n) for n in (None, norm))
        walk(free, 1)
        walk(bound, 1)
        whole = gradient_norm(free.network.parameters())
        assert whole > 1e-2
        expected = clipped or whole
        assert gradient_norm(bound.network.parameters()) == pytest.approx(expected, rel=1e-2)


def test_l1_is_part_of_what_is_clipped():
    one = stepper(l1=1.0, clip_norm=1e-2)
    walk(one, 1)
    assert gradient_norm(one.network.parameters()) == pytest.approx(1e-2, rel=1e-4)


def test_the_opponent_is_not_clipped():
    one, free = (
        stepper(head="adversarial", discriminator=True, clip_norm=norm) for norm in (1e-4, None)
    )
    norms = []
    for s in (one, free):
        walk(s, 1)
        norms.append(gradient_norm(s.discriminator.parameters()))
    assert norms[0] == norms[1] > 1e-3
    assert gradient_norm(one.network.parameters()) == pytest.approx(1e-4, rel=1e-3)


def test_parts_of_dtfd_have_a_norm_each():
    one = stepper("dtfd", clip_norm=1e-5)
    walk(one, 1)
    model = one.network.model
    parts = [
        [*model.reduce.parameters(), *model.blocks.parameters()],
        [*model.first.parameters()],
        [*model.classify.parameters()],
        [*model.second.parameters(), *one.network.head.parameters()],
    ]
    for part in parts:
        assert gradient_norm(part) == pytest.approx(1e-5, rel=1e-2)
    assert sum(map(len, parts)) == len(list(one.network.parameters()))


def test_the_average_of_steps_is_what_is_judged():
    one = stepper(ema=0.75)
    assert one.judged is not one.network
    seen = walk(one, 3)
    expected = seen[1]
    for step in seen[2:]:
        expected = 0.75 * expected + 0.25 * step
    torch.testing.assert_close(parameters(one.judged), expected)
    assert stepper().judged.training
    plain = stepper()
    assert plain.judged is plain.network


@pytest.mark.parametrize("name", model_names())
def test_every_model_can_be_averaged(name):
    torch.manual_seed(0)
    model = build_model(name, 24, **SMALL_MODELS.get(name, {}))
    averaged = AveragedModel(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    averaged.update_parameters(model)
    for key, value in model.eval().state_dict().items():
        torch.testing.assert_close(averaged.module.state_dict()[key], value, rtol=0, atol=0)
    a, b = (one(BAG).vector for one in (averaged.module.eval(), model))
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_a_step_that_overflows_counts_for_nothing():
    one = stepper(precision=torch.float16, lookahead=1, ema=0.5)
    one.scaler = GradScaler("cpu", init_scale=2.0**120)
    before = parameters(one.network)
    assert one.step([BAG], LABELS).overflows == 1
    assert torch.equal(parameters(one.network), before)
    assert one.lookahead.taken == int(one.averaged.n_averaged) == 0
