"""The smoothing operator Sm: values of nodes that should differ little from their neighbours'."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mil.nn.adjacency import Adjacency
from mil.nn.segments import at_least_single, segment_ids, segment_sum
from mil.problems import InputError, did_you_mean

MODES = ("approximate", "exact")


class Smooth(nn.Module):
    r"""Trade staying close to U against a small Dirichlet energy (Castro-Macias et al., 2024).

    .. math::

        \mathrm{Sm}(U) = \arg\min_G \|G - U\|^2 + \gamma\, \mathrm{tr}(G^\top L G)
        = (I + \gamma L)^{-1} U, \qquad L = I - \hat A, \quad \hat A = D^{-1/2} A D^{-1/2}

    with :math:`\alpha = \gamma / (1 + \gamma)`, the weight of the neighbours. The exact mode solves
    this by conjugate gradients; the approximate one takes T steps of the fixed point
    :math:`G \leftarrow \alpha \hat A G + (1 - \alpha) U` from G = U. Both are linear in U and
    symmetric, :math:`\langle V, \mathrm{Sm}(U) \rangle = \langle \mathrm{Sm}(V), U \rangle`, so the
    gradient by U is Sm of the gradient and no step is stored. A node without edges has
    :math:`(1 - \alpha) U = U / (1 + \gamma)` in both.

    torchmil takes a fixed alpha for the neighbours' weight in its exact mode and for U's in the
    other, and its learnt coefficient (gamma exactly, 1 / gamma approximately) may become negative.
    Here alpha is a sigmoid in both.

    Parameters
    ----------
    mode : ``approximate`` or ``exact``.
    steps : T; the exact mode does not read it.
    alpha : above 0 and below 1, at the start or for good.
    learnt : alpha is learnt.

    Shapes
    ------
    u [N, ...], a symmetrically normalised graph of N nodes, offsets [B + 1] of bags that no edge
    crosses -> [N, ...]. Bags do not know of each other in either mode.

    Raises
    ------
    mil.problems.InputError : no such mode, or alpha out of range.
    ValueError : a graph that is not symmetric.
    """

    def __init__(
        self,
        mode: str = "approximate",
        steps: int = 10,
        alpha: float = 0.5,
        learnt: bool = True,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            hint = did_you_mean(mode, MODES) or "."
            raise InputError(
                [f"mode of smoothing is {mode!r}{hint} It must be {' or '.join(MODES)}."]
            )
        if not 0 < alpha < 1:
            raise InputError([f"alpha of smoothing is {alpha}; it must be above 0 and below 1."])
        self.mode, self.steps = mode, steps
        logit = torch.tensor(math.log(alpha) - math.log1p(-alpha))
        if learnt:
            self.logit = nn.Parameter(logit)
        else:
            self.register_buffer("logit", logit)

    def forward(self, u: Tensor, graph: Adjacency, offsets: Tensor) -> Tensor:
        """Return the smoothed values [N, ...], in float32 or better."""
        if not graph.symmetric:
            raise ValueError("smoothing needs a symmetric graph; take graph.normalised('sym').")
        with torch.autocast(u.device.type, enabled=False):
            flat = at_least_single(u).flatten(1) if u.ndim > 1 else at_least_single(u).unsqueeze(1)
            alpha = self.logit.sigmoid().to(flat.dtype)
            if self.mode == "exact":
                smoothed = _Exact.apply(flat, alpha / (1 - alpha), graph, offsets)
            else:
                smoothed = _Approximate.apply(flat, alpha, graph, self.steps)
        return smoothed.view_as(u)


class _Approximate(torch.autograd.Function):
    """T steps of the fixed point; the same recursion for the gradient by U.

    That by alpha is <g, P_T> with P_t = dG_t / d alpha, so P_0 = 0 and
    P_{t+1} = A (alpha P_t + G_t) - U; G is made again for it.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, alpha: Tensor, graph: Adjacency, steps: int) -> Tensor:
        ctx.save_for_backward(u if ctx.needs_input_grad[1] else None, alpha)
        ctx.graph, ctx.steps = graph, steps
        return _recursion(u, alpha, graph, steps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, alpha = ctx.saved_tensors
        graph = ctx.graph
        grad_u = _recursion(grad, alpha, graph, ctx.steps) if ctx.needs_input_grad[0] else None
        if u is None:
            return grad_u, None, None, None
        g, p = u, torch.zeros_like(u)
        for _ in range(ctx.steps):
            p = graph.product(alpha * p + g).sub_(u)
            g = graph.product(g).mul_(alpha).add_((1 - alpha) * u)
        return grad_u, (grad * p).sum(), None, None


def _recursion(u: Tensor, alpha: Tensor, graph: Adjacency, steps: int) -> Tensor:
    g, stay = u, (1 - alpha) * u
    for _ in range(steps):
        g = graph.product(g).mul_(alpha).add_(stay)
    return g if steps else u.clone()


class _Exact(torch.autograd.Function):
    """The solution G of (I + gamma L) G = U; of the same system for the gradient by U.

    With V the solution for the gradient g, that by gamma is -<V, L G>.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, gamma: Tensor, graph: Adjacency, offsets: Tensor) -> Tensor:
        solved = conjugate_gradients(u, gamma, graph, offsets)
        ctx.save_for_backward(solved, gamma, offsets)
        ctx.graph = graph
        return solved

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        solved, gamma, offsets = ctx.saved_tensors
        v = conjugate_gradients(grad, gamma, ctx.graph, offsets)
        if not ctx.needs_input_grad[1]:
            return v, None, None, None
        return v, -(v * (solved - ctx.graph.product(solved))).sum(), None, None


def conjugate_gradients(u: Tensor, gamma: Tensor, graph: Adjacency, offsets: Tensor) -> Tensor:
    """Solve (I + gamma L) G = U [N, F], columns of bags one by one (Hestenes and Stiefel, 1952).

    Eigenvalues lie between 1 and 1 + 2 gamma, which bounds the steps: 15 for gamma = 1 and 41 for
    gamma = 10 in float32. A column whose residual is at the rounding error of its type stands still
    from then on, so that no bag depends on how long another takes.
    """
    accuracy = torch.finfo(u.dtype).eps
    root = math.sqrt(1 + 2 * float(gamma))
    rate = (root - 1) / (root + 1)
    most = 1 + math.ceil(math.log(accuracy / 2) / math.log(max(rate, accuracy)))
    rows = segment_ids(offsets)
    solution, residual, direction = torch.zeros_like(u), u.clone(), u.clone()
    size = segment_sum(residual.square(), offsets)  # [B, F]
    enough = size * accuracy**2
    for _ in range(most):
        going = size > enough
        if not going.any():
            break
        moved = direction + gamma * (direction - graph.product(direction))
        length = size / segment_sum(direction * moved, offsets)
        length = torch.where(going, length, 0)[rows]  # [N, F]
        solution += length * direction
        residual -= length * moved
        before, size = size, segment_sum(residual.square(), offsets)
        turn = torch.where(going, size / before, 0)[rows]
        direction = residual + turn * direction
    return solution
