"""What a board shows: plots, their lines, and labelled points; checked when they are made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from crossbow_lab.dashboard.columns import X_AXES
from crossbow_lab.errors import ConfigurationError, nearest

MarkKind = Literal["adjustment", "restart", "tuner", "checkpoint", "target", "failure"]
MARK_KINDS: tuple[str, ...] = ("adjustment", "restart", "tuner", "checkpoint", "target", "failure")


@dataclass(frozen=True)
class Line:
    """One column of a table, drawn in a plot.

    Attributes
    ----------
    column, table : where its values come from; NaN leaves a gap.
    label : its name in the legend, at its end, and to screen readers.
    colour : "#RRGGBB", or None for the next of the palette of Okabe and Ito.
    dash : "solid", "dash" or "dot".
    axis : "left" or "right".
    mode : "lines", or "lines+markers" and "markers" for tables with few rows.
    faint : drawn thin and pale, such as a raw value behind its smoothed one; has no label at its end.
    """

    column: str
    label: str
    table: str
    colour: str | None = None
    dash: Literal["solid", "dash", "dot"] = "solid"
    axis: Literal["left", "right"] = "left"
    mode: Literal["lines", "lines+markers", "markers"] = "lines"
    faint: bool = False


@dataclass(frozen=True)
class Plot:
    """One plot of a board.

    Attributes
    ----------
    title : its heading, and its name in `Board.points`; one of a kind on its board.
    y_title : what its left axis shows, with the unit.
    lines : what is drawn; empty for points.
    y2_title : what its right axis shows, where lines are on it.
    kind : "series"; "per_learner", a line for each learner, coloured by its number (label: the number);
        or "points", few labelled points, replaced as a whole.
    x_title : of points.
    x_axis : of the other kinds: one of `X_AXES`, whatever the switch says; empty for the axis that all share.
    target_line : whether `Board.target` draws a line on the left axis.
    y_percent : whether the left axis shows shares (0..1) in per cent.
    from_zero : whether the left axis starts at zero.
    """

    title: str
    y_title: str
    lines: tuple[Line, ...] = ()
    y2_title: str = ""
    kind: Literal["series", "per_learner", "points"] = "series"
    x_title: str = ""
    x_axis: str = ""
    target_line: bool = False
    y_percent: bool = False
    from_zero: bool = False


@dataclass(frozen=True)
class Point:
    """A labelled point.

    Attributes
    ----------
    x, y : where; y None stands for "not reached yet" and is drawn at the upper edge.
    label : written beside it.
    colour : "#RRGGBB".
    is_current : whether it is emphasised, as this session's is among earlier settings'.
    """

    x: float
    y: float | None
    label: str
    colour: str
    is_current: bool = False


@dataclass(frozen=True)
class Mark:
    """A vertical line with a label on every plot that has the board's x axis."""

    key: str
    x: tuple[float, ...]
    text: str
    kind: str


def spec(tables: Mapping[str, Sequence[str]], plots: Sequence[Plot], x_axis: str) -> dict[str, Any]:
    """Return what the browser needs to know, as JSON values.

    Raises
    ------
    ConfigurationError
        If two plots have one title, a line names no table or column, or the x axis isn't one.
    """
    if x_axis not in X_AXES:
        raise ConfigurationError(f"x axis {x_axis!r} isn't one; {nearest(x_axis, X_AXES)}")
    titles = [plot.title for plot in plots]
    for title in titles:
        if titles.count(title) > 1:
            raise ConfigurationError(f"{titles.count(title)} plots are called {title!r}; give each its own title")
    for plot in plots:
        if plot.x_axis and plot.x_axis not in X_AXES:
            raise ConfigurationError(f"plot {plot.title!r}: x axis {plot.x_axis!r}; {nearest(plot.x_axis, X_AXES)}")
        for line in plot.lines:
            _check_source(line, tables)
    return {
        "tables": {name: list(columns) for name, columns in tables.items()},
        "plots": [{**asdict(plot), "lines": [_unusual(line) for line in plot.lines]} for plot in plots],
        "x_axis": X_AXES.index(x_axis),
    }


def _unusual(line: Line) -> dict[str, Any]:
    """Return what a line is, where it isn't as most are: there may be a hundred, and notebooks are saved with them."""
    usual = {field.name: field.default for field in fields(Line)}
    return {name: value for name, value in asdict(line).items() if value != usual[name]}


def checked_mark(key: str, x: Sequence[float], text: str, kind: str) -> Mark:
    """Return a mark.

    Raises
    ------
    ConfigurationError
        If its kind or its position isn't one.
    """
    if kind not in MARK_KINDS:
        raise ConfigurationError(f"mark kind {kind!r} isn't one; {nearest(kind, MARK_KINDS)}")
    if len(x) != len(X_AXES) or not all(math.isfinite(value) for value in x):
        raise ConfigurationError(f"a mark stands at finite ({', '.join(X_AXES)}), not at {tuple(x)}")
    return Mark(key, tuple(float(value) for value in x), text, kind)


def check_point(point: Point) -> None:
    """Refuse a point that can't be drawn.

    Raises
    ------
    ConfigurationError
        If it is at no finite numbers.
    """
    if not math.isfinite(point.x) or (point.y is not None and not math.isfinite(point.y)):
        raise ConfigurationError(
            f"point {point.label!r} is at ({point.x}, {point.y}); give finite numbers, y None for what isn't reached "
            "yet, or leave it out"
        )


def _check_source(line: Line, tables: Mapping[str, Sequence[str]]) -> None:
    """Refuse a line whose values come from nowhere."""
    if line.table not in tables:
        raise ConfigurationError(f"line {line.label!r}: no table {line.table!r}; {nearest(line.table, tables)}")
    if line.column not in tables[line.table]:
        known = nearest(line.column, tables[line.table])
        raise ConfigurationError(f"line {line.label!r}: table {line.table!r} has no column {line.column!r}; {known}")
