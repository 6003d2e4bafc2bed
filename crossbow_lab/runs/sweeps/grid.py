"""The grid of a sweep: axes as texts or values, typed by the notebook's parameters cell, expanded to points."""

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from crossbow_lab.errors import RunError, nearest
from crossbow_lab.runs.parameters import Parameter, check_values

MAX_RUNS = 10_000
_FORM = "give an axis as name=values, such as learners=1,2,4 or seed=0:5"
_RANGE = re.compile(r"(-?\d+):(-?\d+)(?::(-?\d+))?")


def parse_axes(texts: Iterable[str]) -> dict[str, str]:
    """Split ``name=values`` texts, as given to ``-g``.

    Raises
    ------
    RunError
        If a text has no ``=`` or no name, or an axis is given twice.

    Examples
    --------
    >>> parse_axes(["learners=1,2,4", "seed=0:5"])
    {'learners': '1,2,4', 'seed': '0:5'}
    """
    axes: dict[str, str] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise RunError(f"axis {text!r} has no name or no '='; {_FORM}")
        if name in axes:
            raise RunError(f"axis {name!r} is given twice, {axes[name]!r} and {values!r}; put all its values in one")
        axes[name] = values
    return axes


def expand(
    declared: Iterable[Parameter], grid: Mapping[str, str | Iterable[Any]], fixed: Iterable[str] = ()
) -> tuple[dict[str, Any], ...]:
    """Expand axes to the points of their grid, the last axis varying fastest.

    Parameters
    ----------
    declared : iterable of Parameter
        What the notebook declares; its types decide how a text is read.
    grid : mapping of str to text or iterable
        Values by parameter. A text is read as ``-g`` reads it: values between commas; ``0:5`` and ``0:10:2`` are
        ranges without their end where the parameter is an ``int``; a list's values each stand in square brackets.
    fixed : iterable of str
        Parameters that have one value for the whole sweep.

    Returns
    -------
    tuple of dict
        One value per axis, typed; at most `MAX_RUNS`.

    Raises
    ------
    RunError
        If there is no axis, or one is unknown, empty, fixed as well, has a value twice or of another type, or if
        there would be too many points.

    Examples
    --------
    >>> learners, seed = Parameter("learners", "int", 4), Parameter("seed", "int", 0)
    >>> expand([learners, seed], {"learners": [1, 2], "seed": "0:2"})[:3]
    ({'learners': 1, 'seed': 0}, {'learners': 1, 'seed': 1}, {'learners': 2, 'seed': 0})
    """
    known = {parameter.name: parameter for parameter in declared}
    if not grid:
        raise RunError(f"a sweep needs at least one axis; {_FORM}. For a single run use `crossbow-lab run`")
    axes: dict[str, list[Any]] = {}
    n_points = 1
    for name, values in grid.items():
        if name not in known:
            raise RunError(f"the notebook has no parameter {name!r} to make an axis of: {nearest(name, known)}")
        if name in set(fixed):
            raise RunError(f"parameter {name!r} is an axis and has a fixed value; leave one of them out")
        axes[name] = _typed(known[name], values)
        n_points *= len(axes[name])
        if n_points > MAX_RUNS:
            raise _too_many()
    return tuple(dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values()))


def _typed(parameter: Parameter, values: str | Iterable[Any]) -> list[Any]:
    """Return the values of one axis as the parameter's type, or refuse them."""
    name = parameter.name
    if isinstance(values, str):
        items: Iterable[Any] = _from_text(parameter, values)
    elif isinstance(values, Iterable) and not isinstance(values, Mapping):
        items = values
    else:
        raise RunError(f"axis {name!r} must be a list of values or a text such as '0:5', got {values!r}")
    listed = list(itertools.islice(items, MAX_RUNS + 1))
    if len(listed) > MAX_RUNS:
        raise _too_many()
    if not listed:
        raise RunError(f"axis {name!r} is empty; {_FORM}")
    typed = [check_values([parameter], {name: value})[name] for value in listed]
    seen = set()
    for value in typed:
        shown = json.dumps(value)
        if shown in seen:
            raise RunError(f"axis {name!r} has the value {shown} twice; leave one out (--repeats runs a point again)")
        seen.add(shown)
    return typed


def _from_text(parameter: Parameter, text: str) -> list[Any]:
    """Split the text of an axis into values, ranges expanded."""
    if not text.strip():
        return []
    kinds = parameter.kind.split(" | ")
    values: list[Any] = []
    for item in _split(text):
        word = item.strip()
        found = _RANGE.fullmatch(word) if "int" in kinds else None
        if not word:
            raise RunError(f"axis {parameter.name!r} has nothing between two commas in {text!r}; {_FORM}")
        if found:
            values += _range(parameter.name, word, *(int(part) for part in found.groups(default="1")))
        elif any(kind.startswith("list") for kind in kinds) and not word.startswith("[") and word.lower() != "none":
            raise RunError(
                f"axis {parameter.name!r} takes lists, each in square brackets, such as [1,2],[3]; got {word!r}"
            )
        else:
            values.append(word)
    return values


def _split(text: str) -> list[str]:
    """Split a text at its commas, but not inside square brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _range(name: str, word: str, start: int, stop: int, step: int) -> list[int]:
    """Return the numbers of a range, its end excluded."""
    numbers = list(itertools.islice(range(start, stop, step), MAX_RUNS + 1)) if step else []
    if not numbers:
        raise RunError(f"axis {name!r} has the empty range {word!r}; a range is start:end[:step] without its end")
    return numbers


def _too_many() -> RunError:
    """Return the error for a grid that nobody meant."""
    return RunError(f"the grid has more than {MAX_RUNS:,} runs; make its axes shorter, or several sweeps of it")
