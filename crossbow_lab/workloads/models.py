"""The models by name: what the paper trains, and smaller ones that learn within seconds.

Every model is a plain ``nn.Module`` of standard layers without Python control flow on data, so that
``torch.fx`` can trace it and ``torch.func`` can run k learners of it as one batched computation. Each takes a
batch of shape (b, *input_shape) and returns logits of shape (b, n_classes); for regression ``n_classes`` is
the number of outputs.

The residual networks are in ``resnet`` and ``resnet50``, VGG-16 is in ``vgg``.
"""

from collections.abc import Callable
from functools import partial
from math import prod

import torch
from torch import nn

from crossbow_lab.errors import ConfigurationError, ModelError, nearest
from crossbow_lab.workloads.resnet import resnet
from crossbow_lab.workloads.resnet50 import resnet_50
from crossbow_lab.workloads.vgg import vgg_16

Shape = tuple[int, ...]


def build_model(name: str, *, input_shape: Shape, n_classes: int, seed: int) -> nn.Module:
    """Build a model by name, with weights that depend on ``seed`` alone.

    The weights are drawn on the CPU from a generator of their own: the global generators, CPU or CUDA, are
    left as they were, and the default device has no say.

    Parameters
    ----------
    name : str
        One of ``MODEL_NAMES``.
    input_shape : tuple of int
        Shape of one sample: (C, H, W) for images; ``logreg`` and ``mlp`` take any shape.
    n_classes : int
        Number of outputs, at least 1.
    seed : int
        0 <= seed < 2**63.

    Returns
    -------
    nn.Module
        New, on the CPU, in the default floating-point dtype, in train mode. Maps (b, *input_shape) to (b,
        n_classes).

    Raises
    ------
    ConfigurationError
        If the name is unknown (the nearest is named), or ``n_classes`` or ``seed`` is outside its range.
    ModelError
        If the model can't take inputs of this shape; the shape it needs is named.

    Examples
    --------
    >>> model = build_model("lenet", input_shape=(1, 28, 28), n_classes=10, seed=0)
    >>> sum(p.numel() for p in model.parameters())
    1111946
    """
    if name not in _BUILDERS:
        raise ConfigurationError(f"unknown model {name!r}: {nearest(str(name), _BUILDERS)}")
    shape = _checked_shape(input_shape)
    if not _is_int(n_classes) or n_classes < 1:
        raise ConfigurationError(f"n_classes must be a whole number of at least 1, got {n_classes!r}")
    if not _is_int(seed) or not 0 <= seed < 2**63:
        raise ConfigurationError(f"seed must be a whole number from 0 to 2**63 - 1, got {seed!r}")
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        # Not torch.manual_seed: that reseeds the GPUs' generators too, and fork_rng doesn't put them back.
        torch.default_generator.manual_seed(seed)
        return _BUILDERS[name](shape, n_classes)


def _is_int(value: object) -> bool:
    """Say whether a value is a whole number; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _checked_shape(input_shape: Shape) -> Shape:
    """Return the shape as a tuple of positive whole numbers, or raise ModelError."""
    shape = tuple(input_shape)
    if not shape or not all(_is_int(extent) and extent >= 1 for extent in shape):
        raise ModelError(
            f"input_shape must be the shape of one sample, whole numbers of at least 1 such as (1, 28, 28) "
            f"or (64,), got {input_shape!r}"
        )
    return shape


def _logreg(input_shape: Shape, n_classes: int) -> nn.Module:
    """Multinomial logistic regression: one linear layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(input_shape), n_classes))


def _mlp(input_shape: Shape, n_classes: int) -> nn.Module:
    """Two hidden layers of 128 units."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(input_shape), 128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Linear(128, n_classes),
    )


def _digits_cnn(input_shape: Shape, n_classes: int) -> nn.Module:
    """Two padded 3x3 convolutions, each followed by a halving max-pool, and a linear layer."""
    channels, height, width = _image("digits-cnn", input_shape, "H and W multiples of 4", multiple=4)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * (height // 4) * (width // 4), n_classes),
    )


def _lenet(input_shape: Shape, n_classes: int) -> nn.Module:
    """Build the paper's LeNet (table 1: 4.24 MB), without the 40 % dropout of the original's code."""
    channels, height, width = _image("lenet", input_shape, "H and W of at least 16", least=16)
    return nn.Sequential(
        nn.Conv2d(channels, 32, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * _lenet_extent(height) * _lenet_extent(width), 1024),
        nn.ReLU(),
        nn.Linear(1024, n_classes),
    )


def _lenet_caffe(input_shape: Shape, n_classes: int) -> nn.Module:
    """LeNet as Caffe's MNIST example has it: 20, 50 and 500 units, and no ReLU after the convolutions."""
    channels, height, width = _image("lenet-caffe", input_shape, "H and W of at least 16", least=16)
    return nn.Sequential(
        nn.Conv2d(channels, 20, 5),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(50 * _lenet_extent(height) * _lenet_extent(width), 500),
        nn.ReLU(),
        nn.Linear(500, n_classes),
    )


def _lenet_extent(extent: int) -> int:
    """Return what is left of a height or width after twice a valid 5x5 convolution and a halving."""
    return ((extent - 4) // 2 - 4) // 2


def _residual(input_shape: Shape, n_classes: int, *, name: str, blocks: int) -> nn.Module:
    """CIFAR-style residual network of 6 ``blocks`` + 2 layers."""
    return resnet(_image(name, input_shape, "H and W of at least 8", least=8), n_classes, blocks=blocks)


def _resnet_50(input_shape: Shape, n_classes: int) -> nn.Module:
    """Build the paper's ResNet-50 (table 1: 97.49 MB)."""
    return resnet_50(_image("resnet-50", input_shape, "H and W of at least 32", least=32), n_classes)


def _vgg_16(input_shape: Shape, n_classes: int) -> nn.Module:
    """Build the paper's VGG-16 (table 1: 57.37 MB)."""
    return vgg_16(_image("vgg-16", input_shape, "H and W of at least 32", least=32), n_classes)


def _image(name: str, input_shape: Shape, needed: str, *, least: int = 1, multiple: int = 1) -> tuple[int, int, int]:
    """Return the shape as (C, H, W), or raise ModelError."""
    if len(input_shape) != 3 or any(side < least or side % multiple for side in input_shape[1:]):
        raise ModelError(
            f"{name} needs images (C, H, W) with {needed}, got samples of shape {input_shape}; "
            f"reshape or pad the inputs, or take 'mlp' or 'logreg', which take any shape"
        )
    return input_shape[0], input_shape[1], input_shape[2]


_BUILDERS: dict[str, Callable[[Shape, int], nn.Module]] = {
    "logreg": _logreg,
    "mlp": _mlp,
    "digits-cnn": _digits_cnn,
    "lenet": _lenet,
    "lenet-caffe": _lenet_caffe,
    "resnet-8": partial(_residual, name="resnet-8", blocks=1),
    "resnet-20": partial(_residual, name="resnet-20", blocks=3),
    "resnet-32": partial(_residual, name="resnet-32", blocks=5),
    "resnet-50": _resnet_50,
    "vgg-16": _vgg_16,
}

MODEL_NAMES = tuple(_BUILDERS)
"""The names that ``build_model`` knows."""
