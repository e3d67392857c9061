"""Bags on their way to a model: padded or packed, in which batches, all instances or some."""

from mil.bags import Bag, select
from mil.bags import pack as collate_packed
from mil.data.batches import LengthBuckets, class_balanced
from mil.data.canvas import grid_to_sequence, sequence_to_grid
from mil.data.edge_weights import joined
from mil.data.edges import (
    delaunay_edges,
    feature_edges,
    grid_edges,
    nearest_edges,
    radius_edges,
)
from mil.data.padding import bag_of, collate, packed, padded
from mil.data.subsampling import grid_instances, random_instances
from mil.data.tensordicts import from_tensordict, to_tensordict

__all__ = [
    "Bag",
    "LengthBuckets",
    "bag_of",
    "class_balanced",
    "collate",
    "collate_packed",
    "delaunay_edges",
    "feature_edges",
    "from_tensordict",
    "grid_edges",
    "grid_instances",
    "grid_to_sequence",
    "joined",
    "nearest_edges",
    "packed",
    "padded",
    "radius_edges",
    "random_instances",
    "select",
    "sequence_to_grid",
    "to_tensordict",
]
