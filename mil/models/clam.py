"""What CLAM's two forms share: attention, and the clustering of instances by it."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from mil.bags import Bag
from mil.models.base import BagModel, Embedding, Preset
from mil.nn.attention import AttentionPool
from mil.nn.embed import instance_embedding
from mil.nn.initialise import xavier_linear_
from mil.nn.segments import at_least_single, segment_ids, segment_rank

CLUSTERING = ("ce", "svm")
TRAINING = {
    "learning_rate": 2e-4,
    "schedule": "constant",
    "weight_decay": 1e-5,
    "epochs": 200,
    "window": 1,
    "patience": 20,
    "warmup": 50,
    "l1": 0.0,
}


class CLAM(BagModel):
    r"""Base of CLAM-SB and CLAM-MB (Lu et al., Nature Biomedical Engineering 2021).

    .. math::

        h_n = \mathrm{ReLU}(W x_n + b), \qquad
        f_{nc} = w_c^\top (\tanh(V h_n) \odot \sigma(U h_n)), \qquad
        z_c = \sum_n \mathrm{softmax}_n(f_{\cdot c})\, h_n

    Besides, class c has a classifier of instances, :math:`d_{nc}` its logit of "in" less that of
    "out". In a bag of class y the k instances of the highest attention (of y's branch) shall be in
    y and the k of the lowest out of it; with ``subtyping`` the k highest of every other class shall
    be out of that. With T and L the highest and the lowest k of y's branch, and :math:`T_c` the
    highest of c's:

    .. math::

        \ell = \frac{1}{2k} \Bigl(\sum_{n \in T} \ell_1(d_{ny}) + \sum_{n \in L} \ell_0(d_{ny})
        \Bigr), \qquad
        \ell_{\mathrm{subtyping}} = \frac{1}{C} \Bigl(\ell + \sum_{c \neq y} \frac{1}{k}
        \sum_{n \in T_c} \ell_0(d_{nc})\Bigr)

    where :math:`\ell_1(d) = \mathrm{softplus}(m - d)` and :math:`\ell_0(d) = \ell_1(-d)`: the
    cross-entropy of both logits with m = 0 and their smooth SVM with m = 1. Who is chosen carries
    no gradient. Small bags have k' = min(k, n // 2), so that nobody is asked for both; bags whose
    class a head does not know (censored patients, risks) have no such loss.

    Parameters
    ----------
    in_dim : width of the instance features, D.
    hidden : width of h; None for h = x.
    attention : width of the attention, 256 (published as "small") or 384 ("big").
    gated : multiply tanh by the sigmoid gate.
    dropout : after W. Inside the attention it is always 0.25 or, when this is 0, 0.
    k : instances chosen at each end.
    subtyping : classes exclude each other, so each teaches the others' classifiers.
    clustering_loss : ``ce`` (the published code's default) or ``svm`` (the article's).
    bag_weight, clustering_weight : of the head's loss and of this.
    outputs : number of outputs of the head, C; one output is of two classes.

    Notes
    -----
    Time and memory grow with N. A process on a CPU that holds the 0.4 GB of 100,000 instances of
    width 1024 peaks at 1.2 GB when it trains CLAM-SB (preset ``torchmil``), and at 2.0 GB with
    CLAM-MB. Elsewhere this loss is summed over bags instead of averaged, or reads the
    SVM's targets in a shape that compares all rows with each other (see ``mil.losses.smooth_svm``).
    """

    instances_are: ClassVar[str] = "members"
    presets: ClassVar = {"paper": Preset({"clustering_loss": "svm"}, TRAINING)}

    def __init__(
        self,
        in_dim: int,
        hidden: int | None = 512,
        attention: int = 256,
        gated: bool = True,
        dropout: float = 0.25,
        k: int = 8,
        subtyping: bool = False,
        clustering_loss: str = "ce",
        bag_weight: float = 0.7,
        clustering_weight: float = 0.3,
        *,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.check("clustering_loss", clustering_loss, CLUSTERING)
        self.k, self.subtyping = k, subtyping
        self.margin = float(clustering_loss == "svm")
        self.bag_weight, self.clustering_weight = bag_weight, clustering_weight
        self.embed, width = instance_embedding(in_dim, hidden, dropout)
        branches = outputs if self.gives_outputs else None
        self.pool = AttentionPool(width, attention, gated, 0.25 if dropout > 0 else 0.0, branches)
        self.instance_heads = nn.ModuleList(nn.Linear(width, 2) for _ in range(max(outputs, 2)))
        self.classifiers = nn.ModuleList(nn.Linear(width, 1) for _ in range(branches or 0))
        self.out_dim = branches or width
        xavier_linear_(self)

    def of_all(self, h: Tensor) -> Tensor | None:
        """Return ``of_instances``, None in training, where few instances are asked."""
        return None if self.training else self.of_instances(h)

    def of_instances(self, h: Tensor) -> Tensor:
        """Return d [N, C]: how much each class's own classifier takes an instance for "in" it."""
        logits = torch.stack([head(h) for head in self.instance_heads], 1)  # [N, C, 2]
        return at_least_single(logits[..., 1] - logits[..., 0])

    def instance_loss(self, embedding: Embedding, bag: Bag, classes: Tensor) -> Tensor:
        """Return the weighted clustering loss [B], 0 where the class is unknown."""
        scores = embedding.class_scores
        scores = embedding.scores.unsqueeze(1) if scores is None else scores
        ids, sizes = segment_ids(bag.offsets), bag.offsets.diff()
        k = (sizes // 2).clamp(max=self.k)[ids].unsqueeze(1)  # [N, 1]
        rank = segment_rank(scores.detach(), bag.offsets)  # [N, branches]
        highest, lowest = rank < k, rank >= sizes[ids].unsqueeze(1) - k
        of_bag, count = classes[ids].unsqueeze(1), len(self.instance_heads)
        own = of_bag == torch.arange(count, device=classes.device)  # [N, C]
        share = 1 / (2 * k.clamp(min=1))
        inside = share * (highest & own)
        outside = share * (lowest & own)
        if self.subtyping:
            outside = outside + 2 * share * (highest & ~own & (of_bag >= 0))
        chosen = (inside + outside).any(1).nonzero()[:, 0]  # few of all
        inside, outside = inside[chosen], outside[chosen]
        logits = self.of_instances(embedding.pooled[chosen])
        told = inside * softplus(self.margin - logits) + outside * softplus(self.margin + logits)
        loss = self.clustering_weight * told.new_zeros(len(sizes)).index_add(
            0, ids[chosen], told.sum(1)
        )
        return loss / count if self.subtyping else loss
