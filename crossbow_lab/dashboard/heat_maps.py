"""Heat maps of scans: throughput, goodput or time to accuracy over learners and batch sizes; pure functions.

`crossbow_lab.dashboard.static` shows one everywhere, as any other figure.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import plotly.graph_objects as go

from crossbow_lab.dashboard.figures import styled
from crossbow_lab.errors import ConfigurationError, nearest
from crossbow_lab.session import Accuracy, Prediction, PredictionError, Reference, Scan, ScanPoint, Session

_SCALE = "Cividis"  # told apart by colour-blind people, and in grey
_CELL_PX, _LEAST_PX = 74, 300
_INK = "#333333"
_QUANTITIES = {
    "samples_per_s": "throughput (samples/s)",
    "goodput": "goodput (useful samples/s)",
    "seconds_to_target": "time to accuracy (s)",
}


def heat_map(
    scan: Scan,
    quantity: str = "samples_per_s",
    *,
    reference: Reference | Session | None = None,
    target: Accuracy | float | None = None,
    also: Sequence[tuple[int, int]] = (),
    found: Sequence[PredictionError] = (),
) -> go.Figure:
    """Draw a scan: learners across, batch sizes upwards, the number in every cell.

    A number that wasn't measured says "≈", for it is predicted; where the setting was run since, the cell says by how
    much the prediction was too large; a setting that can't be run says "–".

    Parameters
    ----------
    scan : what was measured.
    quantity : "samples_per_s"; "goodput"; or "seconds_to_target", which needs a reference.
    reference, target : as in `crossbow_lab.session.Scan.predict`.
    also : settings (learners, batch size) to predict beside those measured.
    found : predictions held against sessions that were run.

    Returns
    -------
    plotly.graph_objects.Figure
        One panel.

    Raises
    ------
    ConfigurationError
        If the quantity is unknown or can't be told: see `crossbow_lab.session.Scan.predict`.

    Examples
    --------
    >>> from crossbow_lab.session import Recipe
    >>> points = tuple(ScanPoint(k, b, 100.0 * k * b / (1 + k + k * b / 8), 0.0) for b in (4, 8) for k in (1, 2))
    >>> figure = heat_map(Scan(points, 64.0, Recipe("mlp", "digits")), "goodput", also=[(4, 16)])
    >>> [note.text for note in figure.layout.annotations][-1]
    '≈ 246'
    """
    if quantity not in _QUANTITIES:
        raise ConfigurationError(f"quantity is {quantity!r}; {nearest(str(quantity), _QUANTITIES)}")
    if quantity == "seconds_to_target" and reference is None:
        raise ConfigurationError("time to accuracy needs a reference=: a session that has reached target=")
    errors = {(one.prediction.learners, one.prediction.batch_size): one for one in found}
    points = {(point.learners, point.batch_size): point for point in scan.points}
    settings = {*points, *also, *errors}
    ks, bs = sorted({k for k, _ in settings}), sorted({b for _, b in settings})

    def predict(k: int, b: int) -> Prediction:
        return scan.predict(k, b, reference if quantity == "seconds_to_target" else None, target)

    cells = {(k, b): _value(points.get((k, b)), quantity, partial(predict, k, b)) for k, b in settings}
    values = [[cells.get((k, b), math.nan) for k in ks] for b in bs]
    places = list(range(len(ks))), list(range(len(bs)))
    figure = go.Figure(go.Heatmap(x=places[0], y=places[1], z=values, colorscale=_SCALE, showscale=False))
    for (k, b), value in sorted(cells.items(), key=lambda cell: (cell[0][1], cell[0][0])):
        text = _text(value, points.get((k, b)), errors.get((k, b)), quantity)
        look: dict[str, Any] = {"showarrow": False, "font": {"color": _INK, "size": 13}, "xanchor": "center"}
        figure.add_annotation(
            x=ks.index(k), y=bs.index(b), xref="x", yref="y", text=text, bgcolor="rgba(255,255,255,0.8)", **look
        )
    of = f"; noise scale {scan.noise_scale:,.0f} samples" if quantity != "samples_per_s" else ""
    title = f"learners per device. In the cells: {_QUANTITIES[quantity]}{of}"
    figure = styled(figure, height=max(_LEAST_PX, 120 + _CELL_PX * len(bs)), font_px=15)
    figure.update_xaxes(title_text=title, tickvals=places[0], ticktext=list(map(str, ks)), range=_around(ks))
    figure.update_yaxes(title_text="batch size", tickvals=places[1], ticktext=list(map(str, bs)), range=_around(bs))
    return figure


def _value(point: ScanPoint | None, quantity: str, predict: Callable[[], Prediction]) -> float:
    """Return the number of a cell, measured or predicted; NaN where it can't be run."""
    if point is not None and point.refused:
        return math.nan
    if point is not None and quantity == "samples_per_s":
        return point.samples_per_s
    if point is None and quantity == "samples_per_s":
        return predict().samples_per_s
    return float(getattr(predict(), quantity))


def _text(value: float, point: ScanPoint | None, error: PredictionError | None, quantity: str) -> str:
    """Return what is written into a cell."""
    if math.isnan(value):
        return "–"
    number = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    text = number if point is not None and quantity == "samples_per_s" else f"≈ {number}"
    if error is None or quantity == "goodput":  # which nothing measures
        return text
    off = error.error_of(quantity)
    return text if math.isnan(off) else f"{text} ({100 * off:+.0f} %)"


def _around(values: Sequence[int]) -> tuple[float, float]:
    """Return the range of an axis whose cells are one apart."""
    return -0.5, len(values) - 0.5
