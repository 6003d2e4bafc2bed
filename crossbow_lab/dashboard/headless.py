"""The report of a session where nothing is live: a figure, a table and the result, in less than 100 kB.

It shows in notebooks that aren't trusted and on code-hosting pages, needs no browser to be made, and holds the
numbers for programs too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from crossbow_lab.dashboard import page
from crossbow_lab.dashboard.feed import in_words
from crossbow_lab.dashboard.figures import COLOURS, styled
from crossbow_lab.dashboard.still import static
from crossbow_lab.session import Accuracy, Event, Row
from crossbow_lab.session.history import time_to_accuracy

RESULT_MIME = "application/vnd.crossbow.result+json"
RESULT_SCHEMA = 1
_MOST_POINTS = 300
_MOST_MARKS = 30
_FONT_PX = 14
_TEXT_ROW = 0.075  # height of a row of text, as a share of a panel's
_GREY, _TEST = "#888888", "#CC79A7"


@dataclass(frozen=True)
class Report:
    """What a session did, for every kind of reader; show it as a cell's last value.

    Attributes
    ----------
    figure : mime type -> content of the figure, with its metadata; empty before the first evaluation.
    metadata : of the figure.
    table : the most important numbers.
    result : the same and more as JSON values.
    """

    figure: dict[str, Any]
    metadata: dict[str, Any]
    table: pd.DataFrame
    result: dict[str, Any]

    def __repr__(self) -> str:
        """Return the numbers as a line of text."""
        return self.text

    @property
    def text(self) -> str:
        """The numbers as a line of text."""
        rows = self.table.itertuples(index=False)
        return ", ".join(" ".join(str(value) for value in row if value != "") for row in rows)

    def _ipython_display_(self) -> None:
        """Show everything as a cell's last value."""
        for bundle, metadata in self.bundles():
            page.show(bundle, metadata)

    def bundles(self) -> tuple[tuple[dict[str, Any], dict[str, Any]], ...]:
        """Return what is shown: the figure with the result, then the table; each with metadata."""
        picture = {"image/png": {**self.metadata.get("image/png", {}), "alt": self.text}} if self.metadata else {}
        figure = {**self.figure, RESULT_MIME: self.result, "text/plain": self.text}
        table = {"text/html": self.table.to_html(index=False, border=0), "text/plain": self.text}
        return (figure, picture), (table, {})


def report(
    rows: Sequence[Row], events: Sequence[Event], *, goal: Accuracy | None = None, about: dict[str, Any] | None = None
) -> Report:
    """Return the report of a record.

    Parameters
    ----------
    rows, events : entries of the record.
    goal : the target, if there is one.
    about : what else belongs into the result; JSON values.
    """
    reached = None if goal is None else time_to_accuracy(rows, goal)
    result: dict[str, Any] = {"schema": RESULT_SCHEMA, **(about or {})}
    table: list[tuple[str, str]] = []
    if rows:
        last = rows[-1]
        for name in ("algorithm", "learners", "batch_size", "learning_rate"):
            result[name] = getattr(last, name)
        for name in ("iteration", "epoch", "samples", "elapsed_s", "evaluation_s"):
            result[name] = _finite(getattr(last, name))
        result["samples_per_s"] = _finite(last.samples / last.elapsed_s if last.elapsed_s > 0 else math.nan)
        for name in ("train_loss", "test_loss", "test_accuracy", "divergence"):
            result[name] = _finite(getattr(last, name))
        table += _table(last)
    if goal is not None:
        result["target"] = {"accuracy": goal.target, "window": goal.window}
        result["epochs_to_target"] = None if reached is None else reached.epochs
        result["seconds_to_target"] = None if reached is None else reached.seconds
        when = "not reached" if reached is None else f"{reached.epochs:.2f} epochs, {reached.seconds:.2f} s"
        table.append((f"to {100 * goal.target:g} %", when))
    frame = pd.DataFrame(table or [("evaluations", "none yet")], columns=["measure", "value"])
    figure: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    if rows:
        figure, metadata = static(_figure(rows, events, goal), dots_per_px=1.0)._repr_mimebundle_()
    return Report(figure, metadata, frame, result)


def _table(last: Row) -> list[tuple[str, str]]:
    """Return the last row in words."""
    told = [
        ("setting", f"{last.algorithm}, {last.learners} learners × {last.batch_size}"),
        ("trained", f"{last.iteration:,} iterations, {last.epoch:.2f} epochs, {last.elapsed_s:.2f} s"),
        ("throughput", f"{last.samples / last.elapsed_s:,.0f} samples/s" if last.elapsed_s > 0 else ""),
        ("training loss", _number(last.train_loss, ".4f")),
        ("test accuracy of z", _number(last.test_accuracy, ".2%")),
    ]
    return [(name, value) for name, value in told if value]


@dataclass(frozen=True)
class _Line:
    """A column of the history."""

    name: str
    label: str
    colour: str


@dataclass(frozen=True)
class _Panel:
    """One of the figure's plots."""

    title: str
    lines: tuple[_Line, ...]
    scale: float = 1.0
    starts_low: bool = False


def _figure(rows: Sequence[Row], events: Sequence[Event], goal: Accuracy | None) -> go.Figure:
    """Draw accuracy, loss and throughput over epochs, with adjustments as vertical lines."""
    colour = COLOURS.get(rows[-1].algorithm, _GREY)
    panels = (
        _Panel("test accuracy of z (%)", (_Line("test_accuracy", "", colour),), scale=100.0, starts_low=True),
        _Panel("loss", (_Line("train_loss", "training", colour), _Line("test_loss", "test", _TEST))),
        _Panel("throughput (samples/s)", (_Line("samples_per_s", "", colour),)),
    )
    # Without test data there is no accuracy, and nothing to draw it with.
    lines = [[line for line in panel.lines if _values(rows, line.name)] for panel in panels]
    drawn = [(panel, some) for panel, some in zip(panels, lines, strict=True) if some]
    figure = make_subplots(rows=1, cols=len(drawn), horizontal_spacing=0.09)
    for column, (panel, some) in enumerate(drawn, start=1):
        values = [panel.scale * value for line in some for value in _values(rows, line.name)]
        shown = (min(values) if panel.starts_low else 0.0, max(values))
        if goal is not None and panel.starts_low:
            shown = min(shown[0], 100 * goal.target - 1), max(shown[1], 100 * goal.target + 1)
        shown = shown[0], shown[1] + 0.08 * (shown[1] - shown[0] or 1.0)
        _draw(figure, rows, panel, some, shown, column)
        if goal is not None and panel.starts_low:
            _draw_target(figure, rows, goal, column)
        _mark(figure, events, shown, column)
        figure.update_xaxes(title_text="epochs", range=[0, rows[-1].epoch / 0.82], row=1, col=column)
        figure.update_yaxes(title_text=panel.title, range=list(shown), row=1, col=column)
    return styled(figure, height=340, font_px=_FONT_PX)


def _draw(
    figure: go.Figure,
    rows: Sequence[Row],
    panel: _Panel,
    lines: Sequence[_Line],
    shown: tuple[float, float],
    column: int,
) -> None:
    """Draw columns of the history, each with its name, or its last value, at its end."""
    thinned, free = _thinned(rows), -math.inf
    for line in sorted(lines, key=lambda line: _values(rows, line.name)[-1]):
        figure.add_trace(
            go.Scatter(
                x=[round(row.epoch, 4) for row in thinned],
                y=[_finite(float(f"{panel.scale * getattr(row, line.name):.5g}")) for row in thinned],
                mode="lines",
                name=line.name,
                line={"color": line.colour, "width": 2, "dash": "solid"},
                opacity=1.0,
                showlegend=False,
            ),
            row=1,
            col=column,
        )
        end = panel.scale * _values(rows, line.name)[-1]
        free = max(end, free)
        text = line.label or (f"{end:,.1f}" if end < 1000 else f"{end:,.0f}")
        _write(figure, f" {text}", rows[-1].epoch, free, line.colour, column)
        free += _TEXT_ROW * (shown[1] - shown[0])


def _draw_target(figure: go.Figure, rows: Sequence[Row], goal: Accuracy, column: int) -> None:
    """Draw the target, and a dot where it was reached."""
    figure.add_hline(100 * goal.target, line={"color": "#333333", "width": 1.5, "dash": "dot"}, row=1, col=column)
    reached = time_to_accuracy(rows, goal)
    if reached is not None:
        look = {"color": "#333333", "size": 10, "line": {"color": "white", "width": 1.5}}
        dot = go.Scatter(x=[reached.epochs], y=[100 * goal.target], mode="markers", marker=look, showlegend=False)
        figure.add_trace(dot, row=1, col=column)


def _mark(figure: go.Figure, events: Sequence[Event], heights: tuple[float, float], column: int) -> None:
    """Draw the last adjustments as vertical lines, and say in the first panel what the last few were."""
    adjusted = [event for event in events if event.kind in ("adjustment", "restart", "failed")][-_MOST_MARKS:]
    for event in adjusted:
        look = {"color": _GREY, "width": 1, "dash": "dot"}
        low, high = heights
        figure.add_shape(type="line", x0=event.epoch, x1=event.epoch, y0=low, y1=high, line=look, row=1, col=column)
    for step, event in enumerate(adjusted[-3:] if column == 1 else ()):
        text = in_words(event.detail) if event.kind == "adjustment" else event.kind
        low, high = heights
        _write(figure, f" {text[:32]}", event.epoch, low + (0.05 + _TEXT_ROW * step) * (high - low), _GREY, column)


def _write(figure: go.Figure, text: str, x: float, y: float, colour: str, column: int) -> None:
    """Write a text that begins at a point."""
    figure.add_annotation(
        text=text,
        x=x,
        y=y,
        xanchor="left",
        yanchor="middle",
        showarrow=False,
        bgcolor="rgba(255,255,255,0.7)",
        font={"color": colour, "size": _FONT_PX},
        row=1,
        col=column,
    )


def _thinned(rows: Sequence[Row]) -> Sequence[Row]:
    """Return few enough rows, the last among them."""
    step = -(-len(rows) // _MOST_POINTS)
    return [*rows[:-1:step], rows[-1]]


def _values(rows: Sequence[Row], name: str) -> list[float]:
    """Return a column's finite values."""
    return [value for row in rows if math.isfinite(value := getattr(row, name))]


def _finite(value: float) -> float | None:
    """Return a number for JSON, which has no NaN."""
    return value if math.isfinite(value) else None


def _number(value: float, form: str) -> str:
    """Write a number, or nothing where there is none."""
    return format(value, form) if math.isfinite(value) else ""
