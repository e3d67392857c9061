"""What makes steps of gradients: the optimiser, what is done to gradients, averages of steps."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer, RAdam


def build_optimiser(
    module: nn.Module,
    learning_rate: float,
    weight_decay: float,
    kind: str = "adam",
    betas: Sequence[float] = (0.9, 0.999),
) -> Optimizer:
    """Return an optimiser of a module, with decay on tensors of several dimensions only.

    Parameters
    ----------
    kind : ``adam``, whose decay is in the gradient (L2); ``adamw`` or ``radam``, whose is beside
        it. RAdam (Liu et al., ICLR 2020) leaves the adaptive rate out while too few steps tell its
        variance; its decay is that of its authors' code.
    betas : decay of the averages of gradients and of their squares.
    """
    decayed = [p for p in module.parameters() if p.ndim > 1]
    plain = [p for p in module.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    usual = {"lr": learning_rate, "betas": tuple(betas)}
    if kind == "radam":
        return RAdam(groups, **usual, decoupled_weight_decay=True)
    return {"adam": Adam, "adamw": AdamW}[kind](groups, **usual, fused=True)


class Lookahead:
    r"""k steps forward, one step back (Zhang, Lucas, Hinton and Ba, NeurIPS 2019).

    After every k steps of an optimiser, slow weights :math:`\phi` go half of the way to its fast
    ones :math:`\theta`, which go on from there: :math:`\theta = \phi \leftarrow \phi + (\theta -
    \phi) / 2`. The optimiser keeps its averages.

    Parameters
    ----------
    parameters : those of the optimiser, as they start.
    steps : k.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], steps: int) -> None:
        self.fast = list(parameters)
        self.slow = [p.detach().clone() for p in self.fast]
        self.steps, self.taken = steps, 0

    @torch.no_grad()
    def step(self) -> None:
        """Take note of a step of the optimiser."""
        self.taken += 1
        if self.taken % self.steps:
            return
        for slow, fast in zip(self.slow, self.fast, strict=True):
            fast.copy_(slow.lerp_(fast, 0.5))

    def state_dict(self) -> dict[str, Any]:
        """Return the slow weights and how many steps were taken."""
        return {"slow": self.slow, "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        for slow, stored in zip(self.slow, state["slow"], strict=True):
            slow.copy_(stored)
        self.taken = state["taken"]


def clip_gradients(parts: Iterable[Sequence[Tensor]], most: float) -> None:
    """Scale the gradients of each part down to the norm ``most``, where theirs is larger."""
    for part in parts:
        nn.utils.clip_grad_norm_(part, most)


def clipped_parts(network: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters whose gradients have a norm together: ``BagModel.clipped_apart``.

    Parameters
    ----------
    network : a ``Network``; what its model names nowhere, and the head, is the last part.
    """
    named = [
        [p for name in names for p in getattr(network.model, name).parameters()]
        for names in network.model.clipped_apart
    ]
    taken = {id(p) for part in named for p in part}
    return [*named, [p for p in network.parameters() if id(p) not in taken]]


@torch.no_grad()
def add_l1_gradient(module: nn.Module, weight: float) -> None:
    """Add the gradient of ``weight * sum |p|``; parameters outside the loss's graph shrink too."""
    if weight == 0:
        return
    for parameter in module.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        parameter.grad.add_(parameter.sign(), alpha=weight)
