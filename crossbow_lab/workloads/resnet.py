"""Residual networks for small images: the paper's ResNet-32 and its shorter kin.

After He et al., "Deep residual learning for image recognition" (arXiv 1512.03385, section 4.2), with the two
choices that the original CROSSBOW's code makes and that its model size (468,826 parameters, 1.79 MB)
confirms:

* a shortcut that changes shape is a 1x1 convolution with batch norm (their option B). He et al. use the
  parameter-free option A on CIFAR-10;
* the last pool is 7x7 with stride 1, so that an 8x8 map (from 32x32 images) leaves 2x2 values a channel and
  the linear layer has 256 inputs. He et al. average the whole map: 64 inputs.

No convolution has a bias, since a batch norm follows each. Weights: He's normal initialisation (fan-out).
"""

import torch
from torch import Tensor, nn

CHANNELS = (16, 32, 64)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: relu(body(x) + shortcut(x)).

    Parameters
    ----------
    in_channels, out_channels : int
        Where they differ, the shortcut is a 1x1 convolution with batch norm.
    stride : int
        Of the first convolution and of the shortcut: 1 keeps H and W, 2 halves them (rounding up).
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_without_bias(in_channels, out_channels, kernel=3, stride=stride),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            conv_without_bias(out_channels, out_channels, kernel=3, stride=1),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                conv_without_bias(in_channels, out_channels, kernel=1, stride=stride), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, in_channels, H, W) to (b, out_channels, ceil(H / stride), ceil(W / stride))."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet(input_shape: tuple[int, int, int], n_classes: int, *, blocks: int) -> nn.Module:
    """Build a residual network of 6 ``blocks`` + 2 layers: three stages of 16, 32 and 64 channels.

    Parameters
    ----------
    input_shape : (C, H, W)
        H and W of at least 8. The last map is a quarter of them: an 8x8 one is pooled 7x7 with stride 1 as
        in the original's code; any other is averaged whole, as He et al. do (so 8x8 digits end in 64
        values).
    n_classes : int
        Number of outputs.
    blocks : int
        Residual blocks per stage: 1, 3 and 5 give ResNet-8, -20 and -32.

    Returns
    -------
    nn.Module
        Maps (b, C, H, W) to logits (b, n_classes).
    """
    channels, height, width = input_shape
    layers = [conv_without_bias(channels, CHANNELS[0], kernel=3, stride=1), nn.BatchNorm2d(CHANNELS[0]), nn.ReLU()]
    before = CHANNELS[0]
    for stage, after in enumerate(CHANNELS):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(ResidualBlock(before, after, stride=stride))
            before = after
    last_map = (-(-height // 4), -(-width // 4))
    if last_map == (8, 8):
        pool, left = nn.AvgPool2d(7, stride=1), 4
    else:
        pool, left = nn.AvgPool2d(last_map), 1
    return nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(before * left, n_classes))


def conv_without_bias(in_channels: int, out_channels: int, *, kernel: int, stride: int) -> nn.Conv2d:
    """Return a convolution (k x k, padded by k // 2) without bias, with He's normal initialisation (fan-out)."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
