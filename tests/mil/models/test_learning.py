"""What every registered model learns: by right gradients, anything at all, and what lasts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from examples import SMALL_MODELS, every_term, example_bag
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mil.bags import pack
from mil.datasets import bags_of_samples
from mil.models import build_model, model_names

WIDTH = 24
WITHOUT_STOPS = {"dtfd": {"joint": True}}
"""Options with which a model's gradient is that of its loss; others stop it on purpose."""


@pytest.mark.parametrize("name", model_names())
def test_gradient_is_the_slope_of_the_loss(name):
    """In float64 along a random direction of all parameters and features together."""
    torch.manual_seed(0)
    model = build_model(name, WIDTH, outputs=3, **WITHOUT_STOPS.get(name, {})).double().eval()
    bag = pack([example_bag(n, WIDTH, seed=n, name=str(n)) for n in (16, 32)])
    places = [bag.features.double().requires_grad_(), *model.parameters()]
    found = torch.autograd.grad(
        every_term(model, replace(bag, features=places[0]), 3), places, allow_unused=True
    )
    directions = [torch.randn_like(place) for place in places]
    expected = sum(
        (g * d).sum().item() for g, d in zip(found, directions, strict=True) if g is not None
    )

    def loss_at(step):
        with torch.no_grad():
            for place, direction in zip(places, directions, strict=True):
                place += step * direction
            value = every_term(model, replace(bag, features=places[0]), 3).item()
            for place, direction in zip(places, directions, strict=True):
                place -= step * direction
        return value

    step = 1e-7  # few of the many kinks of ReLU lie so near
    slope = (loss_at(step) - loss_at(-step)) / (2 * step)
    assert slope == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", model_names())
def test_eight_random_bags_are_learnt_by_heart(name):
    torch.manual_seed(0)
    model = build_model(name, WIDTH, **SMALL_MODELS.get(name, {}))
    linear = nn.Identity() if model.gives_outputs else nn.Linear(model.out_dim, 1)
    network = nn.ModuleList([model, linear]).eval()  # nothing dropped, nothing drawn
    bag = pack([example_bag(16, WIDTH, seed, str(seed)) for seed in range(8)])
    target = torch.tensor([1.0, 1, 0, 1, 0, 0, 1, 0])
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(300):
        embedding = model(bag)
        logit = linear(embedding.vector)[:, 0]
        if (((logit > 0) == (target > 0)) & (logit.abs() > 0.25)).all():
            return
        loss = binary_cross_entropy_with_logits(logit, target)
        if embedding.auxiliary is not None:
            others = embedding.auxiliary.logits[:, 0]
            loss = loss + binary_cross_entropy_with_logits(others, target[embedding.auxiliary.bag])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    pytest.fail(f"after 300 steps the outputs are {logit.tolist()}")


def digits(seed, bags=80):
    """Bags of 16 samples of ten classes; those with a sample of the last one are positive."""
    centres = 4 * np.random.RandomState(0).standard_normal((10, WIDTH))
    classes = np.repeat(np.arange(10), 100)
    samples = centres[classes] + np.random.RandomState(seed).standard_normal((1000, WIDTH))
    bags = bags_of_samples(samples.astype(np.float32), classes, {9}, bags, size=16, seed=seed)
    structure = example_bag(16, WIDTH)  # places, graph and clusters that say nothing of the label
    return [replace(structure, features=b.features, label=b.label, ids=b.ids) for b in bags]


@pytest.mark.parametrize("name", [name for name in model_names() if name != "linear"])
def test_a_kind_of_instance_is_found_in_other_bags(name):
    """Specification 7.11: the bags of 4.3, made of samples that were not in training.

    A linear probe on the mean stays below: one instance of 16 moves it less than the others do.
    """
    torch.manual_seed(0)
    model = build_model(name, WIDTH, **SMALL_MODELS.get(name, {}))
    linear = nn.Identity() if model.gives_outputs else nn.Linear(model.out_dim, 1)
    network = nn.ModuleList([model, linear])
    few = 240 if name == "deepgraphsurv" else 80  # it smooths over neighbours that say nothing
    train, test = digits(seed=1, bags=few), pack(digits(seed=2))
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    found = []
    for _ in range(30):
        network.train()
        for rows in torch.randperm(len(train)).split(20):
            bag = pack([train[row] for row in rows])
            embedding = model(bag)
            logits, target = linear(embedding.vector)[:, 0], bag.label.float()
            loss = binary_cross_entropy_with_logits(logits, target)
            if embedding.auxiliary is not None:
                others, of = embedding.auxiliary.logits[:, 0], embedding.auxiliary.bag
                loss = loss + binary_cross_entropy_with_logits(others, target[of])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        network.eval()
        with torch.no_grad():
            told = linear(model(test).vector)[:, 0]
        found.append(round(roc_auc_score(test.label, told), 3))
        if found[-1] > 0.95:
            return
    pytest.fail(f"the AUC on other bags went {found}")
