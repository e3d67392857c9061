"""The small network that makes features of images of digits."""

from torch import Tensor, nn


class LeNet(nn.Sequential):
    """Convolutions before attention on 28 x 28 images (Ilse, Tomczak and Welling, ICML 2018).

    Two of 5 x 5 (20 and 50 channels), each with ReLU and a maximum over 2 x 2, from LeNet-5 (LeCun
    et al., Proceedings of the IEEE 1998). What follows in the article is ``abmil`` with its preset
    ``paper`` on the 800 features.

    Shapes
    ------
    images [N, 1, 28, 28] -> features [N, 800], channel by channel.
    """

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 20, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return features [N, 800]."""
        return super().forward(images)
