"""Heat maps of scans, as data and as a picture."""

import io
import math

import matplotlib.image
import numpy as np
import plotly.graph_objects as go
import pytest

from crossbow_lab.dashboard import static
from crossbow_lab.dashboard.heat_maps import heat_map
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session import PredictionError, Recipe, Reference, Scan, ScanPoint

POINTS = (
    *(ScanPoint(k, b, 1000.0 * k * b / (4 + k + k * b), 0.0) for b in (4, 16) for k in (1, 2, 8)),
    ScanPoint(8, 800, math.nan, math.nan, "too many samples"),
)
SCAN = Scan(POINTS, 64.0, Recipe("mlp", "digits"))


def texts(figure: go.Figure) -> dict[tuple[int, int], str]:
    """Return what is written into each cell, by column and row."""
    return {(int(note.x), int(note.y)): note.text for note in figure.layout.annotations}


def test_every_setting_is_a_cell_with_its_number() -> None:
    """Learners across, batch sizes upwards; what can't be run is a dash, and what wasn't tried is empty."""
    figure = heat_map(SCAN)
    assert list(figure.layout.xaxis.ticktext) == ["1", "2", "8"]
    assert list(figure.layout.yaxis.ticktext) == ["4", "16", "800"]
    assert figure.data[0].z[1][2] == POINTS[5].samples_per_s
    assert math.isnan(figure.data[0].z[2][0])
    assert texts(figure) == {
        (0, 0): "444", (1, 0): "571", (2, 0): "727", (0, 1): "762", (1, 1): "842", (2, 1): "914", (2, 2): "–"
    }  # fmt: skip


def test_what_was_not_measured_is_predicted_and_says_so() -> None:
    """And once it has been run, by how much the prediction was too large."""
    prediction = SCAN.predict(4, 4)
    found = PredictionError(prediction, samples_per_s=prediction.samples_per_s / 1.25)
    assert texts(heat_map(SCAN, also=[(4, 4)]))[2, 0] == "≈ 667"
    assert texts(heat_map(SCAN, found=[found]))[2, 0] == "≈ 667 (+25 %)"
    assert texts(heat_map(SCAN, "goodput", found=[found]))[2, 0] == f"≈ {prediction.goodput:.0f}"


def test_time_to_accuracy_needs_a_reference() -> None:
    """With it, every cell is in seconds."""
    with pytest.raises(ConfigurationError, match="time to accuracy needs a reference="):
        heat_map(SCAN, "seconds_to_target")
    shown = heat_map(SCAN, "seconds_to_target", reference=Reference(batch=64, samples=1000))
    assert texts(shown)[0, 1] == f"≈ {1000 * (1 + 16 / 64) / 2 / POINTS[3].samples_per_s:.3g}"
    assert "time to accuracy (s); noise scale 64 samples" in shown.layout.xaxis.title.text
    with pytest.raises(ConfigurationError, match="quantity is 'godput'; did you mean 'goodput'"):
        heat_map(SCAN, "godput")


def test_it_shows_as_a_picture_too() -> None:
    """In the colours of the scale, with the words for a screen reader; the same picture twice."""
    still = static(heat_map(SCAN))
    assert still.png == static(heat_map(SCAN)).png
    assert repr(still).startswith(
        "Figure: batch size by learners per device. In the cells: throughput (samples/s). 444;"
    )
    picture = matplotlib.image.imread(io.BytesIO(still.png))[..., :3]
    dark = np.abs(picture - np.array([0, 34, 78]) / 255).max(axis=2) < 0.05
    light = np.abs(picture - np.array([254, 232, 56]) / 255).max(axis=2) < 0.1
    assert dark.mean() > 0.02
    assert light.mean() > 0.02
