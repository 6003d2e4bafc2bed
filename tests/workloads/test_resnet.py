"""The residual networks' structure."""

import pytest
import torch
from torch import nn

from crossbow_lab.workloads.resnet import ResidualBlock, resnet


@pytest.mark.parametrize(("blocks", "n_layers"), [(1, 8), (3, 20), (5, 32)])
def test_resnet_has_6n_plus_2_layers(blocks, n_layers):
    """Layers are the 3x3 convolutions and the linear layer; 1x1 shortcuts don't count, as in He et al."""
    model = resnet((3, 32, 32), 10, blocks=blocks)
    counted = [
        m for m in model.modules() if isinstance(m, nn.Linear) or (isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3))
    ]

    assert n_layers == len(counted)


def test_resnet_convolutions_have_no_bias():
    """A batch norm follows each convolution, so that a bias would be lost."""
    model = resnet((3, 32, 32), 10, blocks=1)

    assert all(m.bias is None for m in model.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(
    ("height", "width", "n_inputs"),
    [(32, 32, 256), (29, 32, 256), (28, 28, 64), (8, 8, 64), (33, 32, 64), (64, 16, 64)],
)
def test_resnet_pools_8x8_maps_as_the_original_and_others_whole(height, width, n_inputs):
    """The linear layer sees 2x2 values a channel of an 8x8 map, one value of any other."""
    model = resnet((3, height, width), 10, blocks=1).eval()
    linear = model[-1]

    assert n_inputs == linear.in_features
    assert model(torch.zeros(1, 3, height, width)).shape == (1, 10)


def test_residual_block_adds_its_input():
    """With its last batch norm silenced, a block that keeps the shape is a ReLU."""
    block = ResidualBlock(4, 4, stride=1)
    nn.init.zeros_(block.body[-1].weight)
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))

    assert torch.equal(x.relu(), block(x))


def test_residual_block_projects_where_the_shape_changes():
    """Other channels and half the size go through a 1x1 convolution with batch norm."""
    block = ResidualBlock(4, 8, stride=2)

    assert [nn.Conv2d, nn.BatchNorm2d] == [type(layer) for layer in block.shortcut]
    assert block(torch.zeros(2, 4, 5, 7)).shape == (2, 8, 3, 4)
