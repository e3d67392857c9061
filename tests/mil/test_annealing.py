"""Weights of penalties over the steps of a training."""

import numpy as np
import pytest
import torch
from examples import example_bag

from mil.annealing import Annealing, annealings
from mil.bags import pack
from mil.config import ConfigError, load_config
from mil.heads.base import Labels
from mil.network import build_network
from mil.problems import InputError
from mil.training.step import Stepper

SCHEMA = "schemas/config.schema.yaml"
BAG = pack([example_bag(32, seed=i, name=str(i)) for i in range(4)])
LABELS = Labels.of(np.array([5.0, 9.0, 3.0, 7.0]), np.array([1, 0, 1, 0]))


def weights(many, **keys):
    return [Annealing(**keys).weight(step) for step in range(many)]


def test_a_constant_stays():
    assert weights(3, schedule="constant", start=5.0, end=0.2) == [0.2] * 3


def test_a_line_stays_at_its_end():
    assert weights(7, start=1.0, end=3.0, steps=4) == [1.0, 1.5, 2.0, 2.5, 3.0, 3.0, 3.0]
    assert weights(4, start=1.0, end=0.0, steps=2, warmup=1) == [1.0, 1.0, 0.5, 0.0]
    assert weights(2, steps=1) == [0.0, 1.0]


def test_a_cycle_begins_anew():
    found = weights(13, schedule="cyclical", start=1.0, end=3.0, steps=5, ramp=0.4, warmup=2)
    cycle = [1.0, 2.0, 3.0, 3.0, 3.0]
    assert found == [1.0, 1.0, *cycle, *cycle, 1.0]


def stepper(model="vaeabmil", **given):
    torch.manual_seed(0)
    experiment = {"model": model, "head": "cox", "model_options": {"sizes": "8-4"}}
    network = build_network(experiment, 24, {}, standardise=False)
    return Stepper(
        network,
        None,
        learning_rate=1e-3,
        weight_decay=0.0,
        l1=0.0,
        noise=torch.Generator().manual_seed(1),
        annealing=annealings(given, model, network.model.terms),
    )


def of_decoder(one):
    """Gradient of a layer that only nll reaches."""
    torch.manual_seed(2)  # the same draws
    one.step([BAG], LABELS)
    return one.network.model.autoencoder.decoder[-1].weight.grad.clone()


def test_a_penalty_is_multiplied():
    """The first of two steps has half the weight; a penalty that is not named has 1."""
    full = of_decoder(stepper())
    half = stepper(nll={"from": 0.5, "to": 0.0, "steps": 1})
    torch.testing.assert_close(of_decoder(half), full / 2)
    assert not of_decoder(half).any()
    torch.testing.assert_close(of_decoder(stepper(kl={"schedule": "constant"})), full)


def test_a_training_goes_on_at_the_weight_where_it_was():
    keys = {"nll": {"from": 0.0, "to": 1.0, "steps": 2}}
    one, other = stepper(**keys), stepper(**keys)
    of_decoder(one)
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(of_decoder(other), of_decoder(one), rtol=0, atol=0)
    assert other.steps == 2


def test_wrong_schedules_are_sentences():
    for given, sentence in (
        (
            {"kll": {}},
            r"has 'kll', but model vaeabmil has no such term of the loss; its .* mean kl",
        ),
        ({"kl": {"step": 3}}, r"annealing.kl has no key 'step'; did you mean steps"),
        ({"kl": {"schedule": "liner"}}, r"kl.schedule is 'liner'; did you mean linear"),
        ({"kl": {"steps": 0}}, r"kl.steps is 0; it must be 1 or more"),
        ({"kl": {"ramp": 0}}, r"kl.ramp is 0; it must be above 0 and at most 1"),
    ):
        with pytest.raises(InputError, match=sentence):
            annealings(given, "vaeabmil", ("nll", "kl"))


def test_the_configuration_knows_the_penalties_of_models():
    entry = {"name": "a", "model": "vaeabmil", "head": "cox", "training": {"annealing": {"kl": {}}}}
    load_config({"experiments": [entry]}, SCHEMA)
    with pytest.raises(ConfigError, match=r"experiments\[0\]: .*'kl', but model abmil .* has none"):
        load_config({"experiments": [entry | {"model": "abmil"}]}, SCHEMA)
    with pytest.raises(ConfigError, match=r"experiments\[0\]: .*'ortho', but model vaeabmil"):
        load_config(
            {"training": {"annealing": {"ortho": {}}}, "experiments": [entry | {"training": {}}]},
            SCHEMA,
        )
