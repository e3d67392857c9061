"""Self-attention that knows how far apart two instances are (iRPE)."""

from itertools import product
from math import log

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear

from mil.nn.block_attention import in_blocks
from mil.nn.dropout import Dropout
from mil.nn.segments import bags_of, joined
from mil.nn.self_attention import refuse_broken_heads
from mil.problems import InputError

RATIO = 1.9
REACH = int(2 * RATIO)  # the largest index, 3
SIDE = 2 * REACH + 1
# alpha + log(x / alpha) / log(gamma / alpha) (beta - alpha) for alpha, beta, gamma = r, 2 r, 8 r
INDEX = torch.tensor(
    [
        x if x <= RATIO else int(min(2 * RATIO, round(RATIO * (1 + log(x / RATIO) / log(8)))))
        for x in range(5)
    ]
)
METHODS = {"product": SIDE * SIDE, "euclidean": SIDE, "quantised": SIDE, "cross": SIDE}
MODES = ("bias", "contextual")


class PositionalAttention(nn.Module):
    r"""Multi-head attention with image relative position encoding (iRPE; Wu et al., ICCV 2021).

    Pairs of instances fall into buckets b(i, j) by the offset of query i from key j on the grid:
    by its rows and columns (``product``, 49 buckets), their Euclidean distance, rounded
    (``euclidean``), its square (``quantised``; 7 each, of which distances use 4), or by rows and
    columns with tables of their own that are added (``cross``). An index g(x) is x up to 1.9 and
    grows with the logarithm from there to 3, which all from 4 on have. Pairs with the class token,
    which is nowhere, share one more bucket. With tables r and :math:`s = d^{-1/2}` the weights are
    the softmax over j of

    .. math::

        s\, q_i \cdot k_j + s\, q_i \cdot r^K_{b(i,j)} + s\, k_j \cdot r^Q_{b(j,i)} \qquad
        \text{or (bias)} \qquad s\, q_i \cdot k_j + r^K_{b(i,j)} + r^Q_{b(j,i)}

    and :math:`\sum_j a_{ij} r^V_{b(i,j)}` is added to what i hears. Tables start at zero.

    Parameters
    ----------
    width : of instances and result, H.
    heads : they divide H, into widths d.
    method : of the buckets.
    mode : ``bias`` or ``contextual``.
    on : which tables there are, some of the letters q, k and v; v in contextual mode only.
    shared : all heads have the same tables.
    dropout : of the weights, and behind the output projection.

    Shapes
    ------
    x [T, H], offsets [B + 1], positions [T, 2] int64, rows and columns -> [T, H]. The first row of
    every bag is its class token, whatever its position says.

    Notes
    -----
    Time O(T^2 H) for the largest bag. Memory O(T H): weights and buckets are made for a block of
    queries at a time, again for the gradient, from true positions; there are no empty cells.

    Raises
    ------
    mil.problems.InputError : an option that cannot be.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        method: str = "euclidean",
        mode: str = "bias",
        on: str = "q",
        shared: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        refuse_broken_heads(width, heads)
        for name, value, known in (("method", method, METHODS), ("mode", mode, MODES)):
            if value not in known:
                raise InputError([f"{name} is {value!r}; it must be {', '.join(known)}."])
        if not on or set(on) - set("qkv" if mode == "contextual" else "qk"):
            raise InputError([f"on is {on!r}; it must be of q, k and, contextual only, v."])
        self.heads, self.method, self.mode, self.p = heads, method, mode, dropout
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.drop = Dropout(dropout)
        tables, d, buckets = 1 if shared else heads, width // heads, METHODS[method] + 1
        shape = {"q": (d, buckets), "k": (d, buckets), "v": (buckets, d)}
        if mode == "bias":
            shape = dict.fromkeys("qk", (buckets,))
        axes = ("rows", "columns") if method == "cross" else ("all",)
        self.tables = nn.ParameterDict(
            {
                f"{letter}_{axis}": nn.Parameter(torch.zeros(tables, *shape[letter]))
                for letter, axis in product(sorted(on), axes)
            }
        )

    def forward(self, x: Tensor, offsets: Tensor, positions: Tensor) -> Tensor:
        """Return what each token hears [T, H]."""
        bags = zip(bags_of(self.qkv(x), offsets), bags_of(positions, offsets), strict=True)
        heard = [self._attend(*self._split(qkv, 3), at) for qkv, at in bags]
        return self.drop(self.out(joined(heard)))

    def of_class(self, x: Tensor, offsets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each bag's class token hears [B, H], and its weights [T] of the tokens.

        The first is what ``forward`` says of it, without queries of the others, O(T H^2). The
        second is the mean over heads, before dropout and without gradient.
        """
        of_query, of_others = self.qkv.weight.tensor_split([x.shape[1]])
        kv = bags_of(linear(x, of_others), offsets)
        bags = zip(bags_of(x, offsets), kv, bags_of(positions, offsets), strict=True)
        heard, rows = [], []
        for tokens, others, at in bags:
            (q,) = self._split(linear(tokens[:1], of_query), 1)
            k, v = self._split(others, 2)
            weights = self._weights(q, k, self._of_keys(k), at, 0, 1)
            rows.append(weights.detach()[:, 0].mean(0))
            heard.append(self._heard(weights, v, at, 0).transpose(0, 1).flatten(1))
        return self.drop(self.out(torch.cat(heard))), joined(rows)

    def _split(self, x: Tensor, parts: int) -> Tensor:
        """Return joined ones [n, parts h d] as [parts, h, n, d]."""
        return x.view(len(x), parts, self.heads, -1).permute(1, 2, 0, 3)

    def _of_keys(self, k: Tensor) -> dict[str, Tensor]:
        """Return products [h, n, buckets] of scaled keys with their tables, made once a bag."""
        if self.mode == "bias":
            return {}
        scale = k.shape[-1] ** -0.5
        return {name: k * scale @ r for name, r in self.tables.items() if name[0] == "q"}

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, at: Tensor) -> Tensor:
        of_keys = self._of_keys(k)

        def step(start: int, end: int) -> Tensor:
            weights = self._weights(q[:, start:end], k, of_keys, at, start, end)
            return self._heard(weights, v, at, start)

        heard = in_blocks(step, len(at), len(at), self.heads)
        return heard.transpose(0, 1).flatten(1)

    def _heard(self, weights: Tensor, v: Tensor, at: Tensor, start: int) -> Tensor:
        """Return [h, b, d] of weights [h, b, n] of the queries from row ``start`` on."""
        weights = dropout(weights, self.p, self.training)
        heard = weights @ v
        for name, table in self.tables.items():
            if name[0] == "v":
                queries = at[start : start + weights.shape[1]]
                bucket = self._bucket(name, queries, at, start).expand_as(weights)
                total = weights.new_zeros(*weights.shape[:2], table.shape[1])
                heard = heard + total.scatter_add(2, bucket, weights) @ table
        return heard

    def _weights(
        self, q: Tensor, k: Tensor, of_keys: dict[str, Tensor], at: Tensor, start: int, end: int
    ) -> Tensor:
        """Return weights [h, b, n] of the queries ``start .. end - 1``, q [h, b, d]."""
        q = q * q.shape[-1] ** -0.5
        logits = q @ k.transpose(1, 2)  # [h, b, n]
        for name, table in self.tables.items():
            if name[0] == "v":
                continue
            swapped = name[0] == "q"
            bucket = self._bucket(name, at[start:end], at, start, swapped)  # [b, n]
            if name in of_keys:
                each = bucket.t().expand(self.heads, -1, -1)
                logits = logits + of_keys[name].gather(2, each).transpose(1, 2)
                continue
            # A gather of every query's own row: its gradient is much faster than that of table[b].
            row = q @ table if self.mode == "contextual" else table.unsqueeze(1)
            row = row.expand(self.heads, len(bucket), -1)
            logits = logits + row.gather(2, bucket.expand_as(logits))
        return logits.softmax(-1)

    def _bucket(
        self, name: str, queries: Tensor, keys: Tensor, start: int, swapped: bool = False
    ) -> Tensor:
        """Return the buckets [b, n] of queries from row ``start`` on and all keys."""
        offset = queries[:, None] - keys  # [b, n, 2]
        rows, columns = (-offset if swapped else offset).unbind(-1)
        if self.method == "product":
            bucket = (piecewise(rows) + REACH) * SIDE + piecewise(columns) + REACH
        elif self.method == "cross":
            bucket = piecewise(rows if name.endswith("rows") else columns) + REACH
        else:
            square = rows * rows + columns * columns
            far = square if self.method == "quantised" else square.double().sqrt().round().long()
            bucket = piecewise(far) + REACH
        bucket[:, 0] = METHODS[self.method]
        if start == 0:
            bucket[0] = METHODS[self.method]
        return bucket


def piecewise(offset: Tensor) -> Tensor:
    """Return the index g, from -3 to 3, of whole offsets."""
    return offset.sign() * INDEX.to(offset.device)[offset.abs().clamp(max=len(INDEX) - 1)]
