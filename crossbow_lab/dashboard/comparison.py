"""Figures of a comparison of runs: every run a line by time, epochs and samples; every run a dot beside its interval.

Pure functions from data to plotly figures, in shapes that `crossbow_lab.dashboard.still` can draw too. An algorithm
keeps its colour; its configurations are shades of it, from dark to light, and differ in their dashes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from crossbow_lab.dashboard.figures import shades, styled
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session.limits import Accuracy

_INK, _GRID = "#333333", "#E3E3E3"
_DASHES = ("solid", "dash", "dot", "dashdot")
_FONT_PX = 14
_CURVES_PX, _ROW_PX, _AXIS_PX = 320, 52, 80
_MOST_POINTS = 300  # of a line; more can't be told apart on a screen
_FURTHEST = 3.0  # an interval is drawn to so many times the largest value; from two seeds it can reach very far

CURVES = {
    "elapsed_s": "training time (s)",
    "epoch": "epochs",
    "samples": "training samples (thousands)",
}
"""What test accuracy is drawn by: the history's column, and the axis's title."""


@dataclass(frozen=True)
class Measured:
    """One measured quantity of one configuration.

    Parameters
    ----------
    values : tuple of float
        One per training; infinite where the target wasn't reached.
    centre, low, high : float
        An estimate and its interval; NaN where there is none.
    text : str
        The same in words.
    """

    values: tuple[float, ...]
    centre: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Group:
    """One configuration as it is drawn.

    Parameters
    ----------
    label : str
    algorithm : str
        Gives the colour.
    histories : tuple of DataFrame
        One per training. Columns used: those of `CURVES`, and test_accuracy [0..1].
    reached : tuple of mapping
        For each history where it reached the target, by the names of `CURVES`; empty where it didn't.
    shares : tuple of (float, float)
        Steps of the share of trainings that have reached the target, by training time [s].
    measured : mapping of str to Measured
        By the title of the axis. All groups have the same ones.
    """

    label: str
    algorithm: str
    histories: tuple[pd.DataFrame, ...]
    reached: tuple[Mapping[str, float], ...]
    shares: tuple[tuple[float, float], ...]
    measured: Mapping[str, Measured]


def overview(groups: Sequence[Group], *, target: Accuracy | None) -> go.Figure:
    """Draw curves above, and below them what was measured, one row per configuration.

    Parameters
    ----------
    groups : sequence of Group
    target : Accuracy, optional
        Drawn as a line; lines are medians over its window.

    Returns
    -------
    plotly.graph_objects.Figure
        Two rows of three panels.

    Raises
    ------
    ConfigurationError
        If no group has a history.
    """
    lower = _ROW_PX * (len(groups) + 0.3)
    heights = [_CURVES_PX, lower]
    height = sum(heights) + 2 * _AXIS_PX
    figure = make_subplots(
        rows=2,
        cols=3,
        row_heights=heights,
        shared_yaxes=True,
        horizontal_spacing=0.04,
        vertical_spacing=_AXIS_PX / height,
    )
    for column, by in enumerate(CURVES, start=1):
        _draw_curves(figure, groups, by, target, 1, column)
    figure.update_yaxes(title_text=_curve_title(target), row=1, col=1)
    for column, title in enumerate(_titles(groups), start=1):
        _draw_measured(figure, groups, title, 2, column, has_labels=column == 1)
    return _styled(figure, height)


def curves(groups: Sequence[Group], by: str, *, target: Accuracy | None) -> go.Figure:
    """Draw test accuracy of z by one of `CURVES`; see `overview`."""
    figure = make_subplots(rows=1, cols=1)
    _draw_curves(figure, groups, by, target, 1, 1)
    figure.update_yaxes(title_text=_curve_title(target))
    return _styled(figure, _CURVES_PX + _AXIS_PX)


def measured(groups: Sequence[Group], title: str) -> go.Figure:
    """Draw one measured quantity, by the title of its axis: every run a dot, the estimate a ring on its interval."""
    figure = make_subplots(rows=1, cols=1)
    _draw_measured(figure, groups, title, 1, 1, has_labels=True)
    return _styled(figure, round(_ROW_PX * (len(groups) + 0.3)) + _AXIS_PX)


def shares(groups: Sequence[Group], *, target: Accuracy) -> go.Figure:
    """Draw the share of trainings at the target by each second; one that ended early counts as long as it was there."""
    figure = make_subplots(rows=1, cols=1)
    for index, (group, colour) in enumerate(zip(groups, colours(groups), strict=True)):
        corners = [(x, y) for place, step in enumerate(group.shares) for x, y in _corner(group.shares, place, step)]
        line = {"color": colour, "width": 2, "dash": _DASHES[index % len(_DASHES)]}
        x, y = [x for x, _ in corners], [100 * y for _, y in corners]
        figure.add_trace(go.Scatter(x=x, y=y, mode="lines", name=group.label, line=line, showlegend=False))
    figure.update_xaxes(title_text=CURVES["elapsed_s"], rangemode="tozero")
    figure.update_yaxes(title_text=f"runs at {100 * target.target:.4g} % accuracy (%)", range=[-2, 102])
    return _styled(figure, _CURVES_PX + _AXIS_PX)


def colours(groups: Sequence[Group]) -> list[str]:
    """Return each group's colour; see `crossbow_lab.dashboard.figures.shades`."""
    return shades([group.algorithm for group in groups])


def _corner(
    steps: Sequence[tuple[float, float]], place: int, step: tuple[float, float]
) -> Sequence[tuple[float, float]]:
    """Return the points that draw one step: along at the height before it, then up."""
    return [step] if place == 0 else [(step[0], steps[place - 1][1]), step]


def _titles(groups: Sequence[Group]) -> list[str]:
    """Return the titles of what was measured."""
    if not any(group.histories for group in groups):
        raise ConfigurationError("there is nothing to draw: no run has a history")
    return list(groups[0].measured)


def _draw_curves(
    figure: go.Figure, groups: Sequence[Group], by: str, target: Accuracy | None, row: int, column: int
) -> None:
    """Draw every history as a line, and a dot where it reached the target."""
    scale = 1e-3 if by == "samples" else 1.0
    furthest, lowest = 0.0, 100.0 if target is None else 100 * target.target - 12
    for index, (group, colour) in enumerate(zip(groups, colours(groups), strict=True)):
        line = {"color": colour, "width": 1.8, "dash": _DASHES[index % len(_DASHES)]}
        for history in group.histories:
            smooth = history["test_accuracy"].rolling(target.window if target else 1, min_periods=1).median()
            thinned = _thinned(len(history))
            x = [float(f"{scale * value:.5g}") for value in history[by].iloc[thinned]]
            y = [round(100 * float(value), 2) for value in smooth.iloc[thinned]]
            figure.add_trace(
                go.Scatter(x=x, y=y, mode="lines", name=group.label, line=line, opacity=0.8, showlegend=False),
                row=row,
                col=column,
            )
            furthest = max(furthest, *x)
            lowest = lowest if math.isnan(y[-1]) else min(lowest, y[-1] - 3)
        dots = [scale * where[by] for where in group.reached if where]
        if target is not None and dots:
            _add_dots(figure, group.label, dots, [100 * target.target] * len(dots), (colour, "white", 9), row, column)
    if target is not None:
        look = {"color": _INK, "width": 1.5, "dash": "dot"}
        figure.add_hline(100 * target.target, line=look, row=row, col=column)
    figure.update_xaxes(title_text=CURVES[by], range=[0, 1.03 * (furthest or 1.0)], row=row, col=column)
    figure.update_yaxes(range=[max(0.0, lowest), 100.4], row=row, col=column)


def _draw_measured(
    figure: go.Figure, groups: Sequence[Group], title: str, row: int, column: int, *, has_labels: bool
) -> None:
    """Draw one row per group: its text, its interval with the estimate, and its runs below."""
    shown = [group.measured[title] for group in groups]
    largest = max((value for m in shown for value in (*m.values, m.centre) if math.isfinite(value)), default=1.0)
    ends = [m.high for m in shown if math.isfinite(m.high)]
    furthest = 1.08 * max(largest, min(max(ends, default=0.0), _FURTHEST * largest))
    has_missing = any(math.isinf(value) for m in shown for value in m.values)
    for index, (group, colour, m) in enumerate(zip(groups, colours(groups), shown, strict=True)):
        y = len(groups) - index
        text = f"{group.label}: {m.text}" if has_labels else m.text
        figure.add_annotation(
            text=text,
            x=0,
            y=y + 0.36,
            xanchor="left",
            yanchor="middle",
            showarrow=False,
            font={"color": _INK, "size": _FONT_PX - 1},
            row=row,
            col=column,
        )
        if not math.isnan(m.low):
            interval = go.Scatter(
                x=[m.low, min(m.high, furthest)],
                y=[y, y],
                mode="lines",
                name=group.label,
                line={"color": colour, "width": 3, "dash": "solid"},
                showlegend=False,
            )
            figure.add_trace(interval, row=row, col=column)
        if math.isfinite(m.centre):
            _add_dots(figure, group.label, [m.centre], [y], ("white", colour, 11), row, column)
        finite = [value for value in m.values if math.isfinite(value)]
        _add_dots(figure, group.label, finite, [y - 0.27] * len(finite), (colour, "white", 7), row, column)
        n_never = sum(math.isinf(value) for value in m.values)
        never = [furthest * (0.98 - 0.03 * place) for place in range(n_never)]
        _add_dots(figure, f"{group.label}: not reached", never, [y - 0.27] * n_never, ("white", colour, 7), row, column)
    said = f"{title} (○ never)" if has_missing else title
    figure.update_xaxes(title_text=said, range=[0, furthest], row=row, col=column)
    figure.update_yaxes(range=[0.45, len(groups) + 0.7], showticklabels=False, tickvals=[], row=row, col=column)


def _add_dots(
    figure: go.Figure,
    name: str,
    x: Sequence[float],
    y: Sequence[float],
    look: tuple[str, str, int],
    row: int,
    column: int,
) -> None:
    """Draw dots of a colour, an edge and a size (px)."""
    if not x:
        return
    colour, edge, size_px = look
    marker = {"color": colour, "size": size_px, "line": {"color": edge, "width": 2 if colour == "white" else 1}}
    dots = go.Scatter(x=list(x), y=list(y), mode="markers", name=name, marker=marker, showlegend=False)
    figure.add_trace(dots, row=row, col=column)


def _curve_title(target: Accuracy | None) -> str:
    """Say what the curves are."""
    smoothed = "" if target is None or target.window == 1 else f",<br>median of {target.window} evaluations"
    return f"test accuracy of z (%){smoothed}"


def _thinned(n_rows: int) -> list[int]:
    """Return the rows of a history to draw, the last among them."""
    step = max(1, math.ceil(n_rows / _MOST_POINTS))
    return sorted({*range(0, n_rows, step), n_rows - 1})


def _styled(figure: go.Figure, height: float) -> go.Figure:
    """Give a figure the look that all of them have, a little smaller."""
    figure.update_xaxes(title_font_size=_FONT_PX)
    figure.update_yaxes(title_font_size=_FONT_PX)
    margin = {"l": 60, "r": 15, "t": 15, "b": 55}
    styled(figure, height=round(height), font_px=_FONT_PX)
    return figure.update_layout(margin=margin, hoverlabel={"namelength": -1})
