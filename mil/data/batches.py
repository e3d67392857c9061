"""Which bags go together, and how often each is seen."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import WeightedRandomSampler

from mil.problems import InputError
from mil.seeds import seed_for

NEAR = 50
"""Batches sorted by length at a time: less leaves more padding, more makes epochs alike."""


class LengthBuckets:
    """Batches of bags of similar length, in another random order every time they are gone through.

    A ``batch_sampler`` of ``torch.utils.data.DataLoader``. Bags in random order are cut into pieces
    of fifty batches; each piece is sorted by length and cut into batches, and all batches are
    shuffled.

    Parameters
    ----------
    sizes : number of instances of each bag.
    batch : bags of a batch; the last may have fewer.
    seed : of the order.

    Attributes
    ----------
    epoch : how often the batches were gone through; set it to resume.
    """

    def __init__(self, sizes: Sequence[int], batch: int, seed: int = 0) -> None:
        self.sizes = np.asarray(sizes)
        self.batch = batch
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.sizes) // self.batch)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the numbers of the bags of each batch."""
        random = np.random.default_rng(seed_for(self.seed, "buckets", self.epoch))
        self.epoch += 1
        order = random.permutation(len(self.sizes))
        batches = []
        for start in range(0, len(order), NEAR * self.batch):
            piece = order[start : start + NEAR * self.batch]
            piece = piece[np.argsort(self.sizes[piece], kind="stable")]
            batches += [piece[i : i + self.batch] for i in range(0, len(piece), self.batch)]
        for number in random.permutation(len(batches)):
            yield batches[number].tolist()


def class_balanced(labels: Tensor, seed: int = 0, count: int | None = None) -> Sequence[int]:
    """Return a sampler that draws bags with replacement, of every class equally often.

    A ``sampler`` of ``torch.utils.data.DataLoader``; every time it is gone through it draws anew.

    Parameters
    ----------
    labels : [n] classes of the bags, whole numbers from 0; -1 of a bag that is never drawn.
    seed : of the draws.
    count : how many to draw; as many as there are bags if None.

    Returns
    -------
    torch.utils.data.WeightedRandomSampler

    Raises
    ------
    mil.problems.InputError : labels of another shape, or none that is known.
    """
    if labels.ndim != 1 or not (labels >= 0).any():
        raise InputError(
            [
                f"labels are {list(labels.shape)} with {int((labels >= 0).sum())} known; they must "
                "be [n], the class of every bag from 0, one known at least."
            ]
        )
    known = labels >= 0
    sizes = torch.bincount(labels[known].long())
    weights = torch.where(known, 1 / sizes.double()[labels.clamp(min=0).long()], 0.0)
    generator = torch.Generator().manual_seed(seed_for(seed, "class_balanced"))
    return WeightedRandomSampler(weights, count or len(labels), generator=generator)
