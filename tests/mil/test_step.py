"""One optimiser step: who learns from what."""

import numpy as np
import pytest
import torch
from examples import example_bag

from mil.bags import pack
from mil.heads import head_names
from mil.heads.base import Labels
from mil.network import build_network
from mil.training.step import Stepper, StepRecord, adam

BAG = pack([example_bag(32, seed=i, name=str(i)) for i in range(4)])
TIME, EVENT = np.array([5.0, 9.0, 3.0, 7.0]), np.array([1, 0, 1, 0])


def stepper(head="adversarial", l1=1e-5, precision=torch.float32, **options):
    torch.manual_seed(0)
    fitted = {"t_ref": 9.0, "edges": [0, 4.0, 6.0, float("inf")]}
    experiment = {"model": "abmil", "head": head, "head_options": options}
    network = build_network(experiment, 24, fitted, standardise=False)
    return Stepper(
        network,
        network.head.opponent(24),
        learning_rate=1e-3,
        weight_decay=0.0,
        l1=l1,
        noise=torch.Generator().manual_seed(1),
        precision=precision,
    )


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module, before):
    return [n for n, value in module.state_dict().items() if not torch.equal(value, before[n])]


def gradients(module):
    return {n: None if p.grad is None else p.grad.clone() for n, p in module.named_parameters()}


def test_discriminator_and_network_learn_in_turn():
    s = stepper()
    labels = Labels.of(TIME, EVENT)
    network, judge = state(s.network), state(s.discriminator)
    s.improve_discriminator([BAG], labels, StepRecord())
    assert changed(s.network, network) == []
    assert all(p.grad is None for p in s.network.parameters())
    assert set(changed(s.discriminator, judge)) == set(judge)

    judge, grads = state(s.discriminator), gradients(s.discriminator)
    s.improve_network([BAG], labels, StepRecord())
    assert changed(s.discriminator, judge) == []
    for name, gradient in gradients(s.discriminator).items():
        torch.testing.assert_close(gradient, grads[name], rtol=0, atol=0)
    assert set(changed(s.network, network)) == set(network)
    assert all(p.requires_grad for p in s.discriminator.parameters())


def test_modes_of_the_two_halves():
    s = stepper()
    modes = []
    s.network.model.register_forward_pre_hook(lambda m, _: modes.append(("network", m.training)))
    s.discriminator.embed.register_forward_pre_hook(lambda m, _: modes.append(("d", m.training)))
    s.step([BAG], Labels.of(TIME, EVENT))
    assert modes == [("network", False), ("d", True), ("network", True), ("d", False)]


def test_censored_times_are_no_real_pairs():
    """The discriminator must not see when a censored patient was last seen."""
    a, b = stepper(), stepper()
    other = TIME.copy()
    other[EVENT == 0] = [2.0, 8.5]
    for s, time in ((a, TIME), (b, other)):
        torch.manual_seed(2)  # the same dropout
        s.improve_discriminator([BAG], Labels.of(time, EVENT), StepRecord())
    for name, value in b.discriminator.state_dict().items():
        torch.testing.assert_close(value, a.discriminator.state_dict()[name], rtol=0, atol=0)


def test_without_events_the_discriminator_learns_from_fakes_only():
    s = stepper()
    record = s.step([BAG], Labels.of(TIME, np.zeros(4)))
    assert np.isnan(record.real_accuracy)
    assert np.isfinite(record.discriminator_loss)


def test_the_adversarial_term_reaches_the_network():
    """A heavier discriminator changes the network's step, and weight 0 removes it."""
    steps = {}
    for weight in (0.0, 0.004, 10.0):
        s = stepper(adversarial_weight=weight)
        s.improve_network([BAG], Labels.of(TIME, EVENT), StepRecord())
        assert (s.discriminator is None) == (weight == 0)
        steps[weight] = gradients(s.network)["head.layers.1.weight"]
    assert not torch.allclose(steps[0.0], steps[10.0])


def test_the_generator_may_take_several_steps_for_one_of_its_opponent():
    s = stepper(generator_updates=3)
    steps = {"network": 0, "discriminator": 0}
    for name, optimiser in (("network", s.optimiser), ("discriminator", s.discriminator_optimiser)):
        optimiser.register_step_post_hook(
            lambda *_, name=name: steps.__setitem__(name, steps[name] + 1)
        )
    once = stepper()
    records = []
    for x in (s, once):
        torch.manual_seed(2)  # the same dropout
        records.append(x.step([BAG], Labels.of(TIME, EVENT)))
    assert steps == {"network": 3, "discriminator": 1}
    assert records[0].discriminator_loss == records[1].discriminator_loss
    assert records[0].output.equal(records[1].output)  # what the step saw before its updates


def test_a_window_without_a_usable_event_changes_nothing():
    s = stepper("cox")
    before = state(s.network)
    assert s.step([BAG], Labels.of(TIME, np.zeros(4))).skipped
    assert changed(s.network, before) == []


@pytest.mark.parametrize("head", ["adversarial", "cox", "nll"])
def test_l1_is_added_to_every_parameter(head):
    plain, shrunk = stepper(head, l1=0.0), stepper(head, l1=0.5)
    for s in (plain, shrunk):
        torch.manual_seed(3)
        s.step([BAG], Labels.of(TIME, EVENT))
    start = stepper(head).network.state_dict()
    for name, gradient in gradients(shrunk.network).items():
        expected = gradients(plain.network)[name] + 0.5 * start[name].sign()
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_weight_decay_spares_biases():
    groups = adam(stepper().network, 1e-3, 5e-4).param_groups
    assert [group["weight_decay"] for group in groups] == [5e-4, 0.0]
    assert all(p.ndim > 1 for p in groups[0]["params"])
    assert all(p.ndim <= 1 for p in groups[1]["params"])


def test_decay_of_adamw_is_beside_the_gradient():
    """A first step of Adam is the rate times the gradient's sign, whatever decay adds to it."""
    moved = {}
    for kind in ("adam", "adamw"):
        layer = torch.nn.Linear(2, 1)
        with torch.no_grad():
            layer.weight.fill_(1.0)
        optimiser = adam(layer, 0.1, 0.5, kind)
        layer.weight.grad, layer.bias.grad = torch.ones(1, 2), torch.ones(1)
        optimiser.step()
        moved[kind] = 1 - layer.weight[0, 0].item()
    assert moved["adam"] == pytest.approx(0.1, abs=1e-6)
    assert moved["adamw"] == pytest.approx(0.1 + 0.1 * 0.5, abs=1e-6)


APART = [example_bag(32, seed=i, name=str(i)) for i in range(4)]


@pytest.mark.parametrize("head", head_names())
@pytest.mark.parametrize("event", [EVENT, np.array([0, 1, 0, 0])], ids=["events", "one event"])
@pytest.mark.parametrize("ranking", [0.0, 2.0], ids=["alone", "ranked"])
def test_a_window_in_groups_has_the_gradients_of_the_whole(head, event, ranking):
    labels = Labels.of(TIME, event)
    seen = []
    for window in ([BAG], APART, [pack(APART[:3]), APART[3]]):
        s = stepper(head, ranking_weight=ranking)
        for module in (s.network, s.discriminator or s.network):
            for layer in module.modules():
                if isinstance(layer, torch.nn.Dropout):
                    layer.p = 0.0  # it would draw in another order
        record = s.step(window, labels)
        parts = [gradients(s.network)]
        parts += [gradients(s.discriminator)] if s.discriminator else []
        seen.append((parts, record))
    for parts, record in seen[1:]:
        for part, whole in zip(parts, seen[0][0], strict=True):
            for name, gradient in part.items():
                torch.testing.assert_close(gradient, whole[name], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(record.output, seen[0][1].output)
        for name in ("loss", "adversarial_loss", "discriminator_loss", "real_accuracy"):
            expected = getattr(seen[0][1], name)
            assert getattr(record, name) == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_both_passes_of_a_comparing_loss_have_the_same_dropout():
    labels = Labels.of(TIME, EVENT)
    s, whole = stepper("cox", l1=0.0), stepper("cox")
    torch.manual_seed(5)
    record = s.step(APART, labels)
    assert record.loss == s.network.head.loss(record.output, labels).item()

    torch.manual_seed(5)
    output = torch.cat([whole.network.train()(bag, None)[0] for bag in APART])  # one graph
    whole.network.head.loss(output, labels).backward()
    for name, gradient in gradients(s.network).items():
        expected = gradients(whole.network)[name]
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)
