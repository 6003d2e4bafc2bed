"""The Gantt chart of a timeline; a pure function. `crossbow_lab.dashboard.static` shows it everywhere."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from crossbow_lab.dashboard.figures import styled
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.learners.timeline import ALL, KINDS, Span
from crossbow_lab.session.timeline import learner_name

# Okabe and Ito's, as in all figures; the order of `KINDS`.
_COLOURS = dict(zip(KINDS, ("#0072B2", "#E69F00", "#D55E00", "#D55E00", "#999999", "#CC79A7"), strict=True))
_WORDS = {kind: kind.replace("_", " ") for kind in KINDS}
_BAR_PX, _ROW_PX, _LEAST_PX = 14, 34, 260
_MOST = 5_000
_GAP = 0.002  # of the stretch drawn, behind each bar,
_LEAST_LEFT = 0.8  # but not more than leaves this much of it


def gantt(spans: Sequence[Span], *, first_s: float | None = None, last_s: float | None = None) -> go.Figure:
    """Draw tasks as bars over time: a row for each learner and stream, a colour for each kind of task.

    Parameters
    ----------
    spans : from ``session.timeline.recorded()``, or of a `crossbow_lab.scheduling.Schedule`.
    first_s, last_s : the stretch to draw, in seconds since recording began; None: from the first, to the last span.
        The whole of a run is more than anyone can see: at most 5,000 spans are drawn.

    Returns
    -------
    plotly.graph_objects.Figure
        One panel.

    Raises
    ------
    ConfigurationError
        If there is no span in that stretch, or too many.

    Examples
    --------
    >>> figure = gantt([Span("data", -1, "host", 0, 0.0, 0.001), Span("learning", 0, "host", 0, 0.001, 0.004)])
    >>> list(figure.layout.yaxis.ticktext)
    ['host, all learners', 'host, learner 1']
    """
    low = -math.inf if first_s is None else first_s
    high = math.inf if last_s is None else last_s
    shown = [span for span in spans if span.end_s >= low and span.start_s <= high]
    if not shown:
        raise ConfigurationError(
            f"there is no span from {low:g} to {high:g} s; train for a while after session.timeline.start(), or draw "
            "another stretch"
        )
    if len(shown) > _MOST:
        raise ConfigurationError(
            f"{len(shown):,} spans are more than the {_MOST:,} that can be seen; draw a shorter stretch with first_s= "
            "and last_s=, or save a trace for Perfetto with session.timeline.save(path)"
        )
    origin_s = min(span.start_s for span in shown)
    rows = sorted({(span.stream, span.learner) for span in shown}, key=lambda row: (row[0] != "host", row))
    end_ms = 1e3 * max(span.end_s - origin_s for span in shown)
    figure = go.Figure()
    kinds = [kind for kind in KINDS if any(span.kind == kind for span in shown)]
    for kind in kinds:
        of_kind = [span for span in shown if span.kind == kind]
        numbers = [rows.index((span.stream, span.learner)) for span in of_kind]
        figure.add_trace(_bars(of_kind, kind, numbers, origin_s, gap_ms=_GAP * end_ms))
    for place, kind in enumerate(kinds):
        figure.add_annotation(
            x=end_ms * place / len(KINDS),
            y=len(rows) - 0.3,
            xref="x",
            yref="y",
            text=f"■ {_WORDS[kind]}",
            showarrow=False,
            xanchor="left",
            yanchor="middle",
            font={"color": _COLOURS[kind], "size": 13},
        )
    figure = styled(figure, height=max(_LEAST_PX, 110 + _ROW_PX * (len(rows) + 1)), font_px=14)
    figure.update_xaxes(title_text=f"time (ms), from {origin_s:.3f} s of the recording on", range=[0, 1.02 * end_ms])
    figure.update_yaxes(
        title_text="stream and learner",
        tickvals=list(range(len(rows))),
        ticktext=[f"{stream}, {learner_name(learner)}" for stream, learner in rows],
        range=[-0.6, len(rows)],
    )
    return figure


def _bars(spans: Sequence[Span], kind: str, rows: Sequence[int], origin_s: float, *, gap_ms: float) -> go.Scatter:
    """Return the bars of one kind: thick lines, a little short, so that tasks that follow each other are told apart."""
    x: list[float] = []
    y: list[float] = []
    texts: list[str] = []
    for span, row in zip(spans, rows, strict=True):
        start_ms = 1e3 * (span.start_s - origin_s)
        length_ms = 1e3 * span.duration_s
        x += [start_ms, start_ms + max(length_ms - gap_ms, _LEAST_LEFT * length_ms), math.nan]
        y += [row, row, math.nan]
        whose = "" if span.learner == ALL else f", {learner_name(span.learner)}"
        texts += [f"{_WORDS[kind]}{whose}, iteration {span.iteration}: {1e3 * span.duration_s:.3f} ms"] * 2 + [""]
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        name=_WORDS[kind],
        line={"color": _COLOURS[kind], "width": _BAR_PX},
        text=texts,
        hoverinfo="text",
        showlegend=False,
    )
