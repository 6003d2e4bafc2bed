"""A figure that shows everywhere: interactive where plotly is at hand, a picture where it isn't.

The picture is drawn by matplotlib from the figure's own traces, shapes and texts, because plotly needs a
browser to draw one. A PNG also shows in untrusted notebooks and on code-hosting pages, where an SVG may not.
"""

import base64
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from crossbow_lab.errors import ConfigurationError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = 128
_WIDTH_PX = 1100
_DOTS_PER_PX = 1.5  # sharp when projected; about 100 kB
_PX_PER_INCH = 96.0
_THIN_PX = 5.0
_POINTS_PER_PX = 72.0 / _PX_PER_INCH
_STYLES = {None: "-", "solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}


@dataclass(frozen=True, repr=False)
class Still:
    """A figure with its picture, as a notebook's output.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        Shown where plotly is at hand, such as in JupyterLab.
    png : bytes
        Shown everywhere else.
    text : str
        The same in words, for a screen reader.
    """

    figure: go.Figure
    png: bytes
    text: str

    def __repr__(self) -> str:
        """Return the figure in words, which is also what a plain-text view of the notebook shows."""
        return self.text

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Offer Jupyter every form at once; it shows the richest that it can."""
        forms = {
            "application/vnd.plotly.v1+json": json.loads(self.figure.to_json()),
            "image/png": base64.b64encode(self.png).decode("ascii"),
            "text/plain": self.text,
        }
        return forms, {"image/png": {"width": _WIDTH_PX, "alt": self.text}}


def static(figure: go.Figure, *, dots_per_px: float = _DOTS_PER_PX) -> Still:
    """Make a figure show everywhere, also without a browser, a network, or trust in the notebook.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        Lines and markers, heat maps, contours, straight lines, and texts at data coordinates: what
        `crossbow_lab.dashboard.figures` and its neighbours draw.
    dots_per_px : float
        Sharpness of the picture; its size in bytes grows with it.

    Returns
    -------
    Still
        To be a cell's last value.

    Raises
    ------
    ConfigurationError
        If the figure holds something that the picture would lack.
    """
    for trace in figure.data:
        is_line = trace.type == "scatter" and trace.mode in {"lines", "markers"}
        if not is_line and trace.type not in {"heatmap", "contour"}:
            raise ConfigurationError(
                "a still picture holds heat maps, contours, and scatter traces of lines or markers; got "
                f"{trace.type!r} with mode {getattr(trace, 'mode', None)!r}"
            )
    # Here, because it takes a second, for which a live dashboard would have to wait.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height_px = figure.layout.height or 460
    size = (_WIDTH_PX / _PX_PER_INCH, height_px / _PX_PER_INCH)
    picture = Figure(figsize=size, dpi=_PX_PER_INCH * dots_per_px, layout="constrained")
    FigureCanvasAgg(picture)
    panels = _panels(figure, picture)
    for trace in figure.data:
        _draw_trace(panels[trace.xaxis or "x"], trace)
    for shape in figure.layout.shapes:
        _draw_shape(panels[(shape.xref or "x").removesuffix(" domain")], shape)
    for note in figure.layout.annotations:
        _draw_note(panels[note.xref or "x"], note)
    return Still(figure, _as_png(picture), _in_words(figure))


def _as_png(picture: "Figure") -> bytes:
    """Draw a picture in few colours, which a figure has anyway: a third of the bytes."""
    from PIL import Image

    file, small = io.BytesIO(), io.BytesIO()
    picture.savefig(file, format="png", facecolor="white")
    with Image.open(file) as drawn:
        drawn.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return small.getvalue()


def _panels(figure: go.Figure, picture: "Figure") -> "dict[str, Axes]":
    """Make one set of axes for each of the figure's, by plotly's names x, x2, ..., and where it has them."""
    names = sorted(key for key in figure.layout.to_plotly_json() if key.startswith("xaxis"))
    alone = (0.0, 1.0)  # a figure's only axes have no place of their own
    lefts = [(figure.layout[name].domain or alone)[0] for name in names]
    spans = [figure.layout[name.replace("x", "y", 1)].domain or alone for name in names]
    columns, rows = sorted(set(lefts)), sorted(set(spans), reverse=True)  # the highest row comes first
    grid = picture.add_gridspec(len(rows), len(columns), height_ratios=[high - low for low, high in rows])
    panels = {}
    for name, left, span in zip(names, lefts, spans, strict=True):
        axes = picture.add_subplot(grid[rows.index(span), columns.index(left)])
        _dress(axes, figure, name)
        panels[name.replace("axis", "")] = axes
    return panels


def _dress(axes: "Axes", figure: go.Figure, name: str) -> None:
    """Give a set of axes its titles, numbers, grid and ranges."""
    font = figure.layout.font
    x_axis, y_axis = figure.layout[name], figure.layout[name.replace("x", "y", 1)]
    if y_axis.matches:
        y_range, shows_numbers = figure.layout[y_axis.matches.replace("y", "yaxis", 1)].range, False
    else:
        y_range, shows_numbers = y_axis.range, y_axis.showticklabels is not False
    y_title = (y_axis.title.text or "").replace("<br>", "\n")
    axes.set_xlabel(x_axis.title.text or "", fontsize=font.size * _POINTS_PER_PX, color=font.color)
    axes.set_ylabel(y_title, fontsize=font.size * _POINTS_PER_PX, color=font.color)
    axes.tick_params(labelsize=0.88 * font.size * _POINTS_PER_PX, labelcolor=font.color)
    axes.tick_params(labelleft=shows_numbers)
    if x_axis.tickvals is not None:
        axes.set_xticks(x_axis.tickvals, x_axis.ticktext)
    if y_axis.tickvals is not None:
        axes.set_yticks(y_axis.tickvals, y_axis.ticktext)
    axes.grid(color=y_axis.gridcolor, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if x_axis.range:
        axes.set_xlim(*x_axis.range)
    if y_range:
        axes.set_ylim(*y_range)


def _draw_trace(axes: "Axes", trace: Any) -> None:
    """Draw one trace: a heat map, contours, lines or markers."""
    if trace.type == "contour":
        _draw_contours(axes, trace)
        return
    if trace.type == "heatmap":
        axes.grid(visible=False)
        axes.pcolormesh(trace.x, trace.y, trace.z, cmap="cividis", shading="nearest", zorder=0)
        return
    if trace.mode == "lines":
        axes.plot(
            trace.x,
            trace.y,
            color=trace.line.color,
            linewidth=trace.line.width * _POINTS_PER_PX,
            linestyle=_STYLES[trace.line.dash],
            alpha=trace.opacity,
            solid_capstyle="butt" if trace.line.width > _THIN_PX else "projecting",  # a bar ends where it ends
        )
        return
    edge = trace.marker.line
    axes.plot(
        trace.x,
        trace.y,
        linestyle="none",
        marker="o",
        markersize=trace.marker.size * _POINTS_PER_PX,
        markerfacecolor=trace.marker.color,
        markeredgecolor=edge.color,
        markeredgewidth=edge.width * _POINTS_PER_PX,
        zorder=4,
    )


def _draw_contours(axes: "Axes", trace: Any) -> None:
    """Draw filled contours with lines between them."""
    from matplotlib.colors import LinearSegmentedColormap

    heights = np.array(trace.z, dtype=np.float64)
    axes.grid(visible=False)
    shades = LinearSegmentedColormap.from_list("shades", trace.colorscale)
    axes.contourf(trace.x, trace.y, heights, trace.ncontours, cmap=shades, zorder=0)
    width = trace.line.width * _POINTS_PER_PX
    axes.contour(trace.x, trace.y, heights, trace.ncontours, colors=trace.line.color, linewidths=width, zorder=0.5)


def _draw_shape(axes: "Axes", shape: Any) -> None:
    """Draw a straight line: across the panel, or between two points."""
    if shape.type != "line":
        raise ConfigurationError(f"a still picture holds lines; got a shape {shape.type!r}")
    width, style = shape.line.width * _POINTS_PER_PX, _STYLES[shape.line.dash]
    if (shape.xref or "x").endswith(" domain"):
        axes.axhline(shape.y0, color=shape.line.color, linewidth=width, linestyle=style, zorder=1.5)
    else:
        ends = [shape.x0, shape.x1], [shape.y0, shape.y1]
        axes.plot(*ends, color=shape.line.color, linewidth=width, linestyle=style, zorder=1.5)


def _draw_note(axes: "Axes", note: Any) -> None:
    """Write a text."""
    axes.text(
        note.x,
        note.y,
        note.text,
        color=note.font.color,
        fontsize=note.font.size * _POINTS_PER_PX,
        horizontalalignment=note.xanchor,
        verticalalignment="center",
        bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
        zorder=5,
    )


def _in_words(figure: go.Figure) -> str:
    """Say what the figure shows: its axes and the texts on it."""
    layout = figure.layout
    across = [layout[key].title.text for key in sorted(layout.to_plotly_json()) if key.startswith("xaxis")]
    notes = list(dict.fromkeys(note.text.strip() for note in layout.annotations))
    return f"Figure: {layout.yaxis.title.text} by {' and by '.join(across)}. {'; '.join(notes)}."
