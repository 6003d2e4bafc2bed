"""ResNet-50 for large images: the paper's ImageNet workload.

After He et al., "Deep residual learning for image recognition" (arXiv 1512.03385, table 1), as the original CROSSBOW's
code has it and its model size (25,557,032 parameters, 97.49 MB, for 1,000 classes) confirms: a shortcut that changes
shape is a 1x1 convolution with batch norm, and a block halves the map in its *first* convolution. Most later code
(often called v1.5) halves it in the 3x3 one, with as many parameters.

No convolution has a bias, since a batch norm follows each. Weights: He's normal initialisation (fan-out).
"""

import torch
from torch import Tensor, nn

from crossbow_lab.workloads.resnet import conv_without_bias

_BLOCKS = (3, 4, 6, 3)
_STEM = 64
_EXPANSION = 4


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: relu(body(x) + shortcut(x)).

    Parameters
    ----------
    in_channels : int
    channels : int
        Of the 3x3 convolution; the block gives four times as many.
    stride : int
        Of the first convolution and of the shortcut: 1 keeps H and W, 2 halves them (rounding up).
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        super().__init__()
        out_channels = _EXPANSION * channels
        self.body = nn.Sequential(
            conv_without_bias(in_channels, channels, kernel=1, stride=stride),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            conv_without_bias(channels, channels, kernel=3, stride=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            conv_without_bias(channels, out_channels, kernel=1, stride=1),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                conv_without_bias(in_channels, out_channels, kernel=1, stride=stride), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, in_channels, H, W) to (b, 4 channels, ceil(H / stride), ceil(W / stride))."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet_50(input_shape: tuple[int, int, int], n_classes: int) -> nn.Module:
    """Build ResNet-50: a 7x7 convolution, 16 bottleneck blocks in four stages, and a linear layer.

    Parameters
    ----------
    input_shape : (C, H, W)
        H and W of at least 32; the last map, a thirty-second of them (7x7 of 224x224 images), is averaged whole.
    n_classes : int
        Number of outputs.

    Returns
    -------
    nn.Module
        Maps (b, C, H, W) to logits (b, n_classes).
    """
    channels, height, width = input_shape
    layers = [conv_without_bias(channels, _STEM, kernel=7, stride=2), nn.BatchNorm2d(_STEM), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    before = _STEM
    for stage, blocks in enumerate(_BLOCKS):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(BottleneckBlock(before, _STEM << stage, stride=stride))
            before = _EXPANSION * (_STEM << stage)
    last_map = (-(-height // 32), -(-width // 32))
    return nn.Sequential(*layers, nn.AvgPool2d(last_map), nn.Flatten(), nn.Linear(before, n_classes))
