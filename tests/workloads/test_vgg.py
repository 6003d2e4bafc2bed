"""VGG-16's structure, held against the code that it follows."""

from itertools import pairwise

import torch
from torch import nn

from crossbow_lab.workloads.vgg import vgg_16


def test_vgg_16_has_16_layers_with_weights():
    """13 convolutions and 2 linear layers, where the ImageNet form has 3: the name stays."""
    kinds = [type(layer) for layer in vgg_16((3, 32, 32), 100)]

    assert (kinds.count(nn.Conv2d), kinds.count(nn.Linear)) == (13, 2)


def test_vgg_16_drops_out_as_the_code_that_it_follows():
    """30 % once, 40 % within the other stages, 50 % around the hidden layer; and batch norm follows the ReLU."""
    layers = list(vgg_16((3, 32, 32), 100))

    assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == [0.3, *[0.4] * 7, 0.5, 0.5]
    for before, layer in pairwise(layers):
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            assert isinstance(before, nn.ReLU)
            assert (layer.eps, layer.momentum) == (1e-3, 0.01)


def test_vgg_16_takes_images_of_other_sizes():
    """What five halvings leave goes into the hidden layer."""
    model = vgg_16((1, 70, 33), 4).eval()

    assert model(torch.zeros(1, 1, 70, 33)).shape == (1, 4)
    assert next(layer for layer in model if isinstance(layer, nn.Linear)).in_features == 512 * 2
