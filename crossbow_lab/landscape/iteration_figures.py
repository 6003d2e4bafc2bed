"""The static figure of one iteration: what moves each learner, and z, end to end."""

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from crossbow_lab.averaging import algorithm_name, has_field
from crossbow_lab.dashboard.figures import COLOURS, styled
from crossbow_lab.landscape.figures import INK
from crossbow_lab.landscape.grids import grid_of
from crossbow_lab.landscape.own import View
from crossbow_lab.landscape.surfaces import Array

if TYPE_CHECKING:
    from crossbow_lab.landscape.landscape import Landscape

GRADIENT, CORRECTION, MOMENTUM = "#E69F00", "#CC79A7", "#56B4E9"
"""Colours of what moves learners and z; the live picture has the same."""

_ROOM = 0.1  # around what is drawn, as a share of it
_WIDE = 2.0
_BESIDE = 0.055  # from a line to its name, as a share of the height
_MOST_LEARNERS = 8
_FONT_PX = 16


def iteration_figure(landscape: "Landscape") -> go.Figure:
    """Draw the next iteration of the first learners, and of z, as lines that begin where they are; dots end them.

    Parameters
    ----------
    landscape : Landscape

    Returns
    -------
    plotly.graph_objects.Figure
        One panel, as close as it needs to be; `crossbow_lab.dashboard.static` shows it everywhere.

    Examples
    --------
    >>> from crossbow_lab.landscape import Landscape
    >>> len(iteration_figure(Landscape("saddle", learners=2).run(3)).layout.annotations) > 4
    True
    """
    one = landscape.next_iteration()
    w, z = one.before.learners[:_MOST_LEARNERS], one.before.centre
    moves: list[tuple[Array, Array, str, str]] = []
    for j, start in enumerate(w):
        middle = start + one.steps[j]
        moves.append((start, middle, GRADIENT, f"−γ g{_below(j + 1)}"))
        if has_field(landscape.settings.algorithm, "alpha") and one.synchronises:
            moves.append((middle, middle - one.corrections[j], CORRECTION, f"−c{_below(j + 1)}"))
    given = "Σ c" if has_field(landscape.settings.algorithm, "alpha") else "−γ ḡ"
    middle = z + one.centre_step
    if one.synchronises:
        moves += [(z, middle, CORRECTION, given), (middle, middle + one.centre_momentum, MOMENTUM, "μ (z − z′)")]
    view = _view(np.array([point for start, end, _, _ in moves for point in (start, end)]))
    made = go.Figure()
    _draw_contours(made, landscape, view)
    for start, end, colour, label in moves:
        _draw_move(made, start, end, colour, label, view[1][1] - view[1][0])
    dots = {"size": 11, "line": {"color": "white", "width": 1.5}}
    colour = COLOURS[algorithm_name(landscape.settings.algorithm)]
    for points, names, ink in ((w, [str(j + 1) for j in range(len(w))], colour), (z[None], ["z"], INK)):
        x, y = points.T.tolist()
        made.add_trace(go.Scatter(x=x, y=y, mode="markers", marker={**dots, "color": ink}, showlegend=False))
        for place, name in zip(points, names, strict=True):
            _write(made, name, place - [0.0, _BESIDE * (view[1][1] - view[1][0])], ink, anchor="center")
    styled(made, height=560, font_px=_FONT_PX)
    made.update_xaxes(title_text=f"x, in iteration {one.after.iteration} on {landscape.surface.name}", range=view[0])
    return made.update_yaxes(title_text="y", range=view[1])


def _below(number: int) -> str:
    """Write a number as a subscript."""
    return "".join("₀₁₂₃₄₅₆₇₈₉"[int(digit)] for digit in str(number))


def _view(points: Array) -> View:
    """Return a view that holds points, with room around them; both sides alike, so that directions are true."""
    low, high = points.min(axis=0), points.max(axis=0)
    across, up = (high - low).tolist()
    half = max((0.5 + _ROOM) * max(up, across / _WIDE), 1e-9)
    x, y = ((low + high) / 2).tolist()
    return (x - _WIDE * half, x + _WIDE * half), (y - half, y + half)


def _draw_contours(made: go.Figure, landscape: "Landscape", view: View) -> None:
    """Draw the surface."""
    grid = grid_of(landscape.surface, view, n=41)
    line = {"color": "#9AA3AF", "width": 0.7}
    heights = [[None if np.isnan(value) else float(f"{value:.5g}") for value in row] for row in grid.shade]
    shades = [[0.0, "#FFFFFF"], [1.0, "#CDD3DB"]]
    looks = {"colorscale": shades, "ncontours": 12, "showscale": False, "line": line, "hoverinfo": "skip"}
    made.add_trace(go.Contour(x=grid.x.tolist(), y=grid.y.tolist(), z=heights, **looks))


def _draw_move(made: go.Figure, start: Array, end: Array, colour: str, label: str, height: float) -> None:
    """Draw one move: a line, a dot where it ends, and its name beside its middle."""
    away = np.array([start[1] - end[1], end[0] - start[0]])
    away = away / (np.hypot(*away) or 1.0) * np.copysign(_BESIDE * height, away[1])
    (x0, y0), (x1, y1) = start.tolist(), end.tolist()
    line = {"color": colour, "width": 3.5, "dash": "solid"}
    looks = {"showlegend": False, "hoverinfo": "skip", "opacity": 1.0}
    made.add_trace(go.Scatter(x=[x0, x1], y=[y0, y1], mode="lines", line=line, **looks))
    dot = {"color": colour, "size": 8, "line": {"color": "white", "width": 1}}
    made.add_trace(go.Scatter(x=[x1], y=[y1], mode="markers", marker=dot, **looks))
    _write(made, label, (start + end) / 2 + away, INK, anchor="center")


def _write(made: go.Figure, text: str, place: Array, colour: str, anchor: str = "left") -> None:
    """Write a text beside a point."""
    x, y = place.tolist()
    font = {"color": colour, "size": _FONT_PX}
    where = {"x": x, "y": y, "xanchor": anchor, "yanchor": "middle", "showarrow": False}
    made.add_annotation(text=text, font=font, bgcolor="rgba(255,255,255,0.7)", xref="x", yref="y", **where)
