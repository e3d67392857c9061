"""AdvMIL's transformer over the regions of a bag."""

from mil.bags import REGION, Bag
from mil.models import register
from mil.models.base import BagModel, Embedding
from mil.nn.attention import AttentionPool
from mil.nn.initialise import xavier_linear_
from mil.nn.post_norm import InstanceLayer
from mil.nn.regions import RegionEmbedding
from mil.problems import InputError


@register("esat")
class ESAT(BagModel):
    r"""Transformer over regions of sixteen instances, the patch backbone of AdvMIL.

    .. math::

        E_m &= \frac1{16} \sum_{n \in m} \mathrm{ReLU}(\mathrm{LayerNorm}(W x_n + b)) \\
        S &= \mathrm{LayerNorm}(E + \mathrm{MultiHead}(E, E, E)) \\
        R &= \mathrm{LayerNorm}(S + W_2\, \mathrm{ReLU}(W_1 S + b_1) + b_2) \\
        z &= \sum_m a_m R_m, \qquad
        a = \mathrm{softmax}_m\, w^\top (\tanh(V R_m) \odot \sigma(U R_m))

    A region is a coarse patch as its sixteen fine ones show it, and looks at all regions of its
    patient. Nothing says where a region lies: there is no positional encoding. Widths, start and
    dropout are those of the public code of AdvMIL (Liu et al., Medical Image Analysis 2024). It
    took name and idea from ESAT (Shen et al., 2022), which has convolutions on pixels and an
    approximate attention instead.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width H of everything that follows, the bag embedding included.
    heads : parts that the attention among regions divides ``hidden`` into.
    dropout : in the transformer. Inside the pooling it is always 0.25 or, when this is 0, 0.

    Shapes
    ------
    features [N, D] of one bag, or packed with offsets [B + 1]; N of every bag is a multiple of 16,
    of M regions. Returns vector [B, H] and scores [N]: what the pooling gives a region is the score
    of each of its instances, which therefore share the region's weight evenly.

    Notes
    -----
    Every region looks at every other, so time grows with the square of the largest bag; memory does
    not. A process on a CPU peaks at 1.5, 2.2 and 4.0 GB when it trains on 50,000, 100,000 and
    200,000 instances of width 1024 (the last takes 100 s a step), and at 1.1, 1.4 and 2.1 GB in
    evaluation, of which the features are 0.2, 0.4 and 0.8 GB.

    Raises
    ------
    mil.problems.InputError : ``hidden`` cannot be divided by ``heads``.
    mil.bags.BagError : a bag that does not consist of whole regions (``forward``).
    """

    reads_regions = True

    def __init__(
        self, in_dim: int, hidden: int = 384, heads: int = 8, dropout: float = 0.25
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise InputError(
                [f"model 'esat': hidden is {hidden}; it must be a multiple of heads, {heads}."]
            )
        self.out_dim = hidden
        self.embed = RegionEmbedding(in_dim, hidden)  # keeps PyTorch's start
        self.encoder = InstanceLayer(hidden, heads, hidden, dropout)
        self.pool = AttentionPool(hidden, hidden, dropout=0.25 if dropout > 0 else 0.0)
        xavier_linear_(self.encoder)
        xavier_linear_(self.pool)

    def forward(self, bag: Bag) -> Embedding:
        """Return vector [B, H] and raw attention scores [N]."""
        offsets = bag.regions()  # [B + 1]
        e = self.embed(bag.features)  # [M, H]
        r = self.encoder(e, offsets)  # [M, H]
        z, scores = self.pool(r, offsets)  # [B, H], [M]
        # Sixteen copies of every region are for looking at predictions; training does without.
        pooled = None if self.training else r.repeat_interleave(REGION, 0)  # [N, H]
        return Embedding(z, scores.repeat_interleave(REGION), pooled=pooled)
