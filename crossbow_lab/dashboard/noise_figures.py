"""The figure of a session's gradient noise; a pure function. `crossbow_lab.dashboard.static` shows it everywhere."""

import math

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from crossbow_lab.dashboard.figures import styled
from crossbow_lab.errors import ConfigurationError

# Okabe and Ito's, as in all figures.
_LOOKS = {"learners": ("#E69F00", "dash", "learners (biased once apart)"), "probe": ("#0072B2", "solid", "probe at z")}
_DIVERGENCE = "#009E73"
_ROOM = 0.72  # of the panel's width for lines, the rest for their names


def gradient_noise(readings: pd.DataFrame) -> go.Figure:
    """Draw the gradient noise scale on the left, and the learners' divergence on the right, by iteration.

    The scale from the learners' own gradients is dashed: it is too large once they have diverged. A probe's isn't.

    Parameters
    ----------
    readings : ``session.gradient_noise.readings``. Columns used: iteration, source, noise_scale [samples], divergence.

    Returns
    -------
    plotly.graph_objects.Figure
        Two panels.

    Raises
    ------
    ConfigurationError
        If nothing was measured, or a column is missing.

    Examples
    --------
    >>> columns = {"iteration": [0, 8], "source": "probe", "noise_scale": [40.0, 60.0], "divergence": 0.1}
    >>> readings = pd.DataFrame(columns)
    >>> [trace.name for trace in gradient_noise(readings).data]
    ['probe at z', 'divergence']
    """
    missing = [name for name in ("iteration", "source", "noise_scale", "divergence") if name not in readings.columns]
    if missing or readings.empty:
        lack = f"lack {', '.join(missing)}" if missing else "are empty"
        raise ConfigurationError(
            f"the readings {lack}; train for a while after session.gradient_noise.start(), and give "
            "session.gradient_noise.readings"
        )
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.12)
    last = float(readings["iteration"].max())
    for source, (colour, dash, label) in _LOOKS.items():
        of_source = readings[readings["source"] == source]
        if not of_source.empty:
            _line(figure, of_source["iteration"], of_source["noise_scale"], 1, colour, dash, label)
    # Of one source: a probe's iteration is counted before, a learner's after it has been done.
    divergence = readings[readings["source"] == readings["source"].mode()[0]]
    _line(figure, divergence["iteration"], divergence["divergence"], 2, _DIVERGENCE, "solid", "divergence")
    figure.update_xaxes(title_text="iteration", range=[0, max(1.0, last) / _ROOM])
    figure.update_yaxes(title_text="noise scale (samples)", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title_text="mean distance of learners to z", rangemode="tozero", row=1, col=2)
    return styled(figure, height=360, font_px=14)


def _line(figure: go.Figure, x: pd.Series, y: pd.Series, column: int, colour: str, dash: str, label: str) -> None:
    """Draw a line with its name behind its end; an infinite or unknown number is a gap."""
    values = [value if math.isfinite(value) else math.nan for value in map(float, y)]
    line = {"color": colour, "width": 2.0, "dash": dash}
    trace = go.Scatter(x=x.tolist(), y=values, mode="lines", name=label, line=line, opacity=1.0, showlegend=False)
    figure.add_trace(trace, row=1, col=column)
    known = [place for place, value in enumerate(values) if not math.isnan(value)]
    if known:
        figure.add_annotation(
            text=f" {label}",
            x=x.iloc[known[-1]],
            y=values[known[-1]],
            xanchor="left",
            yanchor="middle",
            showarrow=False,
            font={"color": colour, "size": 13},
            row=1,
            col=column,
        )
