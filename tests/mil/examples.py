"""Example bags, and the fill rule of the golden values."""

import numpy as np
import torch

from mil.bags import Bag
from mil.models import MODELS, model_names


def example_bag(instances=64, width=24, seed=0, name="A"):
    """One bag with everything a model may ask for: grid coords, a directed ring graph, clusters."""
    random = np.random.RandomState(seed)
    n = np.arange(instances)
    edges = np.stack([np.concatenate([n, n]), np.concatenate([n + 1, n * n + 5]) % instances])
    return Bag.single(
        torch.from_numpy(random.standard_normal((instances, width)).astype(np.float32)),
        name,
        coords=torch.from_numpy(np.stack([n % 8, n // 8], 1) * 1024),
        edge_index=torch.from_numpy(edges),
        edge_latent=torch.from_numpy(edges[::-1].copy()),
        cluster=torch.from_numpy(n % 8),
    )


def reordered(bag, order):
    """The same bag with its instances in another order; edges follow."""
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    return Bag.single(
        bag.features[order],
        *bag.ids,
        coords=bag.coords[order],
        edge_index=place[bag.edge_index],
        edge_latent=place[bag.edge_latent],
        cluster=bag.cluster[order],
    )


def pairs(*heads):
    """Every model with each of the heads; without a layer of its own noise has nowhere to go."""
    return [
        (model, head)
        for model in model_names()
        for head in heads
        if not (head == "adversarial" and MODELS.find(model).gives_outputs)
    ]


SMALL_MODELS = {
    "camil": {"hidden": 32, "heads": 4, "keys": 16},
    "esat": {"hidden": 32, "heads": 4},
    "gtp": {"clusters": 8, "layers": 1},
    "iib_mil": {"hidden": 16, "stages": 1},
    "setmil": {"reduced": 16, "pyramid": 16, "layers": 1, "heads": 4},
    "sm_transformer_abmil": {"hidden": 32, "heads": 4},
    "transformer_abmil": {"hidden": 32, "heads": 4},
    "transformer_prob_smooth_abmil": {"hidden": 32, "heads": 4},
    "transmil": {"hidden": 32, "heads": 4},
    "vaeabmil": {"sizes": "32-16"},
}
"""Options by which large models are quick, for tests of what surrounds them."""


def every_term(model, bag, outputs):
    """The sum of all that a step may descend, with a smooth loss of the outputs."""
    embedding = model(bag)
    loss = embedding.vector.square().sum()
    for penalty in embedding.penalties.values():
        loss = loss + penalty.sum()
    if embedding.auxiliary is not None:
        loss = loss + embedding.auxiliary.logits.square().sum()
    of_instances = model.instance_loss(embedding, bag, torch.arange(len(bag)) % outputs)
    return loss if of_instances is None else loss + of_instances.sum()


def golden_input(p, width=1024):
    return np.maximum(np.random.RandomState(7 + p).standard_normal((64, width)), 0)


def golden_fill(module, names, norm_weights=()):
    """Fill a module's parameters by the rule of the specifications.

    `names` maps the original's names to ours: of a layer, for its weight and bias, or of a single
    parameter; None for a layer that we leave out. The k-th original name in sorted order is filled
    from RandomState(1000 + k), whether we have it or not.
    """
    parameters = dict(module.named_parameters())
    full = {}
    for original, ours in names.items():
        if ours in parameters:
            full[original] = ours
        else:
            for kind in ("weight", "bias"):
                full[f"{original}.{kind}"] = ours and f"{ours}.{kind}"
    assert sorted(filter(None, full.values())) == sorted(parameters)
    with torch.no_grad():
        for k, original in enumerate(sorted(full)):
            if full[original] is None:
                continue
            parameter = parameters[full[original]]
            g = np.random.RandomState(1000 + k).standard_normal(tuple(parameter.shape))
            if parameter.ndim >= 2:
                g = g / np.sqrt(np.prod(parameter.shape[1:]))
            elif original in norm_weights:
                g = 1 + 0.1 * g
            elif original.endswith("conv.t"):  # the temperature of a graph convolution
                g = 1 + 0.2 * g
            else:
                g = 0.1 * g
            parameter.copy_(torch.from_numpy(g))
