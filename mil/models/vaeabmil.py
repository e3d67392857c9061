"""ABMIL on the latent variables of an autoencoder."""

from typing import ClassVar

import torch
from torch import Tensor

from mil.bags import Bag
from mil.models import register
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.attention import AttentionPool
from mil.nn.autoencoder import Autoencoder, divergence, sampled
from mil.nn.segments import segment_mean
from mil.problems import InputError
from mil.seeds import seed_for


@register("vaeabmil")
class VAEABMIL(BagModel):
    r"""Attention on latent variables that explain the instances (Saez-Maldonado et al., 2025).

    .. math::

        z_n = \frac1S \sum_s z_{ns}, \quad z_{ns} \sim q(z | x_n), \qquad
        v = \sum_n \mathrm{softmax}_n(w^\top \tanh(V z_n + b))\, z_n

    with the autoencoder of ``mil.nn.autoencoder``. The loss has two penalties, means over a bag's
    instances: ``nll``, :math:`-E_q \log p(x | z)`, of the same draws, and ``kl``,
    :math:`\mathrm{KL}(q(z | x) \| N(0, I))`. Both are sums over dimensions, of hundreds where the
    features are wide; ``training: {annealing: {nll: {...}, kl: {...}}}`` sets their weights. In
    evaluation z is the posterior mean (the reference draws there too). ``out_of_distribution``
    tells what the autoencoder has not seen (IEEE Access 2025).

    torchmil lets padding into both terms, and draws z anew for them.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    sizes : widths of the encoder's layers joined by dashes; the last, L, is that of z and of the
        bag embedding.
    variance : ``single`` or ``diagonal`` standard deviations; ``none``: an autoencoder without
        chance, whose ``nll`` is half the squared error and which has no ``kl``.
    samples : S, in training.
    attention : width of V.
    gated : multiply tanh by a sigmoid gate.

    Shapes
    ------
    features [N, D] of one bag, or packed with offsets [B + 1]; returns vector [B, L], scores [N],
    pooled [N, L], and in training the penalties [B].

    Notes
    -----
    Time and memory grow with N. A process on a CPU that holds the 0.4 GB of 100,000 instances of
    width 1024 peaks at 1.9 GB in training and 1.1 in evaluation.

    Raises
    ------
    mil.problems.InputError : sizes that are no whole numbers joined by dashes.
    """

    penalties: ClassVar[tuple[str, ...]] = ("nll", "kl")
    presets: ClassVar = {
        "torchmil": Preset(
            {},
            {
                "learning_rate": 1e-4,
                "schedule": "constant",
                "weight_decay": 0.0,
                "epochs": 50,
                "window": 1,
                "l1": 0.0,
            },
        )
    }

    def __init__(
        self,
        in_dim: int,
        sizes: str = "256-64",
        variance: str = "single",
        samples: int = 1,
        attention: int = 128,
        gated: bool = False,
    ) -> None:
        super().__init__()
        widths = str(sizes).split("-")
        if not all(width.isdecimal() and int(width) > 0 for width in widths):
            raise InputError(
                [
                    f"model 'vaeabmil': sizes is {sizes!r}; it must be whole numbers above 0, "
                    "joined by dashes, as 256-64."
                ]
            )
        widths = [int(width) for width in widths]
        self.out_dim, self.samples = widths[-1], samples
        self.autoencoder = Autoencoder(in_dim, widths, variance)
        self.pool = AttentionPool(self.out_dim, attention, gated)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, L], raw attention scores [N] and, in training, ``nll`` and ``kl``."""
        mean, log_std = self.autoencoder.encode(bag.features)  # [N, L]
        z = mean.unsqueeze(1)  # [N, S, L]
        if self.training and log_std is not None:
            noise = mean.new_empty(len(mean), self.samples, self.out_dim).normal_()
            z = sampled(mean, log_std, noise)
        latent = z.mean(1)
        vector, scores = self.pool(latent, bag.offsets)  # [B, L], [N]
        embedding = Embedding(vector, scores, pooled=latent)
        if self.training:
            surprise = self.autoencoder.surprise(bag.features, z)
            embedding.penalties["nll"] = segment_mean(surprise, bag.offsets)
            if log_std is not None:
                embedding.penalties["kl"] = segment_mean(divergence(mean, log_std), bag.offsets)
        return embedding

    def out_of_distribution(
        self, bag: Bag, draws: int = 100, quantile: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return how little the autoencoder expects instances and bags; higher is stranger.

        Parameters
        ----------
        bag : as the network sees it, scaled where it scales (``Network.scaled``).
        draws : K of the estimate; the same for every instance, so it depends on nothing else.
        quantile : of a bag's instances, 0.95 for those that stand out; None: their mean.

        Returns
        -------
        -log p(x) of the instances [N] and of the bags [B].
        """
        generator = torch.Generator().manual_seed(seed_for(0, "out of distribution"))
        noise = torch.randn(1, draws, self.out_dim, generator=generator).to(bag.features)
        strange = -self.autoencoder.log_likelihood(bag.features, noise)
        if quantile is None:
            return strange, segment_mean(strange, bag.offsets)
        parts = strange.split(bag.sizes)
        return strange, torch.stack([part.quantile(quantile) for part in parts])
