"""The legal range of a parameter, as its line in the parameters cell ends: ``# k [learners, from 1 to 64]``.

In words, because papermill's own inspection can't read a line with a second ``=``.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?"
_WORDS = ("from", "above", "to", "below")
_RANGE = re.compile(rf"(?:(from|above) ({_NUMBER}))?(?:^| |$)(?:(to|below) ({_NUMBER}))?")
FORM = "'from 1', 'above 0', 'to 1', 'below 1', or two of these such as 'above 0 to 1'"


@dataclass(frozen=True)
class Range:
    """Between which numbers a value must lie.

    Parameters
    ----------
    text : str
        As it was written.
    low, high : float
        Infinite where there is no end.
    holds_low, holds_high : bool
        Whether the ends are legal themselves.
    """

    text: str
    low: float = -math.inf
    high: float = math.inf
    holds_low: bool = True
    holds_high: bool = True

    def holds(self, value: Any) -> bool:
        """Whether a value lies within; of a list every element must, and what is no number has no range."""
        if isinstance(value, list):
            return all(self.holds(element) for element in value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return True
        is_above = value >= self.low if self.holds_low else value > self.low
        is_below = value <= self.high if self.holds_high else value < self.high
        return is_above and is_below


def split_unit(bracket: str) -> tuple[str, Range | None]:
    """Split what stands in a line's square brackets into the unit and the legal range.

    Raises
    ------
    ValueError
        If it ends in something that was meant as a range.

    Examples
    --------
    >>> unit, legal = split_unit("share, above 0 to 1")
    >>> unit, legal.holds(1.0), legal.holds(0.0)
    ('share', True, False)
    >>> split_unit("samples")
    ('samples', None)
    """
    unit, _, last = bracket.rpartition(",")
    text = last.strip()
    if text.split(" ")[0] not in _WORDS:
        return bracket.strip(), None
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ValueError(f"the range {text!r} can't be read; write {FORM}")
    from_word, low, to_word, high = found.groups()
    return unit.strip(), Range(
        text,
        -math.inf if low is None else float(low),
        math.inf if high is None else float(high),
        from_word != "above",
        to_word != "below",
    )
