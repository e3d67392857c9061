"""AdvMIL's discriminator, which tells observed times of a bag from generated ones."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mil.bags import Bag
from mil.nn.attention import AttentionPool
from mil.nn.regions import RegionEmbedding
from mil.nn.segments import at_least_single, segment_mean

FUSIONS = ("instance", "bag", "cat")
TERMS = ("bag", "time", "none")


@dataclass
class BagEvidence:
    """What the discriminator keeps of B bags with M regions together.

    Shapes
    ------
    regions [M, H], offsets [B + 1] in regions, vector [B, H].
    """

    regions: Tensor
    offsets: Tensor
    vector: Tensor


def _bottleneck(width: int, dropout: float) -> nn.Sequential:
    half = width // 2
    return nn.Sequential(
        nn.Linear(width, half), nn.ReLU(), nn.Dropout(dropout), nn.Linear(half, width)
    )


class Discriminator(nn.Module):
    r"""Logit of a (bag, time) pair by region-level projection, RLIP (Liu et al., AdvMIL, 2024).

    Regions of sixteen instances are embedded, :math:`E_m` their mean, :math:`F_m` two layers on it,
    :math:`f` two layers on the attention-pooled F, :math:`h_t` two layers on the time:

    .. math:: D(x, t) = \frac1M \sum_m \langle F_m, h_t \rangle + P f

    Parameters
    ----------
    in_dim : width of the instance features.
    fusion : ``instance`` is the formula above; ``bag`` has :math:`\langle f, h_t \rangle` for the
        mean; ``cat`` is one layer on ``[f, h_t]``.
    term : what P reads: the bag's f (published), the time's h_t, or ``none``: there is no P. It has
        no say in ``cat``.
    width : width H of everything after the embedding.
    dropout : inside the bag's layers and its attention; the time's layers have none.

    Notes
    -----
    ``encode`` needs the bag only and ``judge`` the time: real and generated times of the same bags
    are judged on one encoding, in float32 or better.
    """

    def __init__(
        self,
        in_dim: int,
        fusion: str = "instance",
        term: str = "bag",
        width: int = 128,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"fusion is {fusion!r}; it must be one of {', '.join(FUSIONS)}.")
        if term not in TERMS:
            raise ValueError(f"term is {term!r}; it must be one of {', '.join(TERMS)}.")
        self.fusion = fusion
        self.term = term
        self.embed = RegionEmbedding(in_dim, width)
        self.region = _bottleneck(width, dropout)
        self.pool = AttentionPool(width, width, gated=True, dropout=dropout)
        self.bag = _bottleneck(width, dropout)
        half = width // 2
        self.time = nn.Sequential(nn.Linear(1, half), nn.ReLU(), nn.Linear(half, width), nn.ReLU())
        if fusion == "cat":
            self.out = nn.Linear(2 * width, 1)
        elif term != "none":
            self.out = nn.Linear(width, 1)

    def encode(self, bag: Bag) -> BagEvidence:
        """Encode bags whose sizes are multiples of sixteen.

        Raises
        ------
        mil.bags.BagError : a bag that does not consist of whole regions.
        """
        offsets = bag.regions()
        regions = self.region(self.embed(bag.features))  # [M, H]
        pooled, _ = self.pool(regions, offsets)  # [B, H]
        return BagEvidence(at_least_single(regions), offsets, at_least_single(self.bag(pooled)))

    def judge(self, evidence: BagEvidence, time: Tensor) -> Tensor:
        """Return the logits [B] of the bags with one time each, ``time`` [B] in training units."""
        h_t = self.time(time.unsqueeze(-1))  # [B, H]
        if self.fusion == "cat":
            return self.out(torch.cat([evidence.vector, h_t], 1)).squeeze(-1)
        # The mean of the regions' products with h_t is the product with the regions' mean.
        shown = (
            segment_mean(evidence.regions, evidence.offsets)
            if self.fusion == "instance"
            else evidence.vector
        )
        logit = (shown * h_t).sum(1)  # [B]
        if self.term == "none":
            return logit
        return logit + self.out(evidence.vector if self.term == "bag" else h_t).squeeze(-1)

    def forward(self, bag: Bag, time: Tensor) -> Tensor:
        """Return the logits [B] of the pairs."""
        return self.judge(self.encode(bag), time)
