"""A model trained and judged on one algorithmic unit test (Raff and Holt, NeurIPS 2023)."""

import inspect
from dataclasses import replace

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from mil.bags import Bag, pack
from mil.datasets import BagDataset, false_frequency, multi_concept, single_concept
from mil.heads import HEADS
from mil.heads.base import Targets
from mil.models import MODELS
from mil.network import Network, build_network
from mil.seeds import seed_for
from mil.training.determinism import deterministic
from mil.training.step import Stepper

SETS = {
    "single concept": single_concept,
    "multi concept": multi_concept,
    "false frequency": false_frequency,
}
WIDTH = 16
SMALL = 64
"""Width of the networks, where a model has an option for it; nothing is dropped."""
GROUP = 100
"""Bags that are predicted at once."""


def unit_test(
    model: str,
    name: str,
    seed: int,
    *,
    train: int = 1000,
    test: int = 600,
    epochs: int = 12,
    learning_rate: float = 3e-3,
) -> tuple[float, float]:
    """Train a model on one of the `SETS` and return the AUC on its training and its test bags.

    Adam with a cosine schedule, 8 bags a step, with a single sigmoid (head ``classes``).

    Raises
    ------
    mil.problems.InputError : bags that the model cannot read.
    """
    sets = [
        SETS[name](bags, WIDTH, split=split, seed=seed)
        for bags, split in ((train, "train"), (test, "test"))
    ]
    with deterministic(torch.device("cpu"), seed_for(seed, "unit test", model, name)):
        network = build(model, sets[0])
        _train(network, sets[0], epochs, learning_rate)
        return tuple(auc(network, bags) for bags in sets)


def build(model: str, bags: BagDataset) -> Network:
    """Return an untrained small network of the model for one sigmoid."""
    known = inspect.signature(MODELS.find(model)).parameters
    small = {"hidden": SMALL, "out": SMALL, "dropout": 0.0}
    options = {key: value for key, value in small.items() if key in known}
    fitted = HEADS.find("classes").fit(bags.labels.double().numpy(), ["negative", "positive"])
    experiment = {"model": model, "head": "classes", "model_options": options}
    return build_network(experiment, WIDTH, fitted, standardise=False)


def auc(network: Network, bags: BagDataset) -> float:
    """Return the AUC of the network's outputs for the labels of the bags."""
    return float(roc_auc_score(bags.labels.numpy(), _outputs(network, bags).numpy()))


def _train(network: Network, bags: BagDataset, epochs: int, learning_rate: float) -> None:
    window = 8
    stepper = Stepper(
        network,
        None,
        learning_rate=learning_rate,
        weight_decay=0.0,
        l1=0.0,
        noise=torch.Generator(),
    )
    given = [with_structure(bag) for bag in bags]
    schedule = CosineAnnealingLR(stepper.optimiser, epochs * -(-len(bags) // window))
    for _ in range(epochs):
        for rows in torch.randperm(len(bags)).split(window):
            packed = pack([given[row] for row in rows])
            stepper.step([packed], Targets.of(bags.labels[rows]))
            schedule.step()


@torch.no_grad()
def _outputs(network: Network, bags: BagDataset) -> Tensor:
    network.eval()
    outputs = []
    for first in range(0, len(bags), GROUP):
        some = [with_structure(bags[i]) for i in range(first, min(first + GROUP, len(bags)))]
        noise = network.head.noise(len(some), 1, torch.Generator())
        output, _ = network(pack(some), noise)
        outputs.append(output.flatten(1).mean(1))  # over draws of random attention, if any
    return torch.cat(outputs)


def with_structure(bag: Bag) -> Bag:
    """Return a bag whose instances lie in a row, for models that read places, graphs or clusters.

    Their order is random, so this says nothing of the label: neighbours are those in the row, and
    instance n is in cluster n mod 8.
    """
    n = torch.arange(len(bag.features))
    edges = torch.stack([torch.cat([n[:-1], n[1:]]), torch.cat([n[1:], n[:-1]])])
    return replace(
        bag,
        coords=torch.stack([n, torch.zeros_like(n)], 1) * 1024,
        slide=torch.zeros_like(n),
        cluster=n % 8,
        edge_index=edges,
        edge_latent=edges,
    )
