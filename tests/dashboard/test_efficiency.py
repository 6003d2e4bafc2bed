"""Samples a second against epochs to the target."""

import math
from dataclasses import replace
from typing import Any

import pytest

from crossbow_lab.dashboard.efficiency import Efficiencies
from crossbow_lab.session import Accuracy, Row

ROW = Row(
    iteration=0,
    epoch=0.0,
    samples=0,
    elapsed_s=0.0,
    evaluation_s=0.0,
    samples_per_s=math.nan,
    train_loss=1.0,
    test_loss=1.0,
    test_accuracy=0.5,
    divergence=0.1,
    learners=2,
    batch_size=8,
    learning_rate=0.1,
    algorithm="SMA",
)


def _rows(*told: tuple[int, float, float], **setting: Any) -> list[Row]:
    """Return rows (samples, elapsed_s, test_accuracy) of an epoch of 100 samples."""
    return [
        replace(ROW, samples=samples, epoch=samples / 100, elapsed_s=elapsed_s, test_accuracy=accuracy, **setting)
        for samples, elapsed_s, accuracy in told
    ]


@pytest.fixture
def now(make: Any) -> Any:
    """Give a snapshot of two learners with batches of 8, at 70 samples/s."""
    return replace(make().snapshot, samples_per_s=70.0)


def test_a_session_that_has_not_reached_the_target_is_a_point_without_height(now: Any) -> None:
    """Its throughput is the snapshot's before the first evaluation, then that of all its evaluations."""
    found = Efficiencies(Accuracy(0.9, 1))
    (point,) = found.points(now)
    assert (point.x, point.y, point.label, point.is_current) == (70.0, None, "SMA 2×8", True)
    found.add(_rows((100, 1.0, 0.5), (300, 4.0, 0.6)))
    (point,) = found.points(now)
    assert (point.x, point.y) == (75.0, None)


def test_the_target_counts_when_the_median_reaches_it(now: Any) -> None:
    """Not a single lucky evaluation; and not again later."""
    found = Efficiencies(Accuracy(0.9, 3))
    found.add(_rows((100, 1.0, 0.95), (200, 2.0, 0.5), (300, 3.0, 0.9)))
    assert found.reached is not None
    assert found.reached.epochs == 3.0
    found.add(_rows((400, 4.0, 0.99)))
    assert found.points(now)[0].y == found.reached.epochs == 3.0
    assert found.median == 0.9


def test_a_setting_that_came_after_others_says_so_and_its_boundary_counts_for_neither(now: Any) -> None:
    """The evaluation in which the setting changed has samples of both."""
    found = Efficiencies(Accuracy(0.9, 1))
    found.add(_rows((100, 1.0, 0.5)))
    found.add(_rows((200, 11.0, 0.6), (400, 12.0, 0.9), learners=4))
    (point,) = found.points(replace(now, learners=4))
    assert (point.x, point.y, point.label) == (200.0, 4.0, "SMA 4×8, after others")
    assert found.points(now)[0].is_current is False, "the target was reached by another setting"


def test_a_reset_keeps_what_was_as_an_earlier_setting(now: Any) -> None:
    """The new start is the current point; another target looks at the present session only."""
    found = Efficiencies(Accuracy(0.9, 1))
    found.add(_rows((100, 1.0, 0.95)))
    found.reset()
    assert found.reached is None
    earlier, current = found.points(replace(now, learners=4))
    assert (earlier.x, earlier.y, earlier.is_current) == (100.0, 1.0, False)
    assert (current.label, current.y, current.is_current) == ("SMA 4×8", None, True)
    found.add(_rows((50, 1.0, 0.7), (100, 2.0, 0.8), learners=4))
    found.aim(Accuracy(0.8, 1))
    (point,) = found.points(replace(now, learners=4))
    assert point.y == 1.0
