"""Self-attention through landmarks: time and memory grow with the instances, not their square."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear, pad, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from mil.nn.dropout import Dropout
from mil.nn.normed_linear import normed_linear
from mil.nn.recompute import recomputed_rows
from mil.nn.segments import at_least_single, bags_of, joined
from mil.nn.self_attention import merge_heads, refuse_broken_heads, split_heads
from mil.problems import InputError

RESIDUALS = ("sequence", "heads", "none")
STARTS = ("per_matrix", "global")
WEIGHTS = {"cpu": 1 << 20, "cuda": 1 << 25}
"""Weights of keys for landmarks that exist at a time, by kind of device: 4 MiB, which a core keeps
near, and 128."""


class NystromAttention(nn.Module):
    r"""Nystrom attention of one sequence a bag (Xiong et al., AAAI 2021).

    The sequence is cut into m runs of l instances, with padding in front; a landmark is the mean of
    a run of queries or keys. With :math:`A_2 = \mathrm{softmax}(\tilde q \tilde k^\top / \sqrt d)`:

    .. math::

        y = O\, [\mathrm{softmax}(q \tilde k^\top / \sqrt d)\, Z\,
            \mathrm{softmax}(\tilde q k^\top / \sqrt d)\, v + R(v)]_{heads} + o, \qquad
        Z = Z_p \approx A_2^{-1}

    .. math::

        Z_{i+1} = Z_i (13 - A_2 Z_i (15 - A_2 Z_i (7 - A_2 Z_i))) / 4, \qquad
        Z_0 = A_2^\top / (\|A_2\|_1 \|A_2\|_\infty)

    Both outer products are fused attention calls, :math:`\mathrm{SDPA}(q, \tilde k, Z\,
    \mathrm{SDPA}(\tilde q, k, v))`, so no n x m matrix is kept: memory O(N H + h m^2), time
    O(N m H). Z is computed in float32 or better.

    Padding is left out of landmarks and of every softmax, bags of less than m instances are all
    landmarks, and Z starts for each head by itself: a bag's result is its own. The code that
    TransMIL and CAMIL use pads with zeros that take part, always has m landmarks, and starts Z
    with the largest norms of all heads of the batch.

    Parameters
    ----------
    width : H, of instances and result.
    heads : h; they divide H.
    landmarks : m.
    iterations : p, of the inverse.
    residual : R, of the values: ``sequence``, a filter of length ``kernel`` for each head along the
        instances; ``heads``, CAMIL's, along the heads in groups of d / h channels; or ``none``.
    kernel : odd.
    dropout : after O.
    start : of Z, ``per_matrix`` or ``global``: norms of each head's A_2, or the largest of a bag's.
    mask_padding : leave it out.
    fixed_landmarks : have m landmarks in small bags too.
    project : have O and o, a linear layer; without, the heads are just put side by side.

    Shapes
    ------
    x [N, H], offsets [B + 1] -> [N, H].

    Raises
    ------
    mil.problems.InputError : widths that cannot be divided, or an unknown residual or start.
    """

    def __init__(
        self,
        width: int,
        heads: int = 8,
        landmarks: int = 256,
        iterations: int = 6,
        residual: str = "sequence",
        kernel: int = 33,
        dropout: float = 0.0,
        start: str = "per_matrix",
        mask_padding: bool = True,
        fixed_landmarks: bool = False,
        project: bool = True,
    ) -> None:
        super().__init__()
        refuse_broken_heads(width, heads)
        for name, value, known in (("residual", residual, RESIDUALS), ("start", start, STARTS)):
            if value not in known:
                raise InputError([f"{name} is {value!r}; it must be {', '.join(known)}."])
        self.heads, self.landmarks, self.iterations = heads, landmarks, iterations
        self.start, self.mask_padding, self.fixed = start, mask_padding, fixed_landmarks
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.residual, self.reach = None, 1 + kernel // 2
        if residual == "sequence":
            self.residual = SequenceResidual(heads, kernel)
        elif residual == "heads":
            self.residual = HeadsResidual(heads, width // heads, kernel)
        self.out = nn.Linear(width, width) if project else nn.Identity()
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, offsets: Tensor, norm: nn.LayerNorm | None = None) -> Tensor:
        """Return what each instance hears [N, H]; with a norm, of norm(x), which is not kept."""
        return self._of_bags(partial(self._attend, norm=norm), x, offsets)

    def in_stages(self, x: Tensor, offsets: Tensor) -> Tensor:
        """Return what ``forward`` does, but for rounding; what is kept for the gradient is x.

        The backward pass makes keys and values of a bag anew, then queries a run at a time.
        Landmarks are linear in x as queries and keys are, and are made of the means of its runs.
        """
        return self._of_bags(self._attend_in_stages, x, offsets)

    def of_first(self, x: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return what the first instance of each bag hears [B, H], and its attention [N].

        The first is what ``forward`` says of it, but for rounding, without queries and values of
        all the others: with :math:`a = \mathrm{softmax}(q_1 \tilde k^\top) Z\,
        \mathrm{softmax}(\tilde q k^\top)` of a head, :math:`a\, x W_v = (a x) W_v`. The second is
        the mean of a over heads, without padding and without gradient; it may be negative, since Z
        is no exact inverse. Time O(N m H), memory O(N m).
        """
        firsts, rows = [], []
        for bag in bags_of(x, offsets):
            heard, row = self._attend_as_first(bag)
            firsts.append(heard)
            rows.append(row)
        return self.dropout(self.out(torch.cat(firsts))), joined(rows)

    def _of_bags(self, attend: Callable[[Tensor], Tensor], x: Tensor, offsets: Tensor) -> Tensor:
        heard = [attend(bag)[-len(bag) :] for bag in bags_of(x, offsets)]
        return self.dropout(self.out(joined(heard)))

    def _padded(self, x: Tensor) -> Tensor:
        """Return a bag with the padding that takes part."""
        return pad(x, (0, 0, self._padding(len(x)), 0))

    def _padding(self, n: int) -> int:
        """Return how many zeros in front of n instances take part."""
        return 0 if self.mask_padding else self._runs(n)[1]

    def _runs(self, n: int) -> tuple[int, int]:
        """Return the length of runs of n instances, and what is missing of the first ones."""
        m = self.landmarks if self.fixed else min(self.landmarks, n)
        length = -(-n // m)
        return length, m * length - n

    def _means(self, x: Tensor) -> Tensor:
        """Return the means [..., m, d] of the runs of x [..., n, d]; the first may be shorter."""
        length, missing = self._runs(x.shape[-2])
        if missing % length == 0:
            return x.unflatten(-2, (-1, length)).mean(-2)
        short = length - missing % length
        first, rest = x.split([short, x.shape[-2] - short], -2)
        rest = rest.unflatten(-2, (-1, length)).mean(-2)
        return torch.cat([first.mean(-2, keepdim=True), rest], -2)

    def _attend(self, x: Tensor, norm: nn.LayerNorm | None) -> Tensor:
        if norm is None:
            qkv = self.qkv(self._padded(x))
        else:
            qkv = normed_linear(x, norm, self.qkv, self._padding(len(x)))
        q, k, v = split_heads(qkv, self.heads)  # [1, h, n, d]
        q_mean, k_mean = self._means(q), self._means(k)
        heard = self._heard(q_mean, k_mean, k, v)
        y = scaled_dot_product_attention(q, k_mean, heard)
        if self.residual is not None:
            y = y + self.residual(v)
        return merge_heads(y)

    def _heard(self, q_mean: Tensor, k_mean: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return what the landmarks hear, [1, h, m, d], times Z."""
        heard = scaled_dot_product_attention(q_mean, k, v)
        with torch.autocast(heard.device.type, enabled=False):
            return (self._inverse(q_mean, k_mean) @ at_least_single(heard)).to(heard.dtype)

    def _attend_in_stages(self, x: Tensor) -> Tensor:
        x = self._padded(x)
        k_mean, heard, *residual = checkpoint(self._read, x, use_reentrant=False)
        of_query = self.qkv.weight.chunk(3)[0]

        def answer(x: Tensor) -> Tensor:
            q = self._split(linear(x, of_query))
            return merge_heads(scaled_dot_product_attention(q, k_mean, heard))

        y = recomputed_rows(answer, x)  # [n, H]
        return y + residual[0] if residual else y

    def _read(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return landmarks of keys, what landmarks hear, and the residual [n, H] if any."""
        of_key, of_value = self.qkv.weight.chunk(3)[1:]
        q_mean, k_mean = self._landmarks(x)
        k, v = (self._split(linear(x, w)) for w in (of_key, of_value))
        heard = self._heard(q_mean, k_mean, k, v)
        if self.residual is None:
            return k_mean, heard
        return k_mean, heard, merge_heads(self.residual(v))

    def _attend_as_first(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the first instance hears [1, H], and its attention [n]."""
        of_query, of_key, of_value = self.qkv.weight.chunk(3)
        means = self._landmarks(self._padded(x))
        asked = self._split(linear(x[:1], of_query)), self._split(linear(x, of_key))
        kind = asked[0].dtype
        with torch.autocast(x.device.type, enabled=False):
            q_mean, k_mean, q, k = map(at_least_single, (*means, *asked))
            of_landmarks = _weights(q, k_mean) @ self._inverse(q_mean, k_mean)  # [1, h, 1, m]
            rows = _LandmarkRow.apply(of_landmarks[0, :, 0], q_mean[0], k[0], self._padding(len(x)))
            heard = (rows @ at_least_single(x)).unsqueeze(1)  # [h, 1, H]
            of_heads = at_least_single(of_value).view(self.heads, -1, x.shape[1])
            y = (heard @ of_heads.transpose(1, 2)).unsqueeze(0).to(kind)  # [1, h, 1, d]
        if self.residual is not None:
            near = self._split(linear(x[: self.reach], of_value))
            y = y + self.residual(near)[:, :, :1]
        return merge_heads(y), rows.detach().mean(0)

    def _landmarks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means [1, h, m, d] of runs of queries and of keys, by means of runs of x."""
        of_query, of_key, _ = self.qkv.weight.chunk(3)
        means = self._means(x)  # [m, H]
        return self._split(linear(means, of_query)), self._split(linear(means, of_key))

    def _split(self, x: Tensor) -> Tensor:
        """Return heads [1, h, n, d] of [n, H]."""
        return x.view(1, len(x), self.heads, -1).transpose(1, 2)

    def _inverse(self, q_mean: Tensor, k_mean: Tensor) -> Tensor:
        """Return Z [1, h, m, m]."""
        a = _weights(at_least_single(q_mean), at_least_single(k_mean))
        columns, rows = a.sum(-2).amax(-1), a.sum(-1).amax(-1)  # [1, h]: entries are positive
        if self.start == "global":
            columns, rows = columns.max(), rows.max()
        z = a.transpose(-1, -2) / (columns * rows)[..., None, None]
        one = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
        for _ in range(self.iterations):
            az = a @ z
            z = z @ (13 * one - az @ (15 * one - az @ (7 * one - az))) / 4
        return z


class _LandmarkRow(torch.autograd.Function):
    r"""a = w P [h, n] of :math:`P = \mathrm{softmax}(q k^\top / \sqrt d)`.

    Of weights w [h, m], landmarks of queries q [h, m, d] and keys k [h, n, d].

    So many keys more as are padding, all zero, take part in the softmax; their a is left out. Some
    rows of P exist at a time, and are made anew for the gradient. With g the gradient by a, that by
    w is :math:`c = P g`, and that by what the softmax is of :math:`w_m P_{mn} (g_n - c_m)`.
    """

    @staticmethod
    def forward(ctx: Any, w: Tensor, q: Tensor, k: Tensor, padding: int) -> Tensor:
        rows, totals = w.new_zeros(k.shape[:2]), w.new_empty(q.shape[:2])
        for i, some in _blocks(q, k):
            scores = _scores(q[i, some], k[i])
            total = scores.logsumexp(1)
            if padding:
                total = total.logaddexp(total.new_tensor(padding).log())
            rows[i] += w[i, some] @ scores.sub_(total[:, None]).exp_()
            totals[i, some] = total
        ctx.save_for_backward(w, q, k, totals)
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        w, q, k, totals = ctx.saved_tensors
        of_w, of_q, of_k = torch.empty_like(w), torch.empty_like(q), torch.zeros_like(k)
        for i, some in _blocks(q, k):
            weights = _scores(q[i, some], k[i]).sub_(totals[i, some, None]).exp_()
            of_w[i, some] = weights @ grad[i]
            slope = (grad[i] - of_w[i, some, None]).mul_(weights)
            slope *= w[i, some, None] / q.shape[2] ** 0.5
            of_q[i, some] = slope @ k[i]
            of_k[i].addmm_(slope.t(), q[i, some])
        return of_w, of_q, of_k, None


def _blocks(q: Tensor, k: Tensor) -> Iterator[tuple[int, slice]]:
    """Yield heads and some of their landmarks, with ``WEIGHTS`` pairs with keys at most."""
    heads, landmarks, _ = q.shape
    step = max(1, WEIGHTS.get(k.device.type, WEIGHTS["cuda"]) // k.shape[1])
    for i in range(heads):
        for start in range(0, landmarks, step):
            yield i, slice(start, start + step)


def _scores(q: Tensor, k: Tensor) -> Tensor:
    """Return q k^T / sqrt(d) [m, n] of q [m, d] and k [n, d]."""
    return (q / q.shape[1] ** 0.5) @ k.t()


class SequenceResidual(nn.Module):
    """A filter for each head along the sequence, shared by the head's channels.

    Shapes
    ------
    v [1, h, n, d] -> [1, h, n, d].
    """

    def __init__(self, heads: int, kernel: int) -> None:
        super().__init__()
        self.filter = nn.Conv2d(
            heads, heads, (kernel, 1), padding=(kernel // 2, 0), groups=heads, bias=False
        )

    def forward(self, v: Tensor) -> Tensor:
        """Return the filtered values."""
        return self.filter(v)


class HeadsResidual(nn.Module):
    r"""A filter along the heads of each instance, which mixes d / h channels.

    :math:`r_{a,o} = \sum_{b,c} K_{b-a+16,\,c,\,o}\, v_{b,c}` over heads b and the channels c of the
    group of o, for a kernel of length 33: what the code of CAMIL does, whose tensors have their
    channels last.

    Shapes
    ------
    v [1, h, n, d] -> [1, h, n, d].
    """

    def __init__(self, heads: int, channels: int, kernel: int) -> None:
        super().__init__()
        if channels % heads:
            raise InputError(
                [f"residual heads: the {channels} channels of a head are no multiple of {heads}."]
            )
        self.filter = nn.Conv1d(
            channels, channels, kernel, padding=kernel // 2, groups=heads, bias=False
        )

    def forward(self, v: Tensor) -> Tensor:
        """Return the filtered values."""
        return self.filter(v[0].permute(1, 2, 0)).permute(2, 0, 1).unsqueeze(0)


def _weights(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
