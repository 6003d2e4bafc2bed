"""Figures of a comparison, as data and as a picture."""

import io
import math

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from crossbow_lab.dashboard import static
from crossbow_lab.dashboard.comparison import Group, Measured, colours, curves, measured, overview, shares
from crossbow_lab.dashboard.figures import COLOURS
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session import Accuracy

TARGET = Accuracy(0.97)


def _group(label: str, algorithm: str, *, pace_s: float = 0.5, n_rows: int = 12, reaches: bool = True) -> Group:
    """Return a group of two runs."""
    history = pd.DataFrame(
        {
            "epoch": np.arange(1.0, n_rows + 1),
            "samples": 1000 * np.arange(1, n_rows + 1),
            "elapsed_s": pace_s * np.arange(1, n_rows + 1),
            "test_accuracy": 0.98 if reaches else 0.6,
        }
    )
    where = {"elapsed_s": 5 * pace_s, "epoch": 5.0, "samples": 5000.0} if reaches else {}
    times = (5 * pace_s, 6 * pace_s) if reaches else (math.inf, math.inf)
    middle = 5.5 * pace_s if reaches else math.inf
    m = Measured(times, middle, 5 * pace_s if reaches else math.nan, 7 * pace_s if reaches else math.nan, "some text")
    steps = ((0.0, 0.0), (5 * pace_s, 0.5), (6 * pace_s, 1.0)) if reaches else ((0.0, 0.0), (9.0, 0.0))
    return Group(
        label, algorithm, (history, history), (where, where), steps, {"seconds": m, "epochs": m, "samples/s": m}
    )


GROUPS = [_group("S-SGD", "S-SGD"), _group("SMA", "SMA", pace_s=0.3), _group("lost", "EA-SGD", reaches=False)]


def test_every_run_is_a_line_and_a_dot() -> None:
    """By time, epochs and samples above; below a dot for each run, hollow at the edge for one that never got there."""
    figure = overview(GROUPS, target=TARGET)
    top = [trace for trace in figure.data if trace.mode == "lines" and trace.xaxis in {"x", "x2", "x3"}]
    assert len(top) == 3 * 6
    assert top[0].x == tuple(0.5 * n for n in range(1, 13))
    dots = [
        trace for trace in figure.data if trace.mode == "markers" and trace.xaxis == "x4" and trace.marker.size == 7
    ]
    assert [len(trace.x) for trace in dots] == [2, 2, 2]
    lost = dots[-1]
    assert lost.name == "lost: not reached"
    assert lost.marker.color == "white"
    assert min(lost.x) > 3.0
    assert max(lost.x) < figure.layout.xaxis4.range[1]


def test_texts_name_every_row() -> None:
    """The label with the numbers at the left, numbers alone beside it; each text in its own row."""
    figure = overview(GROUPS, target=TARGET)
    texts = [(note.xref, note.text) for note in figure.layout.annotations]
    assert [text for xref, text in texts if xref == "x4"] == ["S-SGD: some text", "SMA: some text", "lost: some text"]
    assert [text for xref, text in texts if xref == "x5"] == ["some text"] * 3
    heights = [note.y for note in figure.layout.annotations if note.xref == "x4"]
    assert heights == sorted(heights, reverse=True)
    assert figure.layout.xaxis4.title.text == "seconds (○ never)"


def test_an_algorithm_keeps_its_colour_and_its_rows_are_shades_of_it() -> None:
    """From dark to light, all different; an unknown one is grey."""
    assert colours(GROUPS) == [COLOURS["S-SGD"], COLOURS["SMA"], COLOURS["EA-SGD"]]
    three = colours([_group(str(k), "SMA") for k in range(3)])
    assert three[1] == COLOURS["SMA"]
    brightness = [sum(int(colour[at : at + 2], 16) for at in (1, 3, 5)) for colour in three]
    assert brightness == sorted(set(brightness))
    assert colours([_group("a", "")]) == ["#777777"]


def test_a_far_reaching_interval_does_not_squeeze_the_rest() -> None:
    """From two seeds it may end at a thousand times the value; it is cut at three times the largest."""
    m = Measured((1.0, 2.0), 1.4, 0.01, 5000.0, "1.4")
    group = Group("a", "SMA", GROUPS[0].histories, ({}, {}), (), {"seconds": m})
    figure = measured([group], "seconds")
    assert figure.layout.xaxis.range[1] < 7
    (interval,) = [trace for trace in figure.data if trace.mode == "lines"]
    assert interval.x == (0.01, figure.layout.xaxis.range[1])


def test_a_long_history_is_thinned_but_ends_where_it_ends() -> None:
    """A notebook stays small, whatever was recorded."""
    group = _group("long", "SMA", n_rows=5000)
    line = curves([group], "epoch", target=None).data[0]
    assert len(line.x) <= 302
    assert line.x[-1] == 5000


def test_it_draws_runs_without_any_accuracy() -> None:
    """As for a regression: nothing to see, and no failure."""
    history = GROUPS[0].histories[0].assign(test_accuracy=math.nan)
    group = Group("a", "SMA", (history,), ({},), (), GROUPS[0].measured)
    assert curves([group], "elapsed_s", target=None).layout.yaxis.range == (100.0, 100.4)
    with pytest.raises(ConfigurationError, match="no run has a history"):
        overview([Group("a", "SMA", (), (), (), GROUPS[0].measured)], target=TARGET)


def test_shares_are_steps() -> None:
    """Along, then up."""
    line = shares(GROUPS[:1], target=TARGET).data[0]
    assert list(zip(line.x, line.y, strict=True)) == [(0, 0), (2.5, 0), (2.5, 50), (3.0, 50), (3.0, 100)]


def test_the_picture_has_the_figures_rows_and_columns() -> None:
    """Curves above and measures below, in the colours of the figure."""
    picture = matplotlib.image.imread(io.BytesIO(static(overview(GROUPS, target=TARGET)).png))[..., :3]
    blue = np.abs(picture - np.array([0x00, 0x72, 0xB2]) / 255).max(axis=2) < 0.25
    height, width = blue.shape
    for row in (slice(0, height // 2), slice(height * 6 // 10, height)):
        for third in range(3):
            assert blue[row, third * width // 3 : (third + 1) * width // 3].sum() > 30
