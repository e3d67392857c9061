"""A sparse graph of instances, and products with it."""

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mil.bags import Bag, BagError
from mil.nn.segments import at_least_single, segment_ids, segment_sum

NORMALISATIONS = ("sym", "row")
warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")


@dataclass(frozen=True)
class Adjacency:
    """The matrix A of a weighted graph of N nodes: node i receives from j with weight A_ij.

    Nodes are the rows of a packed bag, so several bags are one block-diagonal graph.

    Shapes
    ------
    offsets [N + 1] int64: node i receives along edges ``offsets[i] .. offsets[i+1] - 1``.
    source [E] int64: where each edge comes from, ascending for every node. weight [E] float32,
    or float64 where given so.

    Attributes
    ----------
    symmetric : A equals its transpose, on which the smoothing operator relies.
    steps : what was done to the edges, in order: ``symmetrised``, ``loops``, ``sym``, ``row``.
    """

    offsets: Tensor
    source: Tensor
    weight: Tensor
    symmetric: bool = False
    steps: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, edges: Tensor, nodes: int, weight: Tensor | None = None, symmetric: bool = False
    ) -> "Adjacency":
        """Return the graph of edges [2, E], source then target; equal edges count as often."""
        source, target = edges
        order = torch.argsort(target * nodes + source, stable=True)
        ends = torch.arange(nodes + 1, device=edges.device)
        offsets = torch.searchsorted(target[order].contiguous(), ends)
        if weight is None:
            weight = torch.ones(len(order), device=edges.device)
        weight = weight if weight.dtype == torch.float64 else weight.float()
        return cls(offsets, source[order], weight[order], symmetric)

    def __len__(self) -> int:
        """Return the number of nodes, N."""
        return len(self.offsets) - 1

    @cached_property
    def target(self) -> Tensor:
        """Where each edge ends, [E], ascending."""
        return segment_ids(self.offsets)

    @cached_property
    def degrees(self) -> Tensor:
        """Sum of the weights of each row, [N]."""
        return segment_sum(self.weight, self.offsets)

    @cached_property
    def diagonal(self) -> Tensor:
        """Weights of the edges from a node to itself, [N]."""
        own = torch.where(self.source == self.target, self.weight, 0)
        return segment_sum(own, self.offsets)

    @cached_property
    def transposed(self) -> "Adjacency":
        """The graph with all edges turned round."""
        if self.symmetric:
            return self
        turned = torch.stack([self.target, self.source])
        return replace(Adjacency.of(turned, len(self), self.weight), steps=self.steps)

    def symmetrised(self) -> "Adjacency":
        """Return the graph with every edge in both directions, once; the larger weight counts."""
        if self.symmetric:
            return self
        nodes = len(self)
        keys = torch.cat([self.target * nodes + self.source, self.source * nodes + self.target])
        keys, place = keys.unique(return_inverse=True)
        floor = self.weight.new_full((len(keys),), -torch.inf)
        weight = floor.scatter_reduce(0, place, self.weight.repeat(2), "amax")
        edges = torch.stack([keys % nodes, keys // nodes])
        both = Adjacency.of(edges, nodes, weight, symmetric=True)
        return replace(both, steps=(*self.steps, "symmetrised"))

    def with_loops(self, weight: float = 1.0) -> "Adjacency":
        """Return A + weight I."""
        nodes = torch.arange(len(self), device=self.source.device)
        edges = torch.cat([torch.stack([self.source, self.target]), nodes.expand(2, -1)], 1)
        weights = torch.cat([self.weight, self.weight.new_full((len(self),), weight)])
        looped = Adjacency.of(edges, len(self), weights, self.symmetric)
        return replace(looped, steps=(*self.steps, "loops"))

    def normalised(self, kind: str = "sym") -> "Adjacency":
        """Return D^-1/2 A D^-1/2 (``sym``) or D^-1 A (``row``); nodes without edges stay without.

        Raises
        ------
        ValueError : another kind.
        """
        if kind not in NORMALISATIONS:
            raise ValueError(f"kind is {kind!r}; it must be {' or '.join(NORMALISATIONS)}.")
        power = self.degrees.pow(-1.0 if kind == "row" else -0.5)
        power = torch.where(self.degrees > 0, power, 0)
        weight = self.weight * power[self.target]
        steps = (*self.steps, kind)
        if kind == "sym":
            return replace(self, weight=weight * power[self.source], steps=steps)
        return replace(self, weight=weight, symmetric=False, steps=steps)

    def __matmul__(self, x: Tensor) -> Tensor:
        """Return A x [N, ...] of x [N, ...], differentiable by x; float32 or better.

        Sparse products have no half precision on a CPU, so it becomes float32 first.
        """
        with torch.autocast(x.device.type, enabled=False):
            return _Product.apply(at_least_single(x), self)

    def product(self, x: Tensor) -> Tensor:
        """Return A x [N, ...] without a gradient."""
        flat = x.reshape(len(x), -1)  # [N, F]
        matrix = torch.sparse_csr_tensor(
            self.offsets,
            self.source,
            self.weight.to(x.dtype),
            (len(self), len(self)),
            check_invariants=False,
        )
        # A plain product of a sparse matrix copies what it made once more.
        return torch.zeros_like(flat).addmm_(matrix, flat).reshape(x.shape)


class _Product(torch.autograd.Function):
    """A x; the gradient by x is A^T g, and nothing need be kept for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, graph: Adjacency) -> Tensor:
        ctx.graph = graph
        return graph.product(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.graph.transposed.product(grad), None


def bag_graph(bag: Bag, model: str) -> Adjacency:
    """Return the edges of a bag in both directions, each once.

    Raises
    ------
    BagError : the bag has no edges; ``model`` is named as the one that reads them.
    """
    if bag.edge_index is None:
        who = f"patient {bag.ids[0]}" if bag.ids else "the bag"
        raise BagError(
            [f"{who}: no edges, which model {model} reads. Load bags with their graph (graph)."]
        )
    return bag.graph
