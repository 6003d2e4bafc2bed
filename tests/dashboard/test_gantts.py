"""The Gantt chart of a timeline, as data and as a picture."""

import io
import math

import matplotlib.image
import numpy as np
import pytest

from crossbow_lab.dashboard import static
from crossbow_lab.dashboard.gantts import gantt
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.learners.timeline import ALL, Span
from crossbow_lab.scheduling import schedule_tasks

SPANS = [
    Span("data", ALL, "host", 4, 2.0, 0.001),
    Span("learning", 0, "lane 0", 4, 2.001, 0.004),
    Span("learning", 1, "lane 1", 4, 2.001, 0.006),
    Span("local_synchronisation", 0, "lane 0", 4, 2.006, 0.001),
    Span("global_synchronisation", ALL, "averaging", 4, 2.008, 0.002),
]


def test_rows_are_streams_and_learners_and_bars_lie_where_their_tasks_ran() -> None:
    """In milliseconds from the first span on, with a gap of 2 in 1,000 behind each; one trace for each kind."""
    figure = gantt(SPANS)
    assert list(figure.layout.yaxis.ticktext) == [
        "host, all learners", "averaging, all learners", "lane 0, learner 1", "lane 1, learner 2"
    ]  # fmt: skip
    bars = {trace.name: trace for trace in figure.data}
    assert list(bars) == ["learning", "local synchronisation", "global synchronisation", "data"]
    np.testing.assert_allclose(bars["learning"].x, [1, 4.98, math.nan, 1, 6.98, math.nan], atol=1e-9)
    np.testing.assert_allclose(bars["learning"].y, [2, 2, math.nan, 3, 3, math.nan])
    assert bars["learning"].text[3] == "learning, learner 2, iteration 4: 6.000 ms"
    assert bars["data"].text[0] == "data, iteration 4: 1.000 ms"
    assert [note.text for note in figure.layout.annotations] == [f"■ {name}" for name in bars]


def test_a_stretch_can_be_drawn() -> None:
    """Every span that touches it."""
    figure = gantt(SPANS, first_s=2.0065, last_s=2.0075)
    assert [trace.name for trace in figure.data] == ["learning", "local synchronisation"]
    assert len(figure.data[0].x) == 3


def test_it_shows_as_a_picture_too() -> None:
    """Bars end where their tasks end: learner 2 learns for 6 of 10 ms, in one colour."""
    still = static(gantt(SPANS))
    assert "■ learning; ■ local synchronisation" in repr(still)
    picture = matplotlib.image.imread(io.BytesIO(still.png))[..., :3]
    blue = np.abs(picture - np.array([0x00, 0x72, 0xB2]) / 255).max(axis=2) < 0.05
    red = np.abs(picture - np.array([0xD5, 0x5E, 0x00]) / 255).max(axis=2) < 0.05
    longest, short = blue.sum(axis=1).max(), red.sum(axis=1).max()
    assert longest / short == pytest.approx(3.0, rel=0.03)


def test_nothing_and_too_much_are_refused() -> None:
    """Both say what to do."""
    with pytest.raises(ConfigurationError, match="there is no span from 5 to inf s"):
        gantt(SPANS, first_s=5.0)
    with pytest.raises(ConfigurationError, match="there is no span"):
        gantt([])
    with pytest.raises(ConfigurationError, match="5,005 spans are more than the 5,000 that can be seen"):
        gantt(SPANS * 1001)


def test_a_simulated_schedule_is_drawn_like_a_timeline() -> None:
    """A row for each stream and learner that met on it, and one for synchronisation."""
    schedule = schedule_tasks([1.0, 2.0], "round_robin", iterations=2, sync_period=2, synchronisation_s=0.5)
    figure = gantt(schedule.spans)
    assert [trace.name for trace in figure.data] == ["learning", "global synchronisation"]
    assert list(figure.layout.yaxis.ticktext) == [
        "stream 0, learner 1",
        "stream 1, learner 2",
        "synchronisation, all learners",
    ]
