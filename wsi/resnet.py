"""ResNet50, whole or cut after a stage: cut after the third it is CLAM's and AdvMIL's encoder.

Written out here, and compared with timm's in the tests, because importing timm costs more time than
encoding a small slide.
"""

from torch import Tensor, nn

EXPANSION = 4
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # width, blocks, stride of layer1-4


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; the 3x3 one has the stride ("V1.5")."""

    def __init__(self, in_width: int, width: int, stride: int):
        super().__init__()
        out_width = width * EXPANSION
        self.conv1 = nn.Conv2d(in_width, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_width != out_width:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_width, out_width, 1, stride, bias=False), nn.BatchNorm2d(out_width)
            )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """ResNet50 (He et al., CVPR 2016) up to a stage, global average pooling, no classifier.

    Parameters
    ----------
    stages : 1 to 4; what lies behind is not built.

    Shapes
    ------
    ``[B, 3, H, W]`` to ``[B, 2048]``; after three stages ``[B, 1024]``. Parameter names are
    torchvision's.
    """

    def __init__(self, stages: int = 4):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        in_width = 64
        self.layers = [f"layer{number}" for number in range(1, stages + 1)]
        for name, (width, blocks, stride) in zip(self.layers, STAGES, strict=False):
            layer = [Bottleneck(in_width, width, stride)]
            in_width = width * EXPANSION
            layer += [Bottleneck(in_width, width, 1) for _ in range(blocks - 1)]
            setattr(self, name, nn.Sequential(*layer))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # [B, 64, H/4, W/4]
        for name in self.layers:
            x = getattr(self, name)(x)
        return x.mean((2, 3))  # [B, D]
