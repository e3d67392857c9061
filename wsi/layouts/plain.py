"""Plain tensors, a file a slide: ``torch.load(path, weights_only=True)`` reads them."""

from pathlib import Path

import numpy as np

from wsi.layouts.slide_features import SlideFeatures
from wsi.storage import atomic


def write(folder: Path, name: str, slide: SlideFeatures) -> None:
    """Write ``<name>.pt``, the tensor ``[N, D]`` in the type that the features have."""
    save_tensor(folder / f"{name}.pt", slide.features)


def save_tensor(path: Path, array: np.ndarray) -> None:
    """Write an array as a tensor."""
    import torch

    with atomic(path) as partial:
        torch.save(torch.from_numpy(np.array(array)), partial)
