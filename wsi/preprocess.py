"""From the pixels of patches to what an encoder takes, on the device that encodes."""

import torch
from torch import Tensor, nn

from wsi.encoders import Encoder


def preprocess(patches: Tensor, encoder: Encoder) -> Tensor:
    """Resize and normalise patches on their device.

    Parameters
    ----------
    patches : ``[B, P, P, 3]`` uint8.
    encoder : whose input is wanted.

    Returns
    -------
    ``[B, 3, input_size, input_size]`` float32, channels last in memory.
    """
    x = patches.permute(0, 3, 1, 2).float()
    if x.shape[-1] != encoder.input_size:
        size = (encoder.input_size, encoder.input_size)
        x = nn.functional.interpolate(x, size, mode="bilinear", antialias=True)
        x = x.clamp_(0, 255)
    mean = torch.tensor(encoder.mean, device=x.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(encoder.std, device=x.device).view(1, 3, 1, 1) * 255
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)
