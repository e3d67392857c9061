"""From the pixels of patches to what an encoder takes, on the device that encodes."""

import torch
from torch import Tensor, nn

from wsi.encoders import Encoder


def preprocess(patches: Tensor, encoder: Encoder) -> Tensor:
    """Resize, crop and normalise patches on their device.

    Resizing is antialiased and ends in whole grey levels, as Pillow's does. On a CPU it works on
    bytes, which is nine times as fast as on floats; on a GPU it works in half precision, whose
    eleven bits hold a grey level to an eighth.

    Parameters
    ----------
    patches : ``[B, P, P, 3]`` uint8.
    encoder : whose input is wanted.

    Returns
    -------
    ``[B, 3, input_size, input_size]`` float32, channels last in memory.
    """
    x = patches.permute(0, 3, 1, 2)  # channels last in memory as it is
    side = encoder.resize or encoder.input_size
    if x.shape[-1] != side:
        if x.is_cuda:
            x = _resized(x.half(), side, encoder.interpolation).round_().clamp_(0, 255)
        else:
            x = _resized(x, side, encoder.interpolation)
    if side != encoder.input_size:
        edge = (side - encoder.input_size) // 2
        x = x[..., edge : edge + encoder.input_size, edge : edge + encoder.input_size]
    scale, shift = (v.to(x.device) for v in _multiply_add(encoder))
    return torch.addcmul(shift, x.float(), scale).contiguous(memory_format=torch.channels_last)


def _resized(x: Tensor, side: int, interpolation: str) -> Tensor:
    return nn.functional.interpolate(x, (side, side), mode=interpolation, antialias=True)


def _multiply_add(encoder: Encoder) -> tuple[Tensor, Tensor]:
    """Return ``[1, 3, 1, 1]`` each, such that x * scale + shift is (x / 255 - mean) / std."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (encoder.mean, encoder.std))
    return 1 / (255 * std), -mean / std
