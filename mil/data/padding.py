"""Bags padded to one length, as other libraries hold them, to packed ones and back.

Padding is a form of storage at the border and no more: what it contains is never looked at.

=========  ================  =====================================================================
key        shape             meaning
=========  ================  =====================================================================
X          [B, N, ...]       features of the instances, padded with 0
mask       [B, N] bool       True where there is an instance; without it all are
Y          [B] or [B, K]     label of the bag
y_inst     [B, N]            label of the instance: 1, 0, or -1 for unknown; padded with -1
coords     [B, N, 2]         where the instance lies: row, then column; padded with -1
slide      [B, N]            which of the bag's slides it is of, from 0; padded with -1
cluster    [B, N]            which cluster it is of, from 0; padded with -1
adj        [B, N, N] sparse  weight of the edge by which instance i receives from j
adj_latent [B, N, N] sparse  the same among features
name       list of B         names of the bags
=========  ================  =====================================================================
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mil.bags import Bag, BagError, pack
from mil.nn.segments import segment_ids
from mil.problems import did_you_mean

PADDING = {"features": 0, "instance_label": -1, "coords": -1, "slide": -1, "cluster": -1}
"""What stands where no instance is, by field of the bag."""

KEYS = {
    "features": "X",
    "instance_label": "y_inst",
    "coords": "coords",
    "slide": "slide",
    "cluster": "cluster",
}
GRAPHS = {"adj": "edge_index", "adj_latent": "edge_latent"}
KNOWN = (*KEYS.values(), *GRAPHS, "Y", "mask", "name")


def collate(bags: Sequence[Bag]) -> dict[str, Any]:
    """Return bags as one padded batch.

    Raises
    ------
    mil.bags.BagError : see ``pack``.
    """
    return padded(pack(bags))


def padded(bag: Bag) -> dict[str, Any]:
    """Return packed bags as one padded batch; equal edges become one of their summed weight."""
    mask = mask_of(bag.offsets)
    batch: dict[str, Any] = {"mask": mask}
    for name, key in KEYS.items():
        value = getattr(bag, name)
        if value is not None:
            value = value.flip(1) if name == "coords" else value  # x, y -> row, column
            batch[key] = spread(value, mask, PADDING[name])
    for key, name in GRAPHS.items():
        edges = getattr(bag, name)
        if edges is not None:
            weight = bag.edge_weight if name == "edge_index" else None
            batch[key] = _matrices(edges, weight, bag, mask.shape[1])
    if bag.label is not None:
        batch["Y"] = bag.label
    if bag.ids:
        batch["name"] = list(bag.ids)
    return batch


def packed(batch: Mapping[str, Any]) -> Bag:
    """Return the bags of a padded batch, packed: the inverse of ``padded``.

    Instances may be anywhere in a row of the mask. Edges to or from padding are left out.

    Raises
    ------
    mil.bags.BagError : an unknown key, no X, shapes that disagree, or a bag without instances.
    """
    unknown = [key for key in batch if key not in KNOWN]
    problems = [
        f"batch: no model reads {key!r}{did_you_mean(key, KNOWN) or '.'} Known: {', '.join(KNOWN)}."
        for key in unknown
    ]
    if batch.get("X") is None:
        problems.append("batch: no X, the features [bags, instances, width].")
    if problems:
        raise BagError(problems)
    features = batch["X"]
    mask = _checked_mask(batch.get("mask"), features)
    fields: dict[str, Any] = {}
    for name, key in KEYS.items():
        value = batch.get(key)
        if value is None:
            continue
        if value.shape[:2] != mask.shape:
            raise BagError(
                [
                    f"batch: {key} is {list(value.shape)}, but X has {mask.shape[0]} bags of "
                    f"{mask.shape[1]} instances; the first two sizes must be these."
                ]
            )
        fields[name] = value[mask]
    if "coords" in fields:
        fields["coords"] = fields["coords"].flip(1)  # row, column -> x, y
    for key, name in GRAPHS.items():
        if batch.get(key) is not None:
            edges, weight = _edges(batch[key], mask, key)
            fields[name] = edges
            if name == "edge_index":
                fields["edge_weight"] = weight
    sizes = mask.sum(1)
    return Bag(
        offsets=torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]),
        label=batch.get("Y"),
        ids=tuple(batch.get("name") or ()),
        **fields,
    )


def bag_of(record: Mapping[str, Any]) -> Bag:
    """Return the bag of a record: the keys of a padded batch of one, without the first size.

    Raises
    ------
    mil.bags.BagError : see ``packed``.
    """
    batch = {
        key: [value] if key == "name" else torch.as_tensor(value).unsqueeze(0)
        for key, value in record.items()
        if value is not None
    }
    if "Y" in batch and batch["Y"].shape == (1, 1):  # [1] is a label as a scalar is
        batch["Y"] = batch["Y"].flatten()
    return packed(batch)


def mask_of(offsets: Tensor) -> Tensor:
    """Return which places [B, N] of a padded batch hold an instance; N is the largest bag's."""
    sizes = offsets.diff()
    return torch.arange(int(sizes.max()), device=sizes.device) < sizes.unsqueeze(1)


def spread(values: Tensor, mask: Tensor, fill: float) -> Tensor:
    """Return values [sum n, ...] where the mask [B, N] is true, and ``fill`` elsewhere."""
    empty = values.new_full((*mask.shape, *values.shape[1:]), fill)
    return empty.index_put(mask.nonzero(as_tuple=True), values)


def _checked_mask(mask: Tensor | None, features: Tensor) -> Tensor:
    if features.ndim < 3:
        raise BagError(
            [
                f"batch: X is {list(features.shape)}; it must be [bags, instances, width]. "
                "A single bag is X.unsqueeze(0)."
            ]
        )
    if mask is None:
        return torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
    if mask.shape != features.shape[:2]:
        raise BagError(
            [f"batch: mask is {list(mask.shape)}; it must be {list(features.shape[:2])}, as X."]
        )
    return mask.bool()


def _matrices(edges: Tensor, weight: Tensor | None, bag: Bag, instances: int) -> Tensor:
    """Return edges [2, E] as sparse matrices [B, N, N]."""
    which = segment_ids(bag.offsets)
    source, target = edges
    first = bag.offsets[which[target]]
    if weight is None:
        weight = torch.ones(edges.shape[1], device=edges.device)
    places = torch.stack([which[target], target - first, source - first])
    shape = (len(bag), instances, instances)
    return torch.sparse_coo_tensor(places, weight, shape, check_invariants=True).coalesce()


def _edges(matrices: Tensor, mask: Tensor, key: str) -> tuple[Tensor, Tensor]:
    """Return the edges [2, E] among instances, in rows of the packed bag, and their weights."""
    bags, instances = mask.shape
    if matrices.shape != (bags, instances, instances):
        raise BagError(
            [
                f"batch: {key} is {list(matrices.shape)}; it must be a matrix of instances for "
                f"each bag, {[bags, instances, instances]}."
            ]
        )
    sparse = matrices.to_sparse_coo().coalesce()
    which, target, source = sparse.indices()
    row = mask.flatten().cumsum(0).view_as(mask) - 1  # of the packed bag, where there is one
    real = mask[which, target] & mask[which, source]
    edges = torch.stack([row[which, source], row[which, target]])
    return edges[:, real], sparse.values()[real]
