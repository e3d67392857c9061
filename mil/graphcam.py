"""GraphCAM: which patches speak for an output of a head on GTP."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mil.bags import Bag
from mil.models.gtp import GTP, patches_of
from mil.nn.token_block import Steps, TokenBlock, rollout


def graph_cam(model: GTP, bag: Bag, linear: nn.Linear, output: int) -> Tensor:
    r"""Return how much each patch [N] speaks for an output of a linear head, not negative.

    Relevance of the output goes back through the transformer (Zheng et al., IEEE TMI 2022; the
    rules are those of Chefer, Gur and Wolf, CVPR 2021) to the attention :math:`A_l` of each layer:

    .. math::

        R_l = \mathrm{mean}_{\mathrm{heads}} \max(0, \nabla A_l \odot \mathrm{relevance}(A_l)),
        \qquad (I + R_L) \cdots (I + R_1)

    whose row of the class token, without itself, says so of the clusters; the assignment brings it
    to the patches. As in the original, what is differentiated is the output times its own value,
    and relevance starts at that value.

    Parameters
    ----------
    model : in evaluation mode.
    bag : as the network sees it; its bags one by one. Gradients are taken though the caller has
        switched them off.
    linear : the head's layer H -> C.
    output : which of C.
    """

    def maps(steps: list[Steps]) -> list[Tensor]:
        token = model.norm(steps[-1].y)[:, 0]  # [1, H]
        logit = linear(token)[0, output]
        slopes = torch.autograd.grad(logit * logit.detach(), [s.attention for s in steps])
        told = relevance(model.blocks, steps, token, linear, output)
        return [_positive(slope * part) for slope, part in zip(slopes, told, strict=True)]

    return _patches(model, bag, maps)


def gradient_rollout(model: GTP, bag: Bag, target: Callable[[Tensor], Tensor]) -> Tensor:
    """Return how much each patch [N] speaks for a target, by gradient times attention.

    The attention stands in the place of its relevance in ``graph_cam``, so any head will do.

    Parameters
    ----------
    model : in evaluation mode.
    bag : as the network sees it; its bags one by one.
    target : of a vector [1, H], a scalar tensor.
    """

    def maps(steps: list[Steps]) -> list[Tensor]:
        attention = [s.attention for s in steps]
        slopes = torch.autograd.grad(target(model.norm(steps[-1].y)[:, 0]), attention)
        return [_positive(slope * one) for slope, one in zip(slopes, attention, strict=True)]

    return _patches(model, bag, maps)


def _patches(model: GTP, bag: Bag, maps: Callable[[list[Steps]], list[Tensor]]) -> Tensor:
    """Return the rollout of the maps of each bag, on its patches."""
    with torch.no_grad():
        tokens, assignment, _ = model.clusters(bag)
    with torch.enable_grad():
        found = []
        for x in tokens.detach().split(1):
            steps, x = (
                [],
                x.requires_grad_(),
            )  # so that attention has a gradient, whatever is frozen
            for block in model.blocks:
                steps.append(block(x))
                x = steps[-1].y
            found.append(rollout([one.detach() for one in maps(steps)]))
    return patches_of(torch.cat(found), assignment, bag)


def _positive(product: Tensor) -> Tensor:
    return product.clamp(min=0).mean(1)  # [1, T, T]


def relevance(
    blocks: nn.ModuleList, steps: list[Steps], token: Tensor, linear: nn.Linear, output: int
) -> list[Tensor]:
    """Return the relevance [1, h, T, T] of every layer's attention for an output, in their order.

    Norms, GELU, ReLU and softmax pass relevance on unchanged.
    """
    with torch.no_grad():
        r = torch.zeros_like(linear(token))  # [1, C]
        r[0, output] = linear(token)[0, output]
        r_token = of_linear(token, linear.weight, r)
        r = torch.zeros_like(steps[-1].y)
        r[:, 0] = r_token
        found = []
        for block, one in zip(reversed(blocks), reversed(steps), strict=True):
            r, of_attention = _through(block, one, r)
            found.append(of_attention)
    return found[::-1]


def _through(block: TokenBlock, s: Steps, r: Tensor) -> tuple[Tensor, Tensor]:
    """Return the relevance of a block's tokens and of its attention, of that of its result."""
    r_u, r_moved = of_sum(s.u, s.moved, _of_layer(s.inside, block.leave, r))
    r_hidden = of_linear(s.hidden, block.second.weight, r_moved)
    r_u = r_u + of_linear(s.normed_u, block.first.weight, r_hidden)

    r_entered, r_projected = of_sum(s.entered, s.projected, r_u)
    r_heard = of_linear(s.heard, block.project.weight, r_projected)
    by_head = r_heard.unflatten(2, (block.heads, -1)).transpose(1, 2)  # [1, h, T, d]
    r_attention, r_v = of_product(s.attention, s.v, by_head)
    r_q, r_k = of_product(s.q, s.k.transpose(2, 3), r_attention)
    joined = torch.stack([r_q, r_k.transpose(2, 3), r_v], 3)  # [1, h, T, 3, d]
    r_qkv = joined.permute(0, 2, 3, 1, 4).flatten(2)  # [1, T, 3 I]
    r_x = _of_layer(s.x, block.enter, r_entered)
    return r_x + of_linear(s.normed, block.qkv.weight, r_qkv), r_attention


def _of_layer(x: Tensor, layer: nn.Module, r: Tensor) -> Tensor:
    """Return the relevance of the input of a layer that may be left out."""
    return r if isinstance(layer, nn.Identity) else of_linear(x, layer.weight, r)


def of_linear(x: Tensor, weight: Tensor, r: Tensor) -> Tensor:
    """Return the relevance of the input x of a linear layer, of that r of its output."""
    up, down = (x.clamp(min=0), weight.clamp(min=0)), (x.clamp(max=0), weight.clamp(max=0))
    share = _share(r, up[0] @ up[1].T + down[0] @ down[1].T)
    return up[0] * (share @ up[1]) + down[0] * (share @ down[1])


def of_sum(a: Tensor, b: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Return the relevance of both terms of a + b; their sums are as the sizes of their shares."""
    share = _share(r, a + b)
    parts = a * share, b * share
    sums = [part.sum() for part in parts]
    size = sums[0].abs() + sums[1].abs()
    return tuple(
        part * _share(r.sum() * total.abs(), size * total)
        for part, total in zip(parts, sums, strict=True)
    )


def of_product(p: Tensor, q: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Return the relevance of both factors of p q, half of it each."""
    share = _share(r, p @ q)
    return p * (share @ q.transpose(-1, -2)) / 2, q * (p.transpose(-1, -2) @ share) / 2


def _share(r: Tensor, total: Tensor) -> Tensor:
    """Return r / total, 0 where the total is."""
    return torch.where(total == 0, 0, r / torch.where(total == 0, 1, total))
