"""The line that a foreground session prints."""

import math

import pytest

from crossbow_lab.session import Session
from crossbow_lab.session.limits import Limits
from crossbow_lab.session.progress import progress_line


@pytest.mark.parametrize(
    ("limits", "parts"),
    [
        (Limits(iteration=20), ["iteration 10/20"]),
        (Limits(position=1437), [f"epoch {160 / 1437:.2f}/1"]),
        (Limits(position=360), [f"epoch {160 / 1437:.2f}/0.25"]),
        (Limits(), ["iteration 10  "]),
    ],
)
def test_the_line_says_how_far_it_is_and_how_long_it_takes(limits: Limits, parts: list[str]) -> None:
    """Only what is known: no rate, accuracy or time left before there is one."""
    session = Session("logreg", executor="loop", threads=1, learners=2, batch_size=8)
    session.step(10)
    line = progress_line(session.snapshot, limits, 1437)
    assert line.startswith("SMA     epoch 0.11")
    for part in parts:
        assert part in line
    assert "nan" not in line
    assert ("left" in line) == (limits != Limits())
    assert math.isnan(session.snapshot.test_accuracy)
    session.stop()
    assert "test accuracy" in progress_line(session.snapshot, limits, 1437)
