"""Checks of the numbers a user can type, each with its legal range; they return the number as Python's own."""

import math
import numbers

from crossbow_lab.errors import ConfigurationError


def check_whole(name: str, value: object, *, least: int = 1) -> int:
    """Return a whole number >= ``least`` (NumPy's too), or refuse what isn't one: True, 2.0 and "4" among it."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ConfigurationError(f"{name} is {value!r}; it must be a whole number >= {least}")
    return int(value)


def check_positive(name: str, value: object) -> float:
    """Return a finite number > 0, or refuse what isn't one."""
    number = _finite(value)
    if number is None or number <= 0:
        raise ConfigurationError(f"{name} is {value!r}; it must be a finite number > 0")
    return number


def check_not_negative(name: str, value: object) -> float:
    """Return a finite number >= 0, or refuse what isn't one."""
    number = _finite(value)
    if number is None or number < 0:
        raise ConfigurationError(f"{name} is {value!r}; it must be a finite number >= 0")
    return number


def _finite(value: object) -> float | None:
    """Return a finite number as a float, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond all floats
        return None
    return number if math.isfinite(number) else None
