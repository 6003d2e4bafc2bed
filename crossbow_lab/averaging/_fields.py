"""Checks of the algorithms' fields: each returns the value as Python's own, or says what is needed."""

import dataclasses
import math
import numbers
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

from crossbow_lab.errors import ConfigurationError, nearest

Restart: TypeAlias = Literal["on_lr_change", "copy_on_lr_change", "never"]


def real(name: str, value: object, needed: str) -> float:
    """Return a finite number as a float, refusing everything else (bool too) with what is needed."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ConfigurationError(f"{name} is {value!r}; it must be a finite number {needed}")
    return float(value)


def momentum(name: str, value: object) -> float:
    """Return a momentum, which must lie in [0, 1)."""
    needed = "from 0 up to, but not including, 1; use 0 for none, 0.9 as a start"
    number = real(name, value, needed)
    if not 0.0 <= number < 1.0:
        raise ConfigurationError(f"{name} is {value!r}; it must be a finite number {needed}")
    return number


def alpha(value: object) -> float | None:
    """Return alpha, which must be None or greater than 0; its upper bound depends on k (`resolve_alpha`)."""
    if value is None:
        return None
    needed = "greater than 0, or None for 1/k; to train without any coupling, use one learner or S-SGD"
    number = real("alpha", value, needed)
    if number <= 0.0:
        raise ConfigurationError(f"alpha is {value!r}; it must be a finite number {needed}")
    return number


def whole(name: str, value: object, advice: str) -> int:
    """Return a whole number of at least 1; True and 2.0 are refused, for they are seldom meant."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ConfigurationError(f"{name} is {value!r}; it must be a whole number of at least 1: {advice}")
    return int(value)


def sync_period(value: object) -> int:
    """Return a synchronisation period."""
    return whole("sync_period", value, "1 synchronises at every iteration, 2 at every other one")


def share(value: object) -> float | None:
    """Return an alpha that is a share of a difference: None, or from 0 to 1."""
    if value is None:
        return None
    needed = "from 0 to 1, or None for 1/k: the share of its difference that a learner gives up"
    number = real("alpha", value, needed)
    if not 0.0 <= number <= 1.0:
        raise ConfigurationError(f"alpha is {value!r}; it must be a finite number {needed}")
    return number


def positive(name: str, value: object, advice: str) -> float:
    """Return a number greater than 0."""
    number = real(name, value, f"greater than 0; {advice}")
    if number <= 0.0:
        raise ConfigurationError(f"{name} is {value!r}; it must be a finite number greater than 0; {advice}")
    return number


def _epoch(value: object) -> float:
    """Return an epoch from which on something holds."""
    needed = "of at least 0, in epochs; 0 means from the start"
    number = real("local_from_epoch", value, needed)
    if number < 0.0:
        raise ConfigurationError(f"local_from_epoch is {value!r}; it must be a finite number {needed}")
    return number


def _restart(value: object) -> object:
    """Return a restart, which is one of a few words."""
    known = get_args(Restart)
    if value not in known:
        raise ConfigurationError(f"restart is {value!r}; {nearest(str(value), known)}")
    return value


_CHECKS: dict[str, Callable[[Any], object]] = {
    "alpha": alpha,
    "momentum": lambda value: momentum("momentum (central)", value),
    "local_momentum": lambda value: momentum("local_momentum", value),
    "sync_period": sync_period,
    "fetch_period": lambda value: whole("fetch_period", value, "1 fetches at every iteration, 2 at every other one"),
    "exchange_period": lambda value: whole(
        "exchange_period", value, "1 exchanges at every iteration, 2 at every other"
    ),
    "devices": lambda value: whole("devices", value, "2 halves the learners between two simulated devices"),
    "outer_learning_rate": lambda value: positive("outer_learning_rate", value, "1 takes the learners' mean, 0.7 less"),
    "local_from_epoch": _epoch,
    "restart": _restart,
}


def check_fields(algorithm: Any, **own: Callable[[Any], object]) -> None:
    """Check every field of an algorithm that is being made, by its name, and keep numbers as Python's own.

    ``own`` are checks of fields that differ here from what is usual.
    """
    checks = _CHECKS | own
    for field in dataclasses.fields(algorithm):
        object.__setattr__(algorithm, field.name, checks[field.name](getattr(algorithm, field.name)))
