"""One optimiser step: who learns from what."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from examples import SMALL_MODELS, example_bag, pairs
from torch.utils.flop_counter import FlopCounterMode

from mil.bags import pack
from mil.heads import head_names
from mil.heads.base import Labels, Targets
from mil.network import build_network
from mil.nn import instance_linear
from mil.nn.instance_linear import InstanceLinear
from mil.training.optimisers import build_optimiser
from mil.training.step import Stepper, StepRecord

BAG = pack([example_bag(32, seed=i, name=str(i)) for i in range(4)])
TARGETS = Targets.of([1, 0, 0, 1])
TIME, EVENT = np.array([5.0, 9.0, 3.0, 7.0]), np.array([1, 0, 1, 0])


def stepper(
    head="adversarial", l1=1e-5, precision=torch.float32, model="abmil", settings=None, **options
):
    torch.manual_seed(0)
    fitted = {"t_ref": 9.0, "edges": [0, 4.0, 6.0, float("inf")]}
    fitted |= {"classes": ["no", "yes"], "outputs": 1, "several": False, "weights": [1.0, 1.0]}
    fitted |= {"thresholds": [0.0], "mean": 2.0, "scale": 3.0}
    experiment = {"model": model, "head": head, "head_options": options}
    experiment["model_options"] = SMALL_MODELS.get(model, {})
    network = build_network(experiment, 24, fitted, standardise=False)
    return Stepper(
        network,
        network.head.opponent(24),
        learning_rate=1e-3,
        weight_decay=0.0,
        l1=l1,
        noise=torch.Generator().manual_seed(1),
        precision=precision,
        **(settings or {}),
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


def test_several_draws_train_the_generator_and_the_first_meets_the_opponent():
    """One pass of the model serves them all; what the discriminator learns from is one draw."""
    s = stepper(norm="crps", training_draws=3)
    passes, times = [], []
    s.network.model.register_forward_hook(lambda *_: passes.append(1))
    s.network.head.register_forward_hook(lambda *seen: times.append(seen[-1].detach()))
    judged = []
    s.discriminator.time.register_forward_pre_hook(lambda _, t: judged.append(t[0][:, 0].detach()))
    record = s.step([BAG], Labels.of(TIME, EVENT))
    assert [t.shape for t in times] == [(4, 1), (4, 3)]
    assert len(passes) == 2
    assert judged[0].equal(times[0][:, 0])
    assert judged[-1].equal(times[1][:, 0])
    assert record.loss == s.network.head.loss(times[1], Labels.of(TIME, EVENT)).item()
    alone = stepper(norm="crps", training_draws=3, adversarial_weight=0)
    assert alone.step([BAG], Labels.of(TIME, EVENT)).output.shape == (4, 3)


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
    groups = build_optimiser(stepper().network, 1e-3, 5e-4).param_groups
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
        optimiser = build_optimiser(layer, 0.1, 0.5, kind)
        layer.weight.grad, layer.bias.grad = torch.ones(1, 2), torch.ones(1)
        optimiser.step()
        moved[kind] = 1 - layer.weight[0, 0].item()
    assert moved["adam"] == pytest.approx(0.1, abs=1e-6)
    assert moved["adamw"] == pytest.approx(0.1 + 0.1 * 0.5, abs=1e-6)


@pytest.mark.parametrize(("model", "head"), pairs("adversarial", "cox"))
def test_products_of_the_first_layer_are_made_once_and_change_nothing(monkeypatch, model, head):
    """Both passes over a window have the same weights; the second takes the first's product."""
    states, work = [], []
    for room in (0, instance_linear.KEPT):
        monkeypatch.setattr(instance_linear, "KEPT", room)
        s = stepper(head, model=model)
        torch.manual_seed(2)  # the same dropout
        with FlopCounterMode(display=False) as counted:
            for _ in range(2):
                s.step(APART, Labels.of(TIME, EVENT))
        work.append(counted.get_total_flops())
        states.append([*s.network.parameters(), *(s.discriminator or s.network).parameters()])
        kept = [m for m in s.network.modules() if getattr(m, "products", None) is not None]
        assert not kept  # memory is given back
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    layers = [m for m in s.network.model.modules() if isinstance(m, InstanceLinear)]
    spared = sum(2 * 128 * layer.in_features * layer.out_features for layer in layers)
    assert work[0] - work[1] == 2 * spared


APART = [example_bag(32, seed=i, name=str(i)) for i in range(4)]


@pytest.mark.parametrize("head", head_names("survival"))
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


@pytest.mark.parametrize("head", ["classes", "ordinal", "regression"])
def test_a_window_of_classes_in_groups_has_the_gradients_of_the_whole(head):
    """Two patients without labels take part in no loss."""
    labels, seen = Targets.of([1, np.nan, 0, np.nan]), []
    for window in ([BAG], APART, [pack(APART[:3]), APART[3]]):
        s = stepper(head)
        for layer in s.network.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0
        record = s.step(window, labels)
        seen.append((gradients(s.network), record))
    for part, record in seen[1:]:
        for name, gradient in part.items():
            torch.testing.assert_close(gradient, seen[0][0][name], rtol=1e-5, atol=1e-6)
        assert record.loss == pytest.approx(seen[0][1].loss, rel=1e-5)
        assert record.output.shape == (4, 1)
    own = s.network.head.loss(record.output[[0, 2]], labels.at(torch.tensor([0, 2]))).item()
    assert record.loss == pytest.approx(own, rel=1e-5)
    assert s.step([BAG], Targets.of([np.nan] * 4)).skipped


@pytest.mark.parametrize(("model", "head"), pairs("cox", "nll", "time", "classes"))
def test_every_term_of_every_model_is_descended(model, head):
    """By hand, over one graph of all bags: outputs, auxiliary ones, penalties, instances."""
    labels = TARGETS if head == "classes" else Labels.of(TIME, EVENT)
    s, hand = stepper(head, l1=0.0, model=model), stepper(head, model=model)
    for one in (s.network, hand.network):
        one.double().eval()
        one.train = lambda mode=True, one=one: one  # nothing is dropped or drawn
    network, bag = hand.network, replace(BAG, features=BAG.features.double())
    output, embedding = network(bag, network.head.noise(4, 1, hand.noise))
    loss = network.model.bag_weight * network.head.loss(output, labels)
    other = embedding.auxiliary
    if other is not None:
        told = network.head.loss(network.head.read(other.logits), labels.at(other.bag))
        loss = loss + other.weight * told
    for penalty in embedding.penalties.values():
        loss = loss + penalty.mean()
    of_instances = network.model.instance_loss(embedding, bag, network.head.classes(labels))
    if of_instances is not None:
        loss = loss + of_instances.mean()
    network.zero_grad()
    loss.backward()

    groups = [pack(APART[:3]), APART[3]]
    s.step([replace(one, features=one.features.double()) for one in groups], labels)
    for name, gradient in gradients(s.network).items():
        expected = gradients(network)[name]
        if gradient is None:
            assert expected is None, name
            continue
        expected = torch.zeros_like(gradient) if expected is None else expected
        torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)


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


@pytest.mark.parametrize("ranking", [0.0, 2.0], ids=["alone", "ranked"])
@pytest.mark.parametrize("window", [[BAG], APART], ids=["together", "apart"])
def test_a_patient_without_labels_gives_a_generated_pair_and_no_more(window, ranking):
    """By hand: means of fakes over all four, of reals and of times over those with labels."""
    time, event = np.array([5.0, np.nan, 3.0, np.nan]), np.array([0, 0, 1, 0])
    labels = Labels.of(time, event)
    s, hand = (stepper(l1=0.0, ranking_weight=ranking) for _ in range(2))
    for module in (s.network, s.discriminator, hand.network, hand.discriminator):
        for layer in module.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0
    head, judge = hand.network.head, hand.discriminator
    noise = [head.noise(4, 1, hand.noise) for _ in range(2)]

    fake = hand.network(BAG, noise[0])[0][:, 0].detach()
    real = torch.tensor([3 / 9])
    loss = torch.nn.functional.softplus(judge(BAG, fake)).mean()
    loss = loss + torch.nn.functional.softplus(-judge(APART[2], real)).mean()
    judge.zero_grad()
    loss.backward()
    record = StepRecord()
    s.improve_discriminator(window, labels, record)
    assert record.discriminator_loss == pytest.approx(loss.item(), rel=1e-5)
    for name, gradient in gradients(s.discriminator).items():
        torch.testing.assert_close(gradient, gradients(judge)[name], rtol=1e-4, atol=1e-6)

    judge.load_state_dict(s.discriminator.state_dict())
    output = hand.network(BAG, noise[1])[0][:, 0]
    fitted = ((5 / 9 - output[0]).relu() + (output[2] - 3 / 9).abs()) / 2
    fitted = fitted + ranking * (head.ranking_margin + output[2] - output[0]).relu()
    adversarial = -0.004 * judge(BAG, output).mean()
    hand.network.zero_grad()
    (fitted + adversarial).backward()
    s.improve_network(window, labels, record)
    assert record.adversarial_loss == pytest.approx(adversarial.item(), rel=1e-5)
    assert record.loss == pytest.approx(fitted.item(), rel=1e-5)
    for name, gradient in gradients(s.network).items():
        torch.testing.assert_close(gradient, gradients(hand.network)[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ranking", [0.0, 2.0], ids=["alone", "ranked"])
@pytest.mark.parametrize("window", [[BAG], APART], ids=["together", "apart"])
def test_a_window_without_labels_is_trained_on_generated_times_only(window, ranking):
    s = stepper(ranking_weight=ranking, l1=0.0)
    before = state(s.network), state(s.discriminator)
    record = s.step(window, Labels.of(np.full(4, np.nan), np.zeros(4)))
    assert not record.skipped
    assert np.isnan([record.loss, record.real_accuracy]).all()
    assert np.isfinite([record.adversarial_loss, record.discriminator_loss]).all()
    for module, was in zip((s.network, s.discriminator), before, strict=True):
        assert changed(module, was)
        assert all(value.isfinite().all() for value in module.state_dict().values())
