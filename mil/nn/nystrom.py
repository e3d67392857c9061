"""Self-attention through landmarks: time and memory grow with the instances, not their square."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from mil.nn.recompute import recomputed_rows
from mil.nn.segments import at_least_single, bags_of, joined
from mil.nn.self_attention import merge_heads, refuse_broken_heads, split_heads
from mil.problems import InputError

RESIDUALS = ("sequence", "heads", "none")
STARTS = ("per_matrix", "global")


@dataclass
class Landmarks:
    """Queries, keys and values of one bag, with the means that stand for runs of them.

    Shapes
    ------
    q [1, h, n, d]; k, v [1, h, n', d], n' > n where padding takes part; q_mean and k_mean
    [1, h, m, d].
    """

    q: Tensor
    k: Tensor
    v: Tensor
    q_mean: Tensor
    k_mean: Tensor


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
        self.residual = None
        if residual == "sequence":
            self.residual = SequenceResidual(heads, kernel)
        elif residual == "heads":
            self.residual = HeadsResidual(heads, width // heads, kernel)
        self.out = nn.Linear(width, width) if project else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """Return what each instance hears [N, H]."""
        bags = bags_of(self.qkv(x), offsets)
        return self.dropout(self.out(joined([self._attend(qkv) for qkv in bags])))

    def in_stages(self, x: Tensor, offsets: Tensor) -> Tensor:
        """Return what ``forward`` does, but for rounding; what is kept for the gradient is x.

        The backward pass makes keys and values of a bag anew, then queries a run at a time.
        Landmarks are linear in x as queries and keys are, and are made of the means of its runs.
        """
        bags = bags_of(x, offsets)
        return self.dropout(self.out(joined([self._attend_in_stages(bag) for bag in bags])))

    @torch.no_grad()
    def row(self, x: Tensor, offsets: Tensor, query: int) -> Tensor:
        r"""Return the attention [N] of instance ``query`` of each bag to the bag's instances.

        It is the mean over heads of :math:`\mathrm{softmax}(q_i \tilde k^\top) Z\,
        \mathrm{softmax}(\tilde q k^\top)`, without padding, and may be negative, since Z is no
        exact inverse. Time O(N m H), memory O(N m).
        """
        bags = bags_of(self.qkv(x), offsets)
        return joined([self._row(qkv, query) for qkv in bags])

    def _landmarks(self, qkv: Tensor) -> Landmarks:
        length, padding = self._runs(len(qkv))
        q, k, v = split_heads(qkv, self.heads)  # [1, h, n, d]
        q_mean, k_mean = (self._means(x, length, padding) for x in (q, k))
        if not self.mask_padding:
            k, v = (pad(x, (0, 0, padding, 0)) for x in (k, v))
        return Landmarks(q, k, v, q_mean, k_mean)

    def _runs(self, n: int) -> tuple[int, int]:
        """Return the length of runs of n instances, and what is missing of the first ones."""
        m = self.landmarks if self.fixed else min(self.landmarks, n)
        length = -(-n // m)
        return length, m * length - n

    def _means(self, x: Tensor, length: int, padding: int) -> Tensor:
        """Return the means [1, h, m, d] of runs of x [1, h, n, d] behind so much padding."""
        empty, missing = divmod(padding, length)
        first, rest = x.tensor_split([length - missing], 2)
        rest = rest.unflatten(2, (rest.shape[2] // length, length)).mean(3)
        if self.mask_padding:  # of the first run just what is there, and no run of nothing
            return torch.cat([first.mean(2, keepdim=True), rest], 2)
        first = first.sum(2, keepdim=True) / length
        return torch.cat([pad(first, (0, 0, empty, 0)), rest], 2)

    def _attend(self, qkv: Tensor) -> Tensor:
        bag = self._landmarks(qkv)
        y = scaled_dot_product_attention(bag.q, bag.k_mean, self._heard(bag))  # [1, h, n, d]
        if self.residual is not None:
            y = y + self.residual(bag.v)[:, :, -len(qkv) :]
        return merge_heads(y)

    def _heard(self, bag: Landmarks) -> Tensor:
        """Return what the landmarks hear, [1, h, m, d], times Z."""
        heard = scaled_dot_product_attention(bag.q_mean, bag.k, bag.v)
        with torch.autocast(heard.device.type, enabled=False):
            return (self._inverse(bag) @ at_least_single(heard)).to(heard.dtype)

    def _attend_in_stages(self, x: Tensor) -> Tensor:
        k_mean, heard, *residual = checkpoint(self._read, x, use_reentrant=False)
        of_query = self.qkv.weight.chunk(3)[0]

        def answer(x: Tensor) -> Tensor:
            q = self._split(linear(x, of_query))
            return merge_heads(scaled_dot_product_attention(q, k_mean, heard))

        y = recomputed_rows(answer, x)  # [n, H]
        return y + residual[0] if residual else y

    def _read(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return landmarks of keys, what landmarks hear, and the residual [n, H] if any."""
        of_query, of_key, of_value = self.qkv.weight.chunk(3)
        length, padding = self._runs(len(x))
        means = self._means(x[None, None], length, padding)[0, 0]  # [m, H]
        q_mean, k_mean = (self._split(linear(means, w)) for w in (of_query, of_key))
        k, v = (self._split(linear(x, w)) for w in (of_key, of_value))
        if not self.mask_padding:
            k, v = (pad(each, (0, 0, padding, 0)) for each in (k, v))
        heard = self._heard(Landmarks(None, k, v, q_mean, k_mean))
        if self.residual is None:
            return k_mean, heard
        return k_mean, heard, merge_heads(self.residual(v)[:, :, -len(x) :])

    def _split(self, x: Tensor) -> Tensor:
        """Return heads [1, h, n, d] of [n, H]."""
        return x.view(1, len(x), self.heads, -1).transpose(1, 2)

    def _row(self, qkv: Tensor, query: int) -> Tensor:
        bag = self._landmarks(at_least_single(qkv))
        with torch.autocast(qkv.device.type, enabled=False):
            first = _weights(bag.q[:, :, query : query + 1], bag.k_mean) @ self._inverse(bag)
            total = 0.0
            for head in range(self.heads):  # m n weights of one head at a time
                third = _weights(bag.q_mean[0, head], bag.k[0, head])  # [m, n']
                total = total + first[0, head] @ third
        return total[0, -len(qkv) :] / self.heads

    def _inverse(self, bag: Landmarks) -> Tensor:
        """Return Z [1, h, m, m]."""
        a = _weights(at_least_single(bag.q_mean), at_least_single(bag.k_mean))
        columns, rows = a.sum(-2).amax(-1), a.sum(-1).amax(-1)  # [1, h]: entries are positive
        if self.start == "global":
            columns, rows = columns.max(), rows.max()
        z = a.transpose(-1, -2) / (columns * rows)[..., None, None]
        one = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
        for _ in range(self.iterations):
            az = a @ z
            z = z @ (13 * one - az @ (15 * one - az @ (7 * one - az))) / 4
        return z


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
