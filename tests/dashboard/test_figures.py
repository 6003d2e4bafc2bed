"""Figures, looked at as data."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from crossbow_lab.averaging import ALGORITHMS, algorithm_name
from crossbow_lab.dashboard import figures
from crossbow_lab.errors import ConfigurationError


def _history(algorithm: str, *, reaches: float, n: int = 12, seconds_per_epoch: float = 0.5) -> pd.DataFrame:
    """Return a history whose accuracy is 0.98 from a given epoch on, and 0.5 before."""
    epoch = np.arange(1, n + 1, dtype=float)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "samples": (100 * epoch).astype(int),
            "elapsed_s": seconds_per_epoch * epoch,
            "samples_per_s": 200.0,
            "test_accuracy": np.where(epoch >= reaches, 0.98, 0.5),
            "algorithm": algorithm,
        }
    )


SMA, SSGD = _history("SMA", reaches=4), _history("S-SGD", reaches=3, seconds_per_epoch=1.0)


def _texts(figure: go.Figure) -> list[str]:
    """Return the texts written on a figure."""
    return [note.text.strip() for note in figure.layout.annotations]


def test_it_draws_accuracy_by_epoch_and_by_seconds() -> None:
    """Left are passes over the data, right seconds of training; both in per cent."""
    figure = figures.accuracy({"SMA": SMA})
    by_epoch, by_seconds = (trace for trace in figure.data if trace.mode == "lines")
    assert list(by_epoch.x) == SMA["epoch"].tolist()
    assert list(by_seconds.x) == SMA["elapsed_s"].tolist()
    assert by_epoch.y[-1] == 98.0
    assert (by_epoch.xaxis, by_seconds.xaxis) == ("x", "x2")


def test_it_writes_units_on_every_axis() -> None:
    """No axis without its unit."""
    figure = figures.accuracy({"SMA": SMA}, target=0.97)
    assert figure.layout.xaxis.title.text.endswith("(epochs)")
    assert figure.layout.xaxis2.title.text.endswith("(s)")
    assert figure.layout.yaxis.title.text.endswith("(%)")
    figure = figures.throughput({"SMA": SMA})
    assert figure.layout.xaxis.title.text.endswith("(s)")
    assert figure.layout.yaxis.title.text.endswith("(samples/s)")


def test_it_gives_an_algorithm_one_colour_in_every_figure() -> None:
    """Whatever the label and the order; several labels of an algorithm are shades of it, dark to light, and dashed."""
    figure = figures.accuracy({"fast": SSGD, "SMA, k=4": SMA, "SMA, k=8": SMA})
    lines = [trace for trace in figure.data if trace.xaxis == "x"]
    assert [line.line.color for line in lines] == ["#D55E00", "#004A74", "#73B1D5"]
    assert [line.line.dash for line in lines] == ["solid", "solid", "dash"]
    assert figures.throughput({"SMA": SMA}).data[0].line.color == "#0072B2"


def test_it_has_a_colour_for_every_algorithm() -> None:
    """Also for those that nobody has drawn yet."""
    assert set(figures.COLOURS) == {algorithm_name(kind()) for kind in ALGORITHMS.values()}


def test_it_has_colours_that_differ_in_lightness_too() -> None:
    """So that they are told apart in grey as well as by people who see two of three colours."""
    lightness = []
    for colour in figures.COLOURS.values():
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        lightness.append(0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2)
    assert min(abs(np.diff(sorted(lightness)))) > 0.02


def test_it_draws_every_run_of_a_label_and_labels_it_once() -> None:
    """Seeds are seen, not averaged away."""
    figure = figures.accuracy({"SMA": [SMA, SMA, SMA]})
    assert len([trace for trace in figure.data if trace.xaxis == "x"]) == 3
    assert _texts(figure) == ["SMA", "SMA"]


def test_it_marks_when_the_target_was_reached() -> None:
    """By the median of the last five evaluations, as the session itself says it."""
    figure = figures.accuracy({"SMA": SMA, "S-SGD": SSGD}, target=0.97)
    dots = {(trace.name, trace.xaxis): list(trace.x) for trace in figure.data if trace.mode == "markers"}
    assert dots == {("SMA", "x"): [6.0], ("SMA", "x2"): [3.0], ("S-SGD", "x"): [5.0], ("S-SGD", "x2"): [5.0]}
    assert set(_texts(figure)) == {"SMA: 6 epochs", "S-SGD: 5 epochs", "SMA: 3 s", "S-SGD: 5 s"}
    assert 97.0 in {shape.y0 for shape in figure.layout.shapes}


def test_it_says_how_many_runs_reached_the_target() -> None:
    """None of them, or some."""
    never = _history("S-SGD", reaches=99)
    figure = figures.accuracy({"SMA": [SMA, never], "S-SGD": never}, target=0.97)
    assert "S-SGD: not reached" in _texts(figure)
    assert "SMA: 6 epochs (1 of 2)" in _texts(figure)


def test_it_shows_where_runs_end_and_the_target() -> None:
    """The last stretch fills the panel; a run that ends low stays in sight."""
    low, high = figures.accuracy({"SMA": SMA}, target=0.97).layout.yaxis.range
    assert (low, high) == (85.0, 100.4)
    low, _ = figures.accuracy({"SMA": _history("SMA", reaches=99)}, target=0.97).layout.yaxis.range
    assert low == 47.0


def test_it_keeps_labels_apart() -> None:
    """Two runs that end at the same height are labelled a row of text apart."""
    figure = figures.throughput({"SMA": SMA, "S-SGD": SSGD})
    heights = sorted(note.y for note in figure.layout.annotations)
    assert heights[1] - heights[0] >= 0.07 * figure.layout.yaxis.range[1]


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        ({}, "nothing to draw"),
        ({"SMA": []}, "'SMA' has no history"),
        ({"SMA": SMA.iloc[:0]}, "'SMA' has no rows"),
        ({"SMA": SMA.drop(columns="epoch")}, "'SMA' lacks epoch"),
        ({"SMA": SMA.assign(test_accuracy=np.nan)}, "'SMA' has no test accuracy: regression, or no test data"),
    ],
)
def test_it_refuses_what_it_cannot_draw(histories: dict[str, pd.DataFrame], message: str) -> None:
    """With the label that it is about."""
    with pytest.raises(ConfigurationError, match=message):
        figures.accuracy(histories)
