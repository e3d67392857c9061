"""A data set with graphs that are made once and kept in files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from mil.bags import Bag
from mil.datasets.base import BagDataset
from wsi.storage import load_npz, save_npz, sha256_arrays


class StoredGraphs(BagDataset):
    """Bags of another data set with their graphs, read from files or else made and written.

    A graph is made again when features or coordinates of its bag change; for another ``make`` take
    another folder.

    Parameters
    ----------
    bags : the data set.
    make : returns a bag with ``edge_index`` and, if any, ``edge_weight``, as
        ``lambda bag: joined(bag, feature_edges(bag))``.
    folder : gets ``<bag>.npz``.
    """

    def __init__(self, bags: BagDataset, make: Callable[[Bag], Bag], folder: str | Path) -> None:
        self.bags, self.make, self.folder = bags, make, Path(folder)
        self.names, self.labels = bags.names, bags.labels

    def __getitem__(self, index: int) -> Bag:
        """Return a bag with its graph."""
        bag = self.bags[index]
        path = self.folder / f"{self.names[index]}.npz"
        arrays = [bag.features] if bag.coords is None else [bag.features, bag.coords]
        made_of = sha256_arrays(*(array.numpy() for array in arrays))
        if path.is_file():
            stored, attributes = load_npz(path)
            if attributes["made_of"] == made_of:
                return replace(
                    bag, **{name: torch.from_numpy(value) for name, value in stored.items()}
                )
        bag = self.make(bag)
        graph = {"edge_index": bag.edge_index.numpy()}
        if bag.edge_weight is not None:
            graph["edge_weight"] = bag.edge_weight.numpy()
        save_npz(path, attributes={"made_of": made_of}, **graph)
        return bag
