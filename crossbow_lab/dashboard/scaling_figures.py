"""The figure of scaling on paper; a pure function. `crossbow_lab.dashboard.static` shows it everywhere."""

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from crossbow_lab.dashboard.figures import shades, styled
from crossbow_lab.errors import ConfigurationError

_IDEAL = "#777777"
_ROOM = 1.35  # of the axis for lines and, behind their ends, their names


def scaling(simulated: Mapping[str, Mapping[int, float]], measured: Sequence[tuple[int, float, str]] = ()) -> go.Figure:
    """Draw speed-ups by the number of devices, both on axes that double; lines are simulated, dots were measured.

    Parameters
    ----------
    simulated : label -> (devices -> speed-up over one device)
        As from `crossbow_lab.devices.DeviceWork.speed_up`.
    measured : (devices, speed-up, label) of what was measured.

    Returns
    -------
    plotly.graph_objects.Figure
        One panel.

    Raises
    ------
    ConfigurationError
        If there is no line, or a number isn't greater than 0.

    Examples
    --------
    >>> figure = scaling({"ring": {1: 1.0, 2: 1.8, 4: 3.0}}, measured=[(2, 1.7, "measured")])
    >>> [note.text for note in figure.layout.annotations]
    ['  as many times as devices', '  ring, simulated', '  measured']
    """
    if not simulated or not all(simulated.values()):
        raise ConfigurationError("there is no line to draw; give speed-ups by devices, as {'ring': {1: 1.0, 2: 1.8}}")
    points = [point for line in simulated.values() for point in line.items()] + [(g, s) for g, s, _ in measured]
    if not all(value > 0 for point in points for value in point):
        raise ConfigurationError("devices and speed-ups must be greater than 0: both axes are logarithmic")
    most = max(devices for devices, _ in points)
    figure = go.Figure()
    _line(figure, {1: 1.0, most: float(most)}, "as many times as devices", _IDEAL, "dot")
    for (label, line), colour in zip(simulated.items(), shades(["SMA"] * len(simulated)), strict=True):
        _line(figure, line, f"{label}, simulated", colour, "solid")
    for devices, value, label in measured:
        x, y = math.log2(devices), math.log2(value)
        marker = {"color": "#D55E00", "size": 11, "line": {"color": "white", "width": 1.5}}
        figure.add_trace(go.Scatter(x=[x], y=[y], mode="markers", marker=marker, showlegend=False))
        _name(figure, x, y, label, "#D55E00")
    ticks = list(range(math.ceil(math.log2(most)) + 1))
    low = min(0.0, math.floor(min(math.log2(value) for _, value in points)))
    rows = list(range(int(low), ticks[-1] + 1))
    figure = styled(figure, height=460)
    figure.update_xaxes(
        title_text="devices", tickvals=ticks, ticktext=[str(2**tick) for tick in ticks], range=[0, _ROOM * ticks[-1]]
    )
    texts = [str(2**row) if row >= 0 else f"1/{2**-row}" for row in rows]
    figure.update_yaxes(
        title_text="speed-up over one", tickvals=rows, ticktext=texts, range=[low - 0.1, ticks[-1] + 0.2]
    )
    return figure


def _line(figure: go.Figure, line: Mapping[int, float], label: str, colour: str, dash: str) -> None:
    """Draw a line with its name behind its end."""
    x, y = [math.log2(devices) for devices in line], [math.log2(value) for value in line.values()]
    look = {"color": colour, "width": 2.5, "dash": dash}
    figure.add_trace(go.Scatter(x=x, y=y, mode="lines", name=label, line=look, opacity=1.0, showlegend=False))
    _name(figure, x[-1], y[-1], label, colour)


def _name(figure: go.Figure, x: float, y: float, label: str, colour: str) -> None:
    """Write a name beside a place."""
    font = {"color": colour, "size": 14}
    figure.add_annotation(
        x=x, y=y, xref="x", yref="y", text=f"  {label}", showarrow=False, xanchor="left", yanchor="middle", font=font
    )
