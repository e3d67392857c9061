r"""What each instance adds to the prediction: signed, which attention is not.

A model that ends in attention pooling has the vector :math:`z = \sum_n a_n x_n` before its last
layers. For an output t,

.. math:: c_n = a_n \Big( \frac{\partial t}{\partial z} \cdot x_n \Big)

is the contribution of instance n. Under a head of one linear layer, :math:`t = w \cdot z + b`, it
is :math:`a_n (w \cdot x_n)`: contributions add up to the logit less its bias, exactly. Under layers
with a bend they add up to the linear part of t around this bag, whose slope the derivative is: to
first order, what raising the weight of an instance does to the output.

What x is depends on the model: a patch as such (``abmil``), one that has heard from its neighbours
(``patchgcn``), or a region or cluster that the patch is part of (``esat``, ``deepattnmisl``).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mil.models.base import Embedding
from mil.network import Network
from mil.nn.segments import at_least_single, bag_softmax, segment_sum

RISK = "risk"


@dataclass(frozen=True)
class Contributions:
    """Contributions of N instances to each of K outputs.

    Shapes
    ------
    values [N, K]: positive raises the output.

    Attributes
    ----------
    towards : the outputs: ``("risk",)``, higher is worse, or, of a head with one linear layer, the
        classes of its logits; an output without a name is called so.
    exact : they add up to the logit less its bias; otherwise they hold to first order, or are of
        the vector's part alone in a prediction that auxiliary outputs have a part in.
    """

    values: Tensor
    towards: tuple[str, ...]
    exact: bool


def contributions(
    network: Network, embedding: Embedding, offsets: Tensor, noise: Tensor
) -> Contributions | None:
    """Return what the instances contribute, or None where the model has no attention pooling.

    Only the layers after the pooling are run again: the cost is O(N H), without a graph of the
    instances.

    Parameters
    ----------
    network : in evaluation mode.
    embedding : what its model made of the bags.
    offsets : [B + 1], of the bags.
    noise : [B, S, W], what the prediction was made with.
    """
    if embedding.pooled is None:
        return None
    weights = _weights(embedding, offsets)  # [N, C], C branches of attention
    x = at_least_single(embedding.pooled.detach())  # [N, H]
    branches = [segment_sum(one.unsqueeze(1) * x, offsets) for one in weights.unbind(1)]
    average = branches[0] if embedding.class_scores is None else torch.stack(branches, 1)
    slopes, towards = _slopes(network, average, noise)  # [K, B, H] or [K, B, C, H]
    slopes = slopes.view(len(slopes), len(average), len(branches), -1)
    sizes = offsets.diff().tolist()
    rows = zip(x.split(sizes), weights.split(sizes), slopes.unbind(1), strict=True)
    values = [
        (torch.einsum("nh,kch->nkc", one, slope) * share.unsqueeze(1)).sum(2)
        for one, share, slope in rows
    ]
    alone = embedding.auxiliary is None or not embedding.auxiliary.predicts
    exact = hasattr(network.head, "linear") and not network.model.bends and alone
    return Contributions(torch.cat(values), towards, exact)


def _weights(embedding: Embedding, offsets: Tensor) -> Tensor:
    """Return the weights [N, C] of instances in each average; of random attention the mean draw."""
    if embedding.samples is not None:
        return at_least_single(embedding.samples.detach()).mean(1, keepdim=True)
    if embedding.class_scores is not None:
        return bag_softmax(embedding.class_scores.detach(), offsets)
    return bag_softmax(embedding.scores.detach(), offsets).unsqueeze(1)


@torch.enable_grad()
def _slopes(network: Network, average: Tensor, noise: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Return the gradients [K, *average.shape] of the outputs, and their names."""
    average = average.detach().requires_grad_()
    vector = network.model.after_pooling(average)
    if hasattr(network.head, "linear"):
        outputs = network.head.linear(vector)  # [B, K]
        towards = _names(network.head, outputs.shape[1])
    else:
        outputs = network.head.explained(network.head(vector, noise).cpu()).unsqueeze(1)  # [B, 1]
        towards = (RISK,)
    slopes = [
        torch.autograd.grad(output.sum(), average, retain_graph=True)[0]
        for output in outputs.unbind(1)
    ]
    return torch.stack(slopes), towards


def _names(head: nn.Module, outputs: int) -> tuple[str, ...]:
    """Return the names of a linear head's logits; a single one of two classes is of the second."""
    names = tuple(getattr(head, "names", ()))
    if len(names) == outputs:
        return names
    if outputs == 1:
        return names[1:] if len(names) == 2 else ("output",)
    return tuple(f"output {k}" for k in range(outputs))
