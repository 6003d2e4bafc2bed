"""The static figure of a landscape: where learners and z have been, and the loss by iteration."""

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from crossbow_lab.averaging import algorithm_name
from crossbow_lab.dashboard.figures import COLOURS, styled
from crossbow_lab.landscape.course import Course
from crossbow_lab.landscape.grids import grid_of
from crossbow_lab.landscape.surfaces import Array

if TYPE_CHECKING:
    from crossbow_lab.landscape.landscape import Landscape

INK, MEAN, GREY = "#222222", "#7F7F7F", "#888888"
"""Colours of z, of the learners' mean, and of what is beside the point."""

_SHADES = [[0.0, "#FFFFFF"], [1.0, "#AEB6C2"]]
_POINTS = 400  # of a line
_TRAILS, _DOTS = 24, 400  # learners that are drawn with trails, and at all
_MARKS = 12
_FONT_PX = 15


def figure(landscape: "Landscape") -> go.Figure:
    """Draw a landscape until the iteration that is looked at.

    Parameters
    ----------
    landscape : Landscape

    Returns
    -------
    plotly.graph_objects.Figure
        Two panels; `crossbow_lab.dashboard.static` shows it everywhere.
    """
    colour = COLOURS[algorithm_name(landscape.settings.algorithm)]
    made = make_subplots(rows=1, cols=2, column_widths=[0.5, 0.5], horizontal_spacing=0.11)
    _draw_surface(made, landscape)
    _draw_learners(made, landscape, colour)
    _draw_losses(made, landscape, colour)
    styled(made, height=480, font_px=_FONT_PX)
    (left, right), (low, high) = landscape.surface.view
    made.update_xaxes(title_text="x", range=[left, right], row=1, col=1)
    made.update_yaxes(title_text=f"y, on {landscape.surface.name}", range=[low, high], row=1, col=1)
    return made


def _draw_surface(made: go.Figure, landscape: "Landscape") -> None:
    """Draw contours, the minima that are known, and the starting point."""
    grid = grid_of(landscape.surface, landscape.surface.view, n=61)
    contours = go.Contour(
        x=grid.x.round(4).tolist(),
        y=grid.y.round(4).tolist(),
        z=[[None if np.isnan(value) else value for value in row] for row in grid.shade.round(3).tolist()],
        colorscale=_SHADES,
        ncontours=16,
        showscale=False,
        line={"color": "#9AA3AF", "width": 0.7},
        hoverinfo="skip",
    )
    made.add_trace(contours, row=1, col=1)
    for x, y in landscape.surface.minima:
        _dot(made, x, y, "#FFFFFF", size=9, edge=GREY)
    x, y = landscape.start
    _dot(made, x, y, "#FFFFFF", size=11, edge=INK)
    _write(made, "start     ", x, y, INK, column=1, anchor="right")


def _draw_learners(made: go.Figure, landscape: "Landscape", colour: str) -> None:
    """Draw learners with their last iterations, their mean and z with all of theirs."""
    (left, right), (low, high) = landscape.surface.view
    state, course, t = landscape.state, landscape.course, landscape.iteration
    trails = _lines(course, t, state.learners)
    _line(made, trails, colour, column=1, width=1.0, opacity=0.45)
    trail = course.trail()
    n = int(np.searchsorted(trail.iterations, t, side="right"))
    for points, ink, width in ((trail.means[:n], MEAN, 1.5), (trail.centres[:n], INK, 2.5)):
        _line(made, np.concatenate([[landscape.start], thinned(points)]), ink, column=1, width=width)
    here = [w for w in state.learners[:_DOTS].tolist() if left <= w[0] <= right and low <= w[1] <= high]
    if here:
        look = {"color": colour, "size": 7 if len(here) <= 64 else 4, "line": {"color": "white", "width": 0.7}}
        x, y = np.array(here).T.round(5).tolist()
        dots = go.Scatter(x=x, y=y, mode="markers", marker=look, showlegend=False)
        made.add_trace(dots, row=1, col=1)
    for (x, y), name, ink in ((state.learners.mean(axis=0), "mean", MEAN), (state.centre, "z", INK)):
        if left <= x <= right and low <= y <= high:
            _dot(made, float(x), float(y), ink, size=13)
            _write(
                made, f"  {name}", float(x), float(y) + (0.04 if name == "z" else -0.04) * (high - low), ink, column=1
            )


def _draw_losses(made: go.Figure, landscape: "Landscape", colour: str) -> None:
    """Draw the loss at z and the mean loss of the learners, with what was done as vertical lines."""
    trail, t = landscape.course.trail(), landscape.iteration
    n = int(np.searchsorted(trail.iterations, t, side="right"))
    begun = float(landscape.surface.loss(*np.array(landscape.start)))
    lines = {"learners' mean": (trail.mean_losses[:n], colour, 1.5), "at z": (trail.centre_losses[:n], INK, 2.5)}
    finite = np.concatenate([[begun], *(values[np.isfinite(values)] for values, _, _ in lines.values())])
    low, high = float(finite.min()), float(min(finite.max(), begun + 2 * (begun - finite.min()) + 1e-9))
    high = high if high > low else low + 1.0
    shown = low - 0.05 * (high - low), high + 0.08 * (high - low)
    free = -np.inf
    for name, (values, ink, width) in sorted(lines.items(), key=lambda line: _end(line[1][0], begun)):
        inside = np.where((values >= shown[0]) & (values <= shown[1]), values, np.nan)
        points = np.stack([trail.iterations[:n], inside], axis=1).astype(np.float64)
        _line(made, thinned(np.concatenate([[[0.0, begun]], points])), ink, column=2, width=width)
        free = max(free, min(max(_end(inside, begun), shown[0]), shown[1]))
        _write(made, f" {name}", float(max(t, 1)), free, ink, column=2)
        free += 0.06 * (shown[1] - shown[0])
    done = [change for change in landscape.course.changes if change.iteration <= t][-_MARKS:]
    for place, change in enumerate(done):
        look = {"color": GREY, "width": 1, "dash": "dot"}
        at = change.iteration
        made.add_shape(type="line", x0=at, x1=at, y0=shown[0], y1=shown[1], line=look, row=1, col=2)
        height = shown[1] - (0.03 + 0.06 * (place % 5)) * (shown[1] - shown[0])
        _write(made, f" {change.detail[:28]}", at, height, GREY, column=2)
    if landscape.has_diverged:
        _write(made, f" diverged: not finite after iteration {t}", 0.0, shown[0] + 0.05 * (high - low), INK, column=2)
    made.update_xaxes(title_text="iteration", range=[0, max(t, 1) / 0.78], row=1, col=2)
    made.update_yaxes(title_text="loss", range=list(shown), row=1, col=2)


def thinned(points: Array) -> Array:
    """Return few enough points of a line, the last among them."""
    step = -(-len(points) // _POINTS)
    return np.concatenate([points[:-1:step], points[-1:]]) if step > 1 else points


def trails_of(course: Course, iteration: int, learners: Array, most: int) -> Array:
    """Return where the first learners have been and are, (learners, iterations, 2); NaN where they weren't there."""
    m = min(most, len(learners))
    rows = [positions for _, positions in course.positions_until(iteration)] + [learners]
    trails = np.full((m, len(rows), 2), np.nan)
    for place, positions in enumerate(rows):
        there = min(m, len(positions))
        trails[:there, place] = positions[:there]
    return trails


def _lines(course: Course, iteration: int, learners: Array) -> Array:
    """Return the learners' trails as one line with gaps."""
    trails = trails_of(course, iteration, learners, _TRAILS)
    gaps = np.full((len(trails), 1, 2), np.nan)
    return np.concatenate([trails, gaps], axis=1).reshape(-1, 2)


def _end(values: Array, otherwise: float) -> float:
    """Return the last finite value."""
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else otherwise


def _line(made: go.Figure, points: Array, colour: str, *, column: int, width: float, opacity: float = 1.0) -> None:
    """Draw a line through points; NaN is a gap."""
    x, y = ([None if not np.isfinite(value) else float(f"{value:.5g}") for value in part] for part in points.T)
    look = {"color": colour, "width": width, "dash": "solid"}
    line = go.Scatter(x=x, y=y, mode="lines", line=look, opacity=opacity, showlegend=False, hoverinfo="skip")
    made.add_trace(line, row=1, col=column)


def _dot(made: go.Figure, x: float, y: float, colour: str, *, size: int, edge: str = "white") -> None:
    """Draw one point of the surface."""
    look = {"color": colour, "size": size, "line": {"color": edge, "width": 1.5}}
    made.add_trace(go.Scatter(x=[x], y=[y], mode="markers", marker=look, showlegend=False), row=1, col=1)


def _write(made: go.Figure, text: str, x: float, y: float, colour: str, *, column: int, anchor: str = "left") -> None:
    """Write a text beside a point."""
    made.add_annotation(
        text=text,
        x=x,
        y=y,
        xanchor=anchor,
        yanchor="middle",
        showarrow=False,
        bgcolor="rgba(255,255,255,0.7)",
        font={"color": colour, "size": _FONT_PX},
        row=1,
        col=column,
    )
