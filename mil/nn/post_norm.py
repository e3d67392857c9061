"""Transformer layers with norms behind, of instances and of queries that look at them."""

from torch import Tensor, nn
from torch.nn.functional import linear

from mil.nn.block_attention import dropout_attention
from mil.nn.dropout import Dropout, ReLUDropout
from mil.nn.recompute import recomputed_rows
from mil.nn.segments import bags_of, joined
from mil.nn.self_attention import refuse_broken_heads


class BiasedAttention(nn.Module):
    """Multi-head attention with biases everywhere (Vaswani et al., 2017).

    Parameters
    ----------
    width, heads : H and how many parts it has.
    dropout : share of the weights that is dropped.

    Shapes
    ------
    queries [n, H], memory [m, H] -> [n, H]. Rows of the weight are for queries, keys and values.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        refuse_broken_heads(width, heads)
        self.heads, self.drop = heads, Dropout(dropout)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def among(self, x: Tensor, offsets: Tensor) -> Tensor:
        """Return what the instances [N, H] of each bag hear of each other, in memory O(N H)."""
        p = self.drop.p if self.training else 0.0
        heard = []
        for qkv in bags_of(self.project(x), offsets):
            q, k, v = (self._split(part) for part in qkv.chunk(3, 1))
            heard.append(_merge(dropout_attention(q, k, v, q.shape[2] ** -0.5, p)))
        return self.out(joined(heard))

    def of(self, queries: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a few queries hear [n, H], and the weights [heads, n, m]."""
        width = queries.shape[1]
        weight, bias = self.project.weight, self.project.bias
        q = self._split(linear(queries, weight[:width], bias[:width]))
        both = linear(memory, weight[width:], bias[width:]).chunk(2, 1)
        k, v = (self._split(part) for part in both)
        weights = (q @ k.transpose(1, 2) * q.shape[2] ** -0.5).softmax(-1)
        return self.out(_merge(self.drop(weights) @ v)), weights

    def _split(self, x: Tensor) -> Tensor:
        return x.view(len(x), self.heads, -1).transpose(0, 1)


def _merge(x: Tensor) -> Tensor:
    return x.transpose(0, 1).flatten(1)


class InstanceLayer(nn.Module):
    """Self-attention of the instances of a bag, LN(x + .), two layers with ReLU, LN(y + .)."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention = BiasedAttention(width, heads, dropout)
        self.mlp = _mlp(width, inner, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """Return [N, H]."""
        heard = self.attention.among(x, offsets)  # keeps little; the rest is of an instance alone
        return recomputed_rows(self._alone, x, heard, wide=4)

    def _alone(self, x: Tensor, heard: Tensor) -> Tensor:
        x = self.norms[0](x + self.drop(heard))
        return self.norms[1](x + self.drop(self.mlp(x)))


class QueryLayer(nn.Module):
    """Attention of queries to each other, then to instances, then two layers; LN behind each."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.own = BiasedAttention(width, heads, dropout)
        self.cross = BiasedAttention(width, heads, dropout)
        self.mlp = _mlp(width, inner, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = Dropout(dropout)

    def forward(self, queries: Tensor, instances: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries [n, H] and the weights of instances [heads, n, m], of one bag."""
        t = self.norms[0](queries + self.drop(self.own.of(queries, queries)[0]))
        heard, weights = self.cross.of(t, instances)
        t = self.norms[1](t + self.drop(heard))
        return self.norms[2](t + self.drop(self.mlp(t))), weights


def _mlp(width: int, inner: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, inner), ReLUDropout(dropout), nn.Linear(inner, width))
