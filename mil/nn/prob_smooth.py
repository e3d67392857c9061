"""Attention pooling with random scores that shall differ little between neighbours."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mil.nn.adjacency import Adjacency
from mil.nn.segments import at_least_single, bag_softmax, segment_mean, weighted_sum
from mil.problems import InputError
from mil.seeds import seed_for

BOUND = 20.0
"""Random scores beyond it are drawn back to it."""
EVALUATION_SEED = seed_for(0, "random attention in evaluation")
COLUMNS = 128
"""Draws made at once where no gradient is wanted."""


class RandomPool(NamedTuple):
    """What ``ProbSmoothAttentionPool`` makes of N instances in B bags.

    Shapes
    ------
    vector [B, D]: pooled bags, the mean over draws. scores [N]: their softmax is the mean
    attention. samples [N, M]: attention of each draw, or None without variance. penalty [B].
    """

    vector: Tensor
    scores: Tensor
    samples: Tensor | None
    penalty: Tensor


class ProbSmoothAttentionPool(nn.Module):
    r"""Attention pooling whose scores are random (Castro-Macias et al., 2025, arXiv 2507.14932).

    With :math:`h = \mathrm{GELU}(W_2\, \mathrm{GELU}(W_1 x + b_1) + b_2)`:

    .. math::

        f_n \sim N(\mu_n, \sigma_n^2), \quad \mu = u^\top h + c, \quad
        \log \sigma^2 = v^\top h + d, \qquad z = \sum_n \mathrm{softmax}_n(f)\, x_n

    f is kept within 20 of 0. The prior prefers scores that differ little between neighbours; its
    divergence, with :math:`L = I - \hat A` of a bag's normalised graph of n nodes, is

    .. math::

        \mathrm{KL} = \frac1n \Big(\mu^\top L \mu + \sum_i \sigma_i^2 (1 - \hat A_{ii})
        - \frac12 \sum_i \log \sigma_i^2\Big)

    Without variance f is mu and the penalty its Dirichlet energy :math:`\mu^\top L \mu / n`.

    In training draws come from PyTorch's global generator. In evaluation they are the same every
    time, in pairs +e and -e, and the instance with the k-th smallest ``key`` of its bag gets the
    k-th: with a key that an instance keeps, neither the order of instances nor other bags, weights
    or the precision matter. torchmil takes the diagonal from a dense
    matrix and lets padding into the divergence and its divisor.

    Parameters
    ----------
    width : D of the instances.
    hidden : a; W_1 and W_2 are 2 a wide.
    samples : draws M in training.
    evaluation_samples : draws in evaluation, an even number.
    variance : false sets it to 0.

    Shapes
    ------
    x [N, D], a normalised graph, offsets [B + 1], key [N] -> ``RandomPool``.

    Raises
    ------
    mil.problems.InputError : an odd number of evaluation samples.
    """

    def __init__(
        self,
        width: int,
        hidden: int = 128,
        samples: int = 100,
        evaluation_samples: int = 200,
        variance: bool = True,
    ) -> None:
        super().__init__()
        if evaluation_samples % 2:
            raise InputError(
                [f"evaluation_samples is {evaluation_samples}; draws come in pairs, take an even."]
            )
        self.samples, self.evaluation_samples = samples, evaluation_samples
        wide = 2 * hidden
        self.hidden = nn.Sequential(
            nn.Linear(width, wide), nn.GELU(), nn.Linear(wide, wide), nn.GELU()
        )
        self.mean = nn.Linear(wide, 1)
        self.log_variance = nn.Linear(wide, 1) if variance else None

    def forward(self, x: Tensor, graph: Adjacency, offsets: Tensor, key: Tensor) -> RandomPool:
        """Return pooled bags, scores, draws and the penalty."""
        h = self.hidden(x)  # [N, 2 a]
        mean = at_least_single(self.mean(h).squeeze(-1))  # [N]
        penalty = mean * (mean - graph @ mean)
        if self.log_variance is None:
            weights = bag_softmax(mean, offsets)
            vector = weighted_sum(weights, x, offsets)
            return RandomPool(vector, mean, None, segment_mean(penalty, offsets))

        log_variance = at_least_single(self.log_variance(h).squeeze(-1))
        penalty = penalty + log_variance.exp() * (1 - graph.diagonal) - log_variance / 2
        samples = self._draws(mean, (log_variance / 2).exp(), offsets, key)  # [N, M]
        weights = samples.mean(1)
        vector = weighted_sum(weights, x, offsets)
        return RandomPool(vector, weights.log(), samples, segment_mean(penalty, offsets))

    def _draws(self, mean: Tensor, deviation: Tensor, offsets: Tensor, key: Tensor) -> Tensor:
        """Return the attention [N, M] of M draws."""
        if self.training:
            noise = torch.randn(len(mean), self.samples, dtype=mean.dtype, device=mean.device)
            return attention_of(mean, deviation, noise, offsets)
        half = fixed_noise(key, self.evaluation_samples // 2, offsets).to(mean)
        if torch.is_grad_enabled():
            return attention_of(mean, deviation, torch.cat([half, -half], 1), offsets)
        parts = [
            attention_of(mean, deviation, noise, offsets)
            for sign in (half, -half)
            for noise in sign.split(COLUMNS, 1)
        ]
        return torch.cat(parts, 1)


def attention_of(mean: Tensor, deviation: Tensor, noise: Tensor, offsets: Tensor) -> Tensor:
    """Return the attention [N, M] that scores have with standard normal ``noise`` [N, M]."""
    f = torch.addcmul(mean.unsqueeze(1), deviation.unsqueeze(1), noise)
    return bag_softmax(f.clamp(-BOUND, BOUND), offsets)


def fixed_noise(key: Tensor, draws: int, offsets: Tensor) -> Tensor:
    """Return standard normal noise [N, draws], the same for the k-th smallest key of any bag."""
    parts = []
    for one in key.cpu().split(offsets.diff().tolist()):
        generator = torch.Generator().manual_seed(EVALUATION_SEED)
        noise = torch.randn(len(one), draws, generator=generator)
        parts.append(noise[one.argsort(stable=True).argsort()])
    return torch.cat(parts).to(key.device)
