"""What the update rules refuse, and how they say so. Of tensors, only the metadata is read."""

import math
import numbers
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from crossbow_lab.errors import ConfigurationError


def bank(weights: object) -> None:
    """Refuse weights that are not a bank: (k, n), floating point, parameters contiguous, rows apart."""
    if not isinstance(weights, Tensor):
        raise ConfigurationError(
            f"weights are a {type(weights).__name__}; the rules need a torch.Tensor of shape (k, n): "
            "torch.as_tensor(weights) makes one"
        )
    if weights.dim() != 2 or weights.numel() == 0:
        raise ConfigurationError(
            f"{_given(weights)}; the rules need (k, n), one row of n parameters for each of k learners, "
            "neither of them 0: torch.stack the learners' flattened parameters"
        )
    if not weights.is_floating_point():
        raise ConfigurationError(
            f"{_given(weights)}; the rules need floating-point weights: weights.float() makes them so"
        )
    k, n = weights.shape
    if n > 1 and weights.stride(1) != 1:
        raise ConfigurationError(
            f"{_given(weights)}; the parameters of a learner must be contiguous (stride 1): lay the bank out "
            "as (k, n), or pass weights.contiguous() and copy it back"
        )
    if k > 1 and weights.stride(0) < n:
        raise ConfigurationError(
            f"{_given(weights)}; rows overlap, so learners would overwrite each other: the row stride must "
            f"be at least {n}; expand() makes such rows, clone() undoes it"
        )


def _given(weights: Tensor) -> str:
    """Say what the weights are."""
    return f"weights have shape {tuple(weights.shape)}, strides {weights.stride()}, {weights.dtype}"


def alike(name: str, tensor: object, weights: Tensor, shape: Sequence[int]) -> None:
    """Refuse a tensor that doesn't have this shape and the weights' dtype and device."""
    if not isinstance(tensor, Tensor):
        raise ConfigurationError(f"{name} is a {type(tensor).__name__}; it must be a torch.Tensor")
    if tensor.shape == shape and tensor.dtype == weights.dtype and tensor.device == weights.device:
        return
    raise ConfigurationError(
        f"{name} has shape {tuple(tensor.shape)}, {tensor.dtype}, on {tensor.device}; with weights of shape "
        f"{tuple(weights.shape)} it must have shape {tuple(shape)}, {weights.dtype}, on {weights.device}: "
        f"make it with weights.new_zeros({tuple(shape)}), or convert it"
    )


def centre(weights: Tensor, **vectors: object) -> None:
    """Refuse a central average model or velocity that doesn't fit the bank."""
    for name, vector in vectors.items():
        alike(name, vector, weights, weights.shape[1:])


def learners(weights: Tensor, gradients: object, velocity: object, momentum: float) -> None:
    """Refuse gradients or local velocities that don't fit the bank, and local momentum without velocities."""
    alike("gradients", gradients, weights, weights.shape)
    if velocity is not None:
        alike("local_velocity", velocity, weights, weights.shape)
    elif momentum:
        raise ConfigurationError(
            f"local_momentum is {momentum}, but there is no local_velocity_kn to hold the velocities: pass "
            "torch.zeros_like(weights) and keep it between steps"
        )


class LocalSGD(NamedTuple):
    """Settings of the learners' own SGD, checked: γ, μ_l and γλ."""

    learning_rate: float
    momentum: float
    decay: float


def local_sgd(learning_rate: object, momentum: object, weight_decay: object) -> LocalSGD:
    """Check the settings of the learners' own SGD."""
    gamma = rate("learning_rate", learning_rate)
    return LocalSGD(gamma, fraction("local_momentum", momentum), gamma * rate("weight_decay", weight_decay))


def rate(name: str, value: object) -> float:
    """Return a finite number of at least 0 as a float."""
    return _number(name, value, math.inf, "a finite number of at least 0")


def fraction(name: str, value: object) -> float:
    """Return a number from 0 up to, but not including, 1 as a float."""
    return _number(name, value, 1.0, "a number from 0 up to, but not including, 1")


def count(name: str, value: object, least: int = 0) -> int:
    """Return a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ConfigurationError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    return int(value)


def _number(name: str, value: object, ceiling: float, needed: str) -> float:
    """Return a number from 0 up to, but not including, the ceiling as a float."""
    number = float(value) if isinstance(value, (float, numbers.Real)) else math.nan
    if 0.0 <= number < ceiling:
        return number
    hint = "; float(value) reads it, once, outside the loop" if isinstance(value, Tensor) else ""
    raise ConfigurationError(f"{name} is {value!r}; it must be {needed}, as a Python number{hint}")
