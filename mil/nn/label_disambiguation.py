"""Which label of its bag an instance has: prototypes of the classes, and a growing confidence."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mil.bags import Bag
from mil.nn.segments import at_least_single, segment_ids, segment_mean

RATE = 0.01
SHARE = 10
"""One of so many instances improves the prototype of its class."""


class LabelDisambiguation(nn.Module):
    r"""Labels of instances from those of bags (Ren et al., IIB-MIL, MICCAI 2023).

    Candidates of an instance are class 0 and the class of its bag. With every batch, the tenth of
    all instances of bags of class c that most probably are of it improve its prototype, the most
    probable first, :math:`p \leftarrow m p + (1 - m) e`, which together is

    .. math::

        p_c \leftarrow m^k p_c + (1 - m) \sum_{i=1}^{k} m^{k-i} e_i, \qquad
        m = 1 - 0.01\, B / n_c

    for B bags, :math:`n_c` of them of class c. Then the candidate whose prototype an instance is
    most like gains in confidence: :math:`w \leftarrow \gamma w + (1 - \gamma)\, \mathrm{onehot}`,
    from even shares on. The loss of an instance is :math:`-\sum_c w_c \log \mathrm{softmax}(l)_c`.

    Confidences are known by the id of the bag and the row in it. A bag without an id, or with
    another number of instances than before, starts anew.

    Parameters
    ----------
    classes, width : of the prototypes [C, H].
    momentum : gamma.
    warmup : how often a bag is seen before its instances have a loss and confidences.
    normalised : instances and prototypes have length 1; in the reference they have not.
    """

    def __init__(
        self, classes: int, width: int, momentum: float, warmup: int, normalised: bool
    ) -> None:
        super().__init__()
        self.momentum, self.warmup, self.normalised = momentum, warmup, normalised
        self.register_buffer("prototypes", torch.zeros(classes, width))
        self.confidences: dict[str, Tensor] = {}
        self.visits: dict[str, int] = {}

    def loss(self, logits: Tensor, bag: Bag, classes: Tensor) -> Tensor:
        """Return the mean loss [B] of the instances of each bag; 0 without a class or too early."""
        told = self.confidence(bag, classes) * at_least_single(logits).log_softmax(1)
        loss = -segment_mean(told.sum(1), bag.offsets)
        warm = [self.visits.get(name, 0) >= self.warmup for name in _names(bag)]
        counts = (classes >= 0) & torch.tensor(warm, device=classes.device)
        return torch.where(counts, loss, 0)

    def learn(self, instances: Tensor, logits: Tensor, bag: Bag, classes: Tensor) -> None:
        """Take note of a batch: instances [N, H] and their logits [N, C] after a step on it."""
        e = at_least_single(instances)
        e = normalize(e, dim=1) if self.normalised else e
        self._improve(e, at_least_single(logits).softmax(1), bag, classes)
        confidence = self.confidence(bag, classes)
        like = (e @ self.prototypes.t()).masked_fill(confidence == 0, -torch.inf)
        chosen = torch.zeros_like(like).scatter_(1, like.argmax(1, keepdim=True), 1)
        confidence = self.momentum * confidence + (1 - self.momentum) * chosen
        parts = confidence.cpu().split(bag.sizes)
        for name, known, part in zip(bag.ids, (classes >= 0).tolist(), parts, strict=False):
            if known:
                self.visits[name] = self.visits.get(name, 0) + 1
                if self.visits[name] >= self.warmup:
                    self.confidences[name] = part.clone()

    def confidence(self, bag: Bag, classes: Tensor) -> Tensor:
        """Return the confidences [N, C] that instances now have in their candidates."""
        columns = torch.arange(len(self.prototypes), device=classes.device)
        candidates = (columns == 0) | (columns == classes.clamp(min=0).unsqueeze(1))
        even = candidates / candidates.sum(1, keepdim=True)  # [B, C]
        parts = []
        for name, start, n in zip(_names(bag), even, bag.sizes, strict=True):
            known = self.confidences.get(name)
            if known is None or len(known) != n:
                known = start.expand(n, -1)
            parts.append(known.to(self.prototypes))
        return torch.cat(parts)

    def _improve(self, e: Tensor, probability: Tensor, bag: Bag, classes: Tensor) -> None:
        of = classes[segment_ids(bag.offsets)]  # [N]
        bags = int((classes >= 0).sum())
        for c in classes[classes >= 0].unique().tolist():
            (rows,) = torch.nonzero(of == c, as_tuple=True)
            k = len(rows) // SHARE
            best = rows[probability[rows, c].argsort(descending=True, stable=True)[:k]]
            m = 1 - RATE * bags / int((classes == c).sum())
            powers = m ** torch.arange(k - 1, -1, -1, device=e.device, dtype=e.dtype)
            gained = (powers.unsqueeze(1) * e[best]).sum(0)
            p = m**k * self.prototypes[c] + (1 - m) * gained
            self.prototypes[c] = normalize(p, dim=0) if self.normalised else p

    def remembered(self) -> dict[str, Any]:
        """Return confidences and visits, all that a training goes on from besides buffers."""
        return {"confidences": dict(self.confidences), "visits": dict(self.visits)}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Take over what ``remembered`` returned."""
        self.confidences, self.visits = dict(state["confidences"]), dict(state["visits"])


def _names(bag: Bag) -> tuple[str | None, ...]:
    return bag.ids or (None,) * len(bag)
