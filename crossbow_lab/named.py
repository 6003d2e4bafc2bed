"""Frozen dataclasses by name, as JSON and back: what a recipe holds of algorithms and learning-rate policies."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from crossbow_lab.errors import ConfigurationError, nearest

T = TypeVar("T")


def to_json(value: Any) -> dict[str, Any]:
    """Return a dataclass as a dictionary that JSON can hold: its class's name, and its fields."""
    return {"name": type(value).__name__, **dataclasses.asdict(value)}


def from_json(what: str, data: Any, known: Mapping[str, type[T]]) -> T:
    """Return the dataclass that `to_json` wrote; fields that are left out take their defaults.

    Parameters
    ----------
    what : what it is, in one word, for messages.
    known : name -> class.

    Raises
    ------
    ConfigurationError
        If there is no name, if the name or a field is unknown or missing, or if a value is outside its legal range.
    """
    article = "an" if what[0] in "aeiou" else "a"
    if not isinstance(data, dict) or "name" not in data:
        first = next(iter(known))
        raise ConfigurationError(
            f"{article} {what} is written as {{'name': {first!r}, ...}}, not {data!r}; names: {', '.join(known)}"
        )
    name = data["name"]
    if not isinstance(name, str) or name not in known:
        raise ConfigurationError(f"there is no {what} {name!r}; {nearest(str(name), known)}")
    kind: Any = known[name]
    options = {key: value for key, value in data.items() if key != "name"}
    fields = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(kind)}
    for key in options:
        if key not in fields:
            raise ConfigurationError(f"{name} has no field {key!r}; {nearest(str(key), fields)}")
    lacking = [key for key, is_needed in fields.items() if is_needed and key not in options]
    if lacking:
        raise ConfigurationError(f"{name} lacks {', '.join(lacking)}; give {'it' if len(lacking) == 1 else 'them'}")
    made: T = kind(**options)
    return made
