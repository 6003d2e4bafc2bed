"""Figures of training histories: pure functions from tables to plotly figures.

A figure's lines are labelled where they are, not in a legend; an algorithm has the same colour in every
figure, from the palette of Okabe and Ito (https://jfly.uni-koeln.de/color/), which colour-blind people can
tell apart. Sizes are chosen to be read from the back of a room.

`histories` maps a label to one history or to several, such as one for each seed; all of a label's histories
are drawn, so that their spread is seen.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session.history import Row, time_to_accuracy
from crossbow_lab.session.limits import Accuracy, TimeToAccuracy

COLOURS = {
    "SMA": "#0072B2",
    "S-SGD": "#D55E00",
    "EA-SGD": "#009E73",
    "hierarchical SMA (simulated devices)": "#56B4E9",
    "EAMSGD": "#4FB3A2",
    "asynchronous EAMSGD (simulated)": "#0E7033",
    "local SGD": "#EBA400",
    "DiLoCo": "#CC79A7",
    "Polyak-Ruppert": "#952864",
    "KungFu SMA": "#4431A6",
    "pair averaging": "#9F9F35",
    "Downpour (simulated)": "#661100",
    "Hogwild (simulated)": "#777777",
}
"""The colour of each algorithm, everywhere."""

_INK, _GRID = "#333333", "#E3E3E3"
_DASHES = ("solid", "dash", "dot", "dashdot")
_FONT_PX = 17
_ROW = 0.075  # height of a row of text, as a share of a panel's
_BY_EPOCH = ("epoch", "passes over the training data (epochs)")
_BY_SECONDS = ("elapsed_s", "training time (s)")

Histories = Mapping[str, pd.DataFrame | Sequence[pd.DataFrame]]


@dataclass(frozen=True)
class _Line:
    """The histories of one label, and how they are drawn."""

    label: str
    histories: tuple[pd.DataFrame, ...]
    colour: str
    dash: str


def accuracy(histories: Histories, *, target: float | None = None, window: int = 5) -> go.Figure:
    """Draw the test accuracy of z, by epoch on the left and by seconds of training on the right.

    The left panel compares statistical efficiency, the right one time to accuracy. With a target, a dot marks
    where each history reached it (the median of its last ``window`` evaluations), and the label says when.

    Parameters
    ----------
    histories : mapping of str to DataFrame or sequence of DataFrame
        ``Session.history`` by label. Columns used: epoch, elapsed_s [s], test_accuracy [0..1], algorithm.
    target : float, optional
        Test accuracy in 0..1.
    window : int
        Evaluations in the median, as in ``cb.Accuracy``.

    Returns
    -------
    plotly.graph_objects.Figure
        Two panels; see `crossbow_lab.dashboard.still.static` for showing it everywhere.

    Raises
    ------
    ConfigurationError
        If there is no history, or one lacks a column or has no test accuracy at all.
    """
    lines = _lines(histories, needs=("epoch", "elapsed_s", "test_accuracy", "algorithm"))
    for line in lines:
        if all(history["test_accuracy"].isna().all() for history in line.histories):
            raise ConfigurationError(f"{line.label!r} has no test accuracy: regression, or no test data")
    shown = _accuracy_range(lines, target)
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.05)
    for column, (x, title) in enumerate((_BY_EPOCH, _BY_SECONDS), start=1):
        for line in lines:
            _draw(figure, line, x, "test_accuracy", column, scale=100.0, window=1 if target is None else window)
        if target is not None:
            _draw_target(figure, lines, column, Accuracy(target, window), shown)
        else:
            row = _ROW * (shown[1] - shown[0])
            _label_ends(figure, lines, x, "test_accuracy", column, scale=100.0, row=row)
        # Room at the right for texts, which no axis would make by itself.
        figure.update_xaxes(title_text=title, range=[0, _last(lines, x) / 0.6], row=1, col=column)
    figure.update_yaxes(range=shown, row=1, col=1)
    figure.update_yaxes(title_text="test accuracy of z (%)", row=1, col=1)
    return styled(figure)


def throughput(histories: Histories) -> go.Figure:
    """Draw training samples per second over the training time: hardware efficiency.

    Parameters
    ----------
    histories : mapping of str to DataFrame or sequence of DataFrame
        ``Session.history`` by label. Columns used: elapsed_s [s], samples_per_s, algorithm.

    Returns
    -------
    plotly.graph_objects.Figure
        One panel.

    Raises
    ------
    ConfigurationError
        If there is no history, or one lacks a column.
    """
    lines = _lines(histories, needs=("elapsed_s", "samples_per_s", "algorithm"))
    figure = make_subplots(rows=1, cols=1)
    for line in lines:
        _draw(figure, line, "elapsed_s", "samples_per_s", 1, scale=1.0)
    highest = 1.1 * _last(lines, "samples_per_s")
    _label_ends(figure, lines, "elapsed_s", "samples_per_s", 1, scale=1.0, row=_ROW * highest)
    figure.update_xaxes(title_text=_BY_SECONDS[1], range=[0, _last(lines, "elapsed_s") / 0.85])
    figure.update_yaxes(title_text="throughput (samples/s)", range=[0, highest])
    return styled(figure)


def _lines(histories: Histories, *, needs: Sequence[str]) -> list[_Line]:
    """Check what is to be drawn, and give every label its colour and dash."""
    if not histories:
        raise ConfigurationError("there is nothing to draw; give at least one history, as session.history")
    lines: list[_Line] = []
    for label, given in histories.items():
        several = (given,) if isinstance(given, pd.DataFrame) else tuple(given)
        for history in several:
            missing = [name for name in needs if name not in history.columns]
            if missing or history.empty:
                lack = f"lacks {', '.join(missing)}" if missing else "has no rows; train until one evaluation"
                raise ConfigurationError(f"the history of {label!r} {lack}")
        if not several:
            raise ConfigurationError(f"{label!r} has no history")
        colour = COLOURS.get(str(several[-1]["algorithm"].iloc[-1]), _INK)
        dash = _DASHES[sum(line.colour == colour for line in lines) % len(_DASHES)]
        lines.append(_Line(label, several, colour, dash))
    return lines


def _accuracy_range(lines: Sequence[_Line], target: float | None) -> tuple[float, float]:
    """Return the accuracies (%) to show: the last stretch to the target, and where every run ends."""
    ends = [100 * float(history["test_accuracy"].iloc[-1]) for line in lines for history in line.histories]
    near = min(ends) - 15 if target is None else min(100 * target - 12, min(ends) - 3)
    return max(0.0, near), 100.4


def _draw(figure: go.Figure, line: _Line, x: str, y: str, column: int, *, scale: float, window: int = 1) -> None:
    """Draw every history of a label; with a window, its running median strong and itself faint."""
    for history in line.histories:
        raw = scale * history[y]
        looks = [(raw.rolling(window, min_periods=1).median(), 2.5, 1.0 if len(line.histories) == 1 else 0.7)]
        if window > 1:
            looks.insert(0, (raw, 1.0, 0.3))
        for values, width, opacity in looks:
            figure.add_trace(
                go.Scatter(
                    x=history[x].tolist(),
                    y=values.tolist(),
                    mode="lines",
                    name=line.label,
                    line={"color": line.colour, "width": width, "dash": line.dash},
                    opacity=opacity,
                    showlegend=False,
                ),
                row=1,
                col=column,
            )


def _draw_target(
    figure: go.Figure, lines: Sequence[_Line], column: int, target: Accuracy, shown: tuple[float, float]
) -> None:
    """Draw the target, a dot where each history reached it, and what each label's median is on the axis."""
    height = 100 * target.target
    figure.add_hline(height, line={"color": _INK, "width": 1.5, "dash": "dot"}, row=1, col=column)
    unit = ("epochs", "s")[column - 1]
    entries = []
    for line in lines:
        reached = [_reached(history, target) for history in line.histories]
        times = [(time.epochs, time.seconds)[column - 1] for time in reached if time is not None]
        if not times:
            end = max(line.histories, key=lambda history: float(history["elapsed_s"].iloc[-1])).iloc[-1]
            x, y = float((end["epoch"], end["elapsed_s"])[column - 1]), 100 * float(end["test_accuracy"])
            _write(figure, line, f" {line.label}: not reached", x, y, column)
            continue
        _draw_dots(figure, line, times, height, column)
        of = "" if len(times) == len(reached) else f" ({len(times)} of {len(reached)})"
        entries.append((statistics.median(times), of, line))
    # The earliest is lowest and texts stand right of their drop lines, so no line crosses another's text.
    lowest, highest = shown
    for index, (middle, of, line) in enumerate(sorted(entries, key=lambda entry: entry[0])):
        row = lowest + _ROW * (index + 0.7) * (highest - lowest)
        look = {"color": line.colour, "width": 1.5, "dash": "dot"}
        figure.add_shape(type="line", x0=middle, x1=middle, y0=row, y1=height, line=look, row=1, col=column)
        _write(figure, line, f" {line.label}: {middle:.3g} {unit}{of}", middle, row, column)


def _draw_dots(figure: go.Figure, line: _Line, times: Sequence[float], height: float, column: int) -> None:
    """Draw a dot on the target for every history that reached it."""
    figure.add_trace(
        go.Scatter(
            x=list(times),
            y=[height] * len(times),
            mode="markers",
            name=line.label,
            marker={"color": line.colour, "size": 11, "line": {"color": "white", "width": 1.5}},
            showlegend=False,
        ),
        row=1,
        col=column,
    )


def _reached(history: pd.DataFrame, target: Accuracy) -> TimeToAccuracy | None:
    """Return when a history reached the target, by the session's own rule."""
    return time_to_accuracy(cast("Sequence[Row]", list(history.itertuples())), target)


def _label_ends(
    figure: go.Figure, lines: Sequence[_Line], x: str, y: str, column: int, *, scale: float, row: float
) -> None:
    """Write every label right of the panel's last point, as high as its last value, a row of text apart."""
    last_x = _last(lines, x)
    ends = [(scale * statistics.median(float(h[y].iloc[-1]) for h in line.histories), line) for line in lines]
    free = float("-inf")
    for height, line in sorted(ends, key=lambda entry: entry[0]):
        free = max(height, free)
        _write(figure, line, f" {line.label}", last_x, free, column)
        free += row


def _last(lines: Sequence[_Line], x: str) -> float:
    """Return the last value of a column over all histories."""
    return max(float(history[x].max()) for line in lines for history in line.histories)


def _write(figure: go.Figure, line: _Line, text: str, x: float, y: float, column: int) -> None:
    """Write a text in a label's colour, starting at a point."""
    figure.add_annotation(
        text=text,
        x=x,
        y=y,
        xanchor="left",
        yanchor="middle",
        showarrow=False,
        bgcolor="rgba(255,255,255,0.7)",
        font={"color": line.colour, "size": _FONT_PX},
        row=1,
        col=column,
    )


def styled(figure: go.Figure, *, height: int = 460, font_px: int = _FONT_PX) -> go.Figure:
    """Give a figure the look they all have; return it."""
    axis = {"showline": True, "linecolor": _INK, "gridcolor": _GRID, "zeroline": False, "ticks": "outside"}
    figure.update_xaxes(**axis, automargin=True)
    figure.update_yaxes(**axis, automargin=True)
    return figure.update_layout(
        template="none",
        paper_bgcolor="white",
        plot_bgcolor="white",
        font={"family": "Helvetica, Arial, DejaVu Sans, sans-serif", "size": font_px, "color": _INK},
        margin={"l": 70, "r": 20, "t": 20, "b": 60},
        height=height,
    )
