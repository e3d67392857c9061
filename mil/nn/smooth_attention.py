"""Attention pooling whose instances look at their neighbours by smoothing."""

import torch
from torch import Tensor, nn

from mil.nn.adjacency import Adjacency
from mil.nn.segments import bag_softmax, weighted_sum
from mil.nn.smooth import Smooth
from mil.nn.spectral_linear import SpectralLinear
from mil.problems import InputError, did_you_mean

NORMALISED = {"early": (True, True), "mid": (False, True), "late": (False, False)}
"""Which of V and w stand behind the smoothing, whose norm ``spectral_norm`` bounds."""
NORMALISED["none"] = NORMALISED["early"]
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU}


class SmoothAttentionPool(nn.Module):
    r"""Attention pooling with the smoothing Sm (Castro-Macias et al., NeurIPS 2024).

    With :math:`h = V x + v`, without smoothing :math:`f = w^\top \phi(h)` and
    :math:`z = \sum_n \mathrm{softmax}_n(f)\, x_n`;

    ========= ============================================================
    ``early`` Sm(x) in the place of x, in f and in z
    ``mid``   :math:`f = w^\top \phi(\mathrm{Sm}(h))`, the bias inside Sm
    ``late``  :math:`f = \mathrm{Sm}(\phi(h) w)`
    ``none``  no smoothing
    ========= ============================================================

    Sm is linear and symmetric, so nothing as wide as x is ever smoothed: ``early`` has
    :math:`V \mathrm{Sm}(x) = \mathrm{Sm}(V x)` for f and
    :math:`z = \sum_n \mathrm{Sm}(\mathrm{softmax}(f))_n\, x_n`.

    Parameters
    ----------
    width : D of the instances.
    hidden : width of V.
    where : of the smoothing.
    smooth : the operator, or None for ``none``.
    activation : phi, ``tanh``, ``relu`` or ``gelu``.
    spectral_norm : divide the layers behind the smoothing by their largest singular value, so that
        they do not raise the Dirichlet energy that the smoothing lowered.

    Shapes
    ------
    x [N, D], a symmetrically normalised graph, offsets [B + 1] -> pooled [B, D], raw scores f [N].

    Raises
    ------
    mil.problems.InputError : no such place or activation.
    """

    def __init__(
        self,
        width: int,
        hidden: int = 128,
        where: str = "early",
        smooth: Smooth | None = None,
        activation: str = "tanh",
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        for key, value, known in (
            ("smooth", where, NORMALISED),
            ("activation", activation, ACTIVATIONS),
        ):
            if value not in known:
                hint = did_you_mean(value, known) or "."
                raise InputError(
                    [f"{key} is {value!r}{hint} It must be one of {', '.join(known)}."]
                )
        first, last = (
            SpectralLinear if spectral_norm and behind else nn.Linear
            for behind in NORMALISED[where]
        )
        self.where = where
        self.smooth = None if where == "none" else smooth or Smooth()
        self.hidden = first(width, hidden, bias=False)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.activation = ACTIVATIONS[activation]()
        self.score = last(hidden, 1, bias=False)

    def forward(self, x: Tensor, graph: Adjacency, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled bags [B, D] and the raw scores [N]."""
        h = self.hidden(x)  # [N, hidden]
        if self.where == "early":  # the bias stands behind Sm, which does not keep a constant
            h = self.smooth(h, graph, offsets) + self.bias
        elif self.where == "mid":
            h = self.smooth(h + self.bias, graph, offsets)
        else:
            h = h + self.bias
        scores = self.score(self.activation(h)).squeeze(-1)  # [N]
        if self.where == "late":
            scores = self.smooth(scores, graph, offsets)
        weights = bag_softmax(scores, offsets)
        if self.where == "early":
            weights = self.smooth(weights, graph, offsets)
        return weighted_sum(weights, x, offsets), scores

    def averaged(self, x: Tensor, graph: Adjacency, offsets: Tensor) -> Tensor:
        """Return what the softmax of the scores averages to the pooled bags, [N, D]."""
        return self.smooth(x, graph, offsets) if self.where == "early" else x
