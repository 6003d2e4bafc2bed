"""ResNet-50's structure."""

import torch
from torch import nn

from crossbow_lab.workloads.resnet50 import BottleneckBlock, resnet_50


def test_resnet_50_has_50_layers():
    """Layers are the convolutions and the linear layer; shortcuts don't count, as in He et al."""
    names = [name for name, m in resnet_50((3, 32, 32), 10).named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]

    assert sum("shortcut" not in name for name in names) == 50
    assert sum("shortcut" in name for name in names) == 4


def test_resnet_50_halves_the_map_five_times():
    """A 224x224 image ends in a 7x7 map, which the last pool averages whole."""
    model = resnet_50((3, 224, 224), 10).to("meta")
    last_map = model[:-3](torch.zeros(1, 3, 224, 224, device="meta"))

    assert last_map.shape == (1, 2048, 7, 7)
    assert model[-3].kernel_size == (7, 7)


def test_bottleneck_block_strides_in_its_first_convolution():
    """As in He et al. and the original's code; and no convolution has a bias."""
    block = BottleneckBlock(8, 4, stride=2)
    convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]

    assert [m.stride for m in convolutions] == [(2, 2), (1, 1), (1, 1), (2, 2)]
    assert all(m.bias is None for m in convolutions)
    assert block(torch.zeros(2, 8, 5, 7)).shape == (2, 16, 3, 4)


def test_bottleneck_block_adds_its_input():
    """With its last batch norm silenced, a block that keeps the shape is a ReLU."""
    block = BottleneckBlock(8, 2, stride=1)
    nn.init.zeros_(block.body[-1].weight)
    x = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(0))

    assert torch.equal(x.relu(), block(x))
