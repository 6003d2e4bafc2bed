"""VGG-16 for small images with batch norm and dropout: the paper's second CIFAR workload.

The 13 convolutions of Simonyan and Zisserman (arXiv 1409.1556, configuration D) with the head that Liu and Deng gave
them for CIFAR (Very deep convolutional neural network based image classification using small training sample size,
ACPR 2015; the code of geifmany/cifar-vgg): one hidden layer of 512 units. The original CROSSBOW's code has the same
layers, and its model size (15,038,116 parameters, 57.37 MB, on CIFAR-100) confirms that convolutions keep their biases.

Two of its choices are unusual and kept: batch norm comes after the ReLU, and its statistics move slowly (a hundredth
of each batch). Weights: Glorot's uniform initialisation.
"""

from torch import nn

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_FIRST_DROPOUT, _DROPOUT, _HEAD_DROPOUT = 0.3, 0.4, 0.5
_HIDDEN = 512
_EPSILON, _NORM_MOMENTUM = 1e-3, 0.01
HALVINGS = len(_STAGES)
"""How often height and width are halved, rounding down."""


def vgg_16(input_shape: tuple[int, int, int], n_classes: int) -> nn.Module:
    """Build VGG-16: five stages of padded 3x3 convolutions, each ended by a halving max-pool, and two linear layers.

    Parameters
    ----------
    input_shape : (C, H, W)
        H and W of at least 32.
    n_classes : int
        Number of outputs.

    Returns
    -------
    nn.Module
        Maps (b, C, H, W) to logits (b, n_classes). In train mode b must be at least 2: the head's batch norm sees one
        value a sample.
    """
    before, height, width = input_shape
    layers: list[nn.Module] = []
    for stage, channels in enumerate(_STAGES):
        for place, after in enumerate(channels):
            layers += [_initialised(nn.Conv2d(before, after, 3, padding=1)), nn.ReLU()]
            layers.append(nn.BatchNorm2d(after, _EPSILON, _NORM_MOMENTUM))
            if place < len(channels) - 1:
                layers.append(nn.Dropout(_DROPOUT if stage > 0 else _FIRST_DROPOUT))
            before = after
        layers.append(nn.MaxPool2d(2))
    left = before * (height >> HALVINGS) * (width >> HALVINGS)
    hidden = [_initialised(nn.Linear(left, _HIDDEN)), nn.ReLU(), nn.BatchNorm1d(_HIDDEN, _EPSILON, _NORM_MOMENTUM)]
    head = [nn.Dropout(_HEAD_DROPOUT), nn.Flatten(), *hidden, nn.Dropout(_HEAD_DROPOUT)]
    return nn.Sequential(*layers, *head, _initialised(nn.Linear(_HIDDEN, n_classes)))


def _initialised(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """Return the layer with Glorot's uniform weights and biases of 0."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
