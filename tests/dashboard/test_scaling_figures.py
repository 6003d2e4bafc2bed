"""The figure of scaling on paper."""

import math

import pytest

from crossbow_lab.dashboard import scaling, static
from crossbow_lab.errors import ConfigurationError


def test_lines_are_simulated_dots_were_measured_and_both_axes_double() -> None:
    """With the ideal beside them; every line is named at its end, and the picture can be made."""
    figure = scaling({"ring": {1: 1.0, 2: 1.8, 64: 16.0}, "tree": {1: 1.0, 64: 0.5}}, [(2, 1.7, "two processes")])
    texts = [note.text for note in figure.layout.annotations]
    assert texts == ["  as many times as devices", "  ring, simulated", "  tree, simulated", "  two processes"]
    ring = figure.data[1]
    assert list(ring.x) == [0.0, 1.0, 6.0]
    assert list(ring.y) == [0.0, math.log2(1.8), 4.0]
    assert list(figure.layout.xaxis.ticktext) == ["1", "2", "4", "8", "16", "32", "64"]
    assert figure.layout.yaxis.ticktext[0] == "1/2"
    assert figure.layout.xaxis.title.text == "devices"
    assert static(figure).png.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("lines", "message"), [({}, "no line to draw"), ({"a": {}}, "no line to draw"), ({"a": {1: 0.0}}, "greater than 0")]
)
def test_what_can_not_be_drawn_is_refused(lines: dict[str, dict[int, float]], message: str) -> None:
    """With what is needed."""
    with pytest.raises(ConfigurationError, match=message):
        scaling(lines)
