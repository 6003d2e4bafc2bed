"""What a landscape is given, checked where it comes in; each refusal says what is needed."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from crossbow_lab.averaging import EASGD, SMA, SSGD, algorithm_name, has_field
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.landscape.own import View, surface_of
from crossbow_lab.landscape.reference import Settings
from crossbow_lab.landscape.surfaces import Point, Surface, surface

MOST_LEARNERS = 10_000
_OF_SETTINGS = ("algorithm", "learning_rate", "noise", "batch_size")
_OF_ALGORITHM = ("alpha", "momentum", "local_momentum", "sync_period")
ADJUSTABLE = ("learners", *_OF_SETTINGS, *_OF_ALGORITHM)


def surface_from(given: "str | Surface | Callable[..., Any]", view: View | None, start: Point | None) -> Surface:
    """Return a surface by its name, as it is, or of a function."""
    if isinstance(given, str):
        found = surface(given)
    elif isinstance(given, Surface):
        found = given
    elif callable(given):
        return surface_of(given, view=view, start=start)
    else:
        raise ConfigurationError(f"surface is {given!r}; give a name, a Surface, or a function of (x, y) in torch")
    return found if view is None else dataclasses.replace(found, view=view)


def adjusted(settings: Settings, changes: dict[str, Any]) -> Settings:
    """Return settings with changes, those of the algorithm included."""
    algorithm = changes.get("algorithm", settings.algorithm)
    own = {name: value for name, value in changes.items() if name in _OF_ALGORITHM}
    for name in own:
        if not has_field(algorithm, name):
            raise ConfigurationError(f"{algorithm_name(algorithm)} has no {name}")
    algorithm = dataclasses.replace(algorithm, **own) if own else algorithm
    others = {name: value for name, value in changes.items() if name in _OF_SETTINGS and name != "algorithm"}
    return dataclasses.replace(settings, algorithm=algorithm, **others)


def in_words(value: object) -> str:
    """Return a setting's value in words."""
    if isinstance(value, SMA | EASGD | SSGD):
        return algorithm_name(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def whole(name: str, value: Any, least: int) -> int:
    """Return a whole number, or refuse it."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} is {value!r}; it must be a whole number, at least {least}")
    return value


def checked_learners(learners: Any) -> int:
    """Return a number of learners, or refuse it."""
    if whole("learners", learners, least=1) > MOST_LEARNERS:
        raise ConfigurationError(f"learners is {learners!r}; a landscape has at most {MOST_LEARNERS:,}")
    return int(learners)


def checked_start(point: Any) -> Point:
    """Return a starting point, or refuse it."""
    try:
        x, y = (float(part) for part in point)
    except (TypeError, ValueError):
        raise ConfigurationError(f"start is {point!r}; it must be two numbers, (x, y)") from None
    if not np.isfinite([x, y]).all():
        raise ConfigurationError(f"start is {point!r}; it must be two finite numbers")
    return x, y
