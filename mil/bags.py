"""The bag: all instances of a patient, or of several patients packed one behind the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mil.problems import InputError

if TYPE_CHECKING:
    from mil.nn.adjacency import Adjacency

REGION = 16
"""Rows ``16k .. 16k+15`` of a bag are the sixteen fine patches of coarse patch ``k``."""

ROW_NUMBERS = ("edge_index", "edge_latent")
PACKED = ("coords", "slide", "cluster", *ROW_NUMBERS, "edge_weight", "label", "instance_label")


class BagError(InputError):
    """Bags that cannot be used; the sentences say whose, why, and what to do."""


@dataclass(frozen=True)
class Bag:
    """One patient's instances, or several patients' packed without padding.

    Bag ``b`` owns rows ``offsets[b] .. offsets[b+1] - 1`` of everything that has N rows.

    Shapes
    ------
    features [N, D] float; offsets [B + 1] int64, from 0 to N; coords [N, 2] int64, level-0 pixels,
    x then y; slide [N] int64, which of its bag's slides, from 0; edge_index and edge_latent [2, E]
    int64, row numbers of the packed bag, source then target; edge_weight [E] float, of edge_index,
    1 where absent; cluster [N] int64; label [B] or [B, C] of the bags and instance_label [N] (1, 0,
    or -1 for unknown), which no model reads; ids: B patient ids.

    Raises
    ------
    BagError : an empty bag, or a row count that does not agree with the features.
    """

    features: Tensor
    offsets: Tensor
    coords: Tensor | None = None
    slide: Tensor | None = None
    edge_index: Tensor | None = None
    edge_latent: Tensor | None = None
    edge_weight: Tensor | None = None
    cluster: Tensor | None = None
    label: Tensor | None = None
    instance_label: Tensor | None = None
    ids: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        rows = len(self.features)
        if int(self.offsets[-1]) != rows:
            raise BagError([f"bags end at row {int(self.offsets[-1])} of {rows} feature rows."])
        for index in torch.nonzero(self.offsets.diff() <= 0).flatten().tolist():
            name = self.ids[index] if self.ids else index
            raise BagError([f"bag {name}: no instance. Leave such a patient out of the cohort."])
        for name in ("coords", "slide", "cluster", "instance_label"):
            value = getattr(self, name)
            if value is not None and len(value) != rows:
                raise BagError([f"{name} has {len(value)} rows for {rows} feature rows."])
        if self.label is not None and len(self.label) != len(self):
            raise BagError([f"{len(self.label)} labels for {len(self)} bags."])

    @classmethod
    def single(cls, features: Tensor, name: str = "", **others: Tensor | None) -> "Bag":
        """Return one bag of ``features`` [N, D]."""
        offsets = torch.tensor([0, len(features)], device=features.device)
        return cls(features, offsets, ids=(name,) if name else (), **others)

    def __len__(self) -> int:
        """Return the number of bags B."""
        return len(self.offsets) - 1

    @cached_property
    def sizes(self) -> list[int]:
        """Instances of each bag."""
        return self.offsets.diff().tolist()

    @cached_property
    def graph(self) -> "Adjacency":
        """The edges of ``edge_index`` in both directions, each once; made when first asked for."""
        from mil.nn.adjacency import Adjacency  # which has a graph of bags

        return Adjacency.of(self.edge_index, len(self.features), self.edge_weight).symmetrised()

    def to(self, device: torch.device | str) -> "Bag":
        """Return the bag with all its tensors on ``device``."""
        return self._with(lambda value: value.to(device))

    def pin_memory(self) -> "Bag":
        """Return the bag in memory that a GPU reads from; ``DataLoader(pin_memory=True)`` asks."""
        return self._with(lambda value: value.pin_memory())

    def _with(self, change: Callable[[Tensor], Tensor]) -> "Bag":
        tensors = {name: value for name, value in vars(self).items() if torch.is_tensor(value)}
        return replace(self, **{name: change(value) for name, value in tensors.items()})

    def regions(self) -> Tensor:
        """Return the offsets [B + 1] of the bags in regions of sixteen rows.

        Raises
        ------
        BagError : a bag whose number of instances is no multiple of 16.
        """
        names = self.ids or range(len(self))
        problems = [
            f"bag {name}: {size} instances are no multiple of {REGION}. Regions need the sixteen "
            "fine patches of every coarse patch, in one block."
            for name, size in zip(names, self.sizes, strict=True)
            if size % REGION
        ]
        if problems:
            raise BagError(problems)
        return self.offsets // REGION


def pack(bags: Sequence[Bag]) -> Bag:
    """Put bags one behind the other; edges are shifted to the rows they then mean.

    A field is packed where every bag has it and left out where none has.

    Raises
    ------
    BagError : no bag, different widths, or a field that only some of the bags have.
    """
    if not bags:
        raise BagError(["no bag to pack."])
    widths = sorted({bag.features.shape[1] for bag in bags})
    if len(widths) > 1:
        raise BagError([f"bags of different feature widths cannot be packed: {widths}."])
    starts = [0]
    for bag in bags:
        starts.append(starts[-1] + len(bag.features))

    packed = {}
    for name in PACKED:
        values = [getattr(bag, name) for bag in bags]
        if all(value is None for value in values):
            continue
        if any(value is None for value in values):
            raise BagError([f"only some of the bags have {name}."])
        if name in ROW_NUMBERS:
            values = [value + start for value, start in zip(values, starts, strict=False)]
        packed[name] = torch.cat(values, 1 if name in ROW_NUMBERS else 0)

    ends = [bag.offsets[1:] + start for bag, start in zip(bags, starts, strict=False)]
    return Bag(
        features=torch.cat([bag.features for bag in bags]),
        offsets=torch.cat([ends[0].new_zeros(1), *ends]),
        ids=tuple(name for bag in bags for name in bag.ids),
        **packed,
    )


def select(bag: Bag, rows: Tensor) -> Bag:
    """Return the bag, of one patient or several, with some of its rows only.

    Of its graph the edges among them are left.

    Parameters
    ----------
    rows : [n] int64, ascending, one at least of every bag.
    """
    place = torch.full((len(bag.features),), -1, device=rows.device)
    place[rows] = torch.arange(len(rows), device=rows.device)
    kept = {"features": bag.features[rows], "offsets": torch.searchsorted(rows, bag.offsets)}
    for name in ("coords", "slide", "cluster", "instance_label"):
        value = getattr(bag, name)
        kept[name] = None if value is None else value[rows]
    for name in ROW_NUMBERS:
        edges = getattr(bag, name)
        if edges is None:
            continue
        inside = (place[edges] >= 0).all(0)  # [E]
        kept[name] = place[edges[:, inside]]
        if name == "edge_index" and bag.edge_weight is not None:
            kept["edge_weight"] = bag.edge_weight[inside]
    return replace(bag, **kept)
