"""Variational autoencoder of instances."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mil.nn.segments import at_least_single
from mil.problems import InputError, did_you_mean

VARIANCES = ("single", "diagonal", "none")
ROWS = 4096
"""Instances that are decoded at once; of each a step keeps one number."""
LOG_STD = 10.0
"""Bound of logarithms of standard deviations, either way."""


class Autoencoder(nn.Module):
    r"""Gaussian encoder and decoder of instances (Kingma and Welling, ICLR 2014).

    .. math::

        q(z | x) = N(m(x), s(x)^2), \qquad p(x | z) = N(m'(z), s'(z)^2), \qquad p(z) = N(0, I)

    with m, log s from linear layers D - ... - L with ReLU between, and m', log s' from their mirror
    image. ``single``: one s for all dimensions; ``diagonal``: one for each; ``none``: no chance,
    z = m(x), and s' = 1. Logarithms of s are kept within 10 of 0. The authors' code of VAEABMIL
    has a prior with log s = 1 where it estimates p(x); here it is 0 everywhere.

    Parameters
    ----------
    width : D.
    sizes : widths of the encoder's layers, the last is L.
    variance : see above.

    Raises
    ------
    mil.problems.InputError : another variance.
    """

    def __init__(self, width: int, sizes: list[int], variance: str = "single") -> None:
        super().__init__()
        if variance not in VARIANCES:
            hint = did_you_mean(variance, VARIANCES) or "."
            raise InputError(
                [f"variance is {variance!r}{hint} It must be one of {', '.join(VARIANCES)}."]
            )
        self.random = variance != "none"
        self.widths = [width, *sizes]
        more = {"single": lambda n: 1, "diagonal": lambda n: n, "none": lambda n: 0}[variance]
        self.encoder = _layers([*self.widths[:-1], sizes[-1] + more(sizes[-1])])
        self.decoder = _layers([*self.widths[:0:-1], width + more(width)])

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return mean [N, L] and log standard deviation [N, 1 or L] of z for x [N, D]."""
        return _moments(self.encoder(x), self.widths[-1])

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return mean [..., D] and log standard deviation [..., 1 or D] of x for z [..., L]."""
        return _moments(self.decoder(z), self.widths[0])

    def surprise(self, x: Tensor, z: Tensor) -> Tensor:
        r"""Return :math:`-\log p(x | z)` [N] of x [N, D] for z [N, S, L], the mean over S.

        Without chance it is half the squared distance of what is decoded. Instances go in blocks
        that are made again for the gradient: nothing as large as x is kept.
        """
        parts = zip(x.split(ROWS), z.split(ROWS), strict=True)
        return torch.cat([checkpoint(self._surprise, *part, use_reentrant=False) for part in parts])

    def _surprise(self, x: Tensor, z: Tensor) -> Tensor:
        mean, log_std = self.decode(z)
        return -_log_normal(x.unsqueeze(1), mean, log_std).mean(1)

    def log_likelihood(self, x: Tensor, noise: Tensor) -> Tensor:
        r"""Return an estimate of :math:`\log p(x)` [N] by importance sampling, without a gradient.

        .. math::

            \log \frac1K \sum_k \frac{p(x | z_k)\, p(z_k)}{q(z_k | x)}, \qquad z_k = m + s\, e_k

        Without chance it is minus half the squared distance of what is decoded.

        Parameters
        ----------
        x : [N, D].
        noise : e, standard normal, [1 or N, K, L].
        """
        noise = noise.expand(len(x), -1, -1)
        with torch.no_grad():
            rows = max(ROWS // noise.shape[1], 1)
            parts = zip(x.split(rows), noise.split(rows), strict=True)
            return torch.cat([self._log_likelihood(*part) for part in parts])

    def _log_likelihood(self, x: Tensor, noise: Tensor) -> Tensor:
        mean, log_std = self.encode(x)
        if log_std is None:
            return -self._surprise(x, mean.unsqueeze(1))
        z = sampled(mean, log_std, noise)  # [n, K, L]
        ratio = (
            _log_normal(x.unsqueeze(1), *self.decode(z))
            + _log_normal(z, z.new_zeros(()), z.new_zeros(1))
            - _log_normal(z, mean.unsqueeze(1), log_std.unsqueeze(1))
        )
        return ratio.logsumexp(1) - math.log(noise.shape[1])


def sampled(mean: Tensor, log_std: Tensor, noise: Tensor) -> Tensor:
    """Return z [N, S, L] of mean [N, L], log_std [N, 1 or L] and standard normal noise."""
    return mean.unsqueeze(1) + log_std.exp().unsqueeze(1) * noise


def divergence(mean: Tensor, log_std: Tensor) -> Tensor:
    """Return KL(q(z | x) || N(0, I)) [N] of mean [N, L] and log_std [N, 1 or L]."""
    each = 1 + 2 * log_std - mean.square() - (2 * log_std).exp()
    return -each.sum(1) / 2


def _layers(widths: list[int]) -> nn.Sequential:
    layers = nn.Sequential()
    for width, following in pairwise(widths):
        layers.extend([nn.Linear(width, following), nn.ReLU()])
    return layers[:-1]


def _moments(output: Tensor, width: int) -> tuple[Tensor, Tensor | None]:
    output = at_least_single(output)
    if output.shape[-1] == width:
        return output, None
    return output[..., :width], output[..., width:].clamp(-LOG_STD, LOG_STD)


def _log_normal(x: Tensor, mean: Tensor, log_std: Tensor | None) -> Tensor:
    """Return log N(x | mean, std), summed over the last dimension."""
    if log_std is None:
        return -(x - mean).square().sum(-1) / 2
    width = x.shape[-1]
    scaled = (x - mean) * (-log_std).exp()
    logs = log_std.sum(-1) * (width / log_std.shape[-1])
    return -scaled.square().sum(-1) / 2 - logs - width * math.log(2 * math.pi) / 2
