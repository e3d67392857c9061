"""Batch norms merged into the convolutions before them: fewer passes over memory at inference."""

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from wsi.resnet import Bottleneck, ResNet50

PAIRS = tuple((f"conv{number}", f"bn{number}") for number in (1, 2, 3))


def fold_batch_norms(network: nn.Module) -> int:
    """Merge the batch norms of a ResNet into its convolutions, in place, and count them.

    ResNets name as ``bn1`` what follows ``conv1`` directly, so that the merged network computes the
    same up to rounding. Other networks are left as they are: their names do not say what follows
    what (in DenseNet a norm comes before its convolution).

    Parameters
    ----------
    network : in evaluation mode, with its weights.
    """
    return sum(_fold_within(module) for module in network.modules() if _is_resnet(module))


def _is_resnet(module: nn.Module) -> bool:
    if isinstance(module, ResNet50 | Bottleneck):
        return True
    if not type(module).__module__.startswith("timm."):
        return False
    from timm.models import resnet  # it is loaded already

    return type(module) in (resnet.ResNet, resnet.BasicBlock, resnet.Bottleneck)


def _fold_within(module: nn.Module) -> int:
    pairs = [(module, conv, norm) for conv, norm in PAIRS]
    if isinstance(getattr(module, "downsample", None), nn.Sequential):
        names = list(module.downsample._modules)
        pairs += [(module.downsample, *two) for two in pairwise(names)]
    return sum(_fold(*pair) for pair in pairs)


def _fold(parent: nn.Module, conv: str, norm: str) -> bool:
    first, second = getattr(parent, conv, None), getattr(parent, norm, None)
    if type(first) is not nn.Conv2d or type(second) is not nn.BatchNorm2d:
        return False
    setattr(parent, conv, fuse_conv_bn_eval(first, second))
    setattr(parent, norm, nn.Identity())
    return True
