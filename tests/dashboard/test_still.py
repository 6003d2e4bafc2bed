"""A figure that shows everywhere."""

import base64
import io
import json

import matplotlib.image
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from crossbow_lab.dashboard import figures, static
from crossbow_lab.errors import ConfigurationError

HISTORY = pd.DataFrame(
    {
        "epoch": np.arange(1.0, 9.0),
        "samples": np.arange(1, 9),
        "elapsed_s": np.arange(0.5, 4.5, 0.5),
        "samples_per_s": 200.0,
        "test_accuracy": [0.9, 0.92, 0.94, 0.96, 0.98, 0.98, 0.98, 0.98],
        "algorithm": "SMA",
    }
)
STILL = static(figures.accuracy({"SMA": HISTORY}, target=0.97))


def test_it_offers_plotly_and_a_picture_and_words() -> None:
    """One output, and every viewer finds what it can show; plotly.js itself is not in it."""
    forms, metadata = STILL._repr_mimebundle_()
    assert set(forms) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
    assert base64.b64decode(forms["image/png"]) == STILL.png
    assert len(json.dumps(forms)) < 400_000
    assert metadata["image/png"]["alt"] == forms["text/plain"]


def test_it_says_the_result_in_words() -> None:
    """A screen reader gets the axes and what is written on the figure."""
    assert "test accuracy of z (%) by passes over the training data (epochs) and by training time (s)" in repr(STILL)
    assert "SMA: 7 epochs; SMA: 3.5 s" in repr(STILL)


def test_it_draws_every_line_in_its_colour() -> None:
    """The picture holds SMA's blue in both panels, on white."""
    picture = matplotlib.image.imread(io.BytesIO(STILL.png))[..., :3]
    blue = np.abs(picture - np.array([0x00, 0x72, 0xB2]) / 255).max(axis=2) < 0.02
    middle = picture.shape[1] // 2
    assert blue[:, :middle].sum() > 500
    assert blue[:, middle:].sum() > 500
    assert picture[0, 0].tolist() == [1.0, 1.0, 1.0]


def test_it_draws_the_same_picture_twice() -> None:
    """So that an executed notebook changes only when its results do."""
    assert static(figures.accuracy({"SMA": HISTORY}, target=0.97)).png == STILL.png


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        (go.Figure(go.Bar(y=[1])), "holds heat maps, contours, and scatter traces of lines or markers; got 'bar'"),
        (go.Figure(go.Scatter(x=[1], y=[1], mode="lines+markers")), r"got 'scatter' with mode 'lines\+markers'"),
    ],
)
def test_it_refuses_a_figure_that_the_picture_would_lack(figure: go.Figure, message: str) -> None:
    """Rather than to leave something out."""
    with pytest.raises(ConfigurationError, match=message):
        static(figure)


def test_it_draws_contours_in_their_shades() -> None:
    """Low is pale and high is dark, with lines between; gaps are left white."""
    heights = [[float(x) if x < 15 else None for x in range(20)] for _ in range(20)]
    line = {"color": "#D55E00", "width": 2}
    shades = [[0.0, "#FFFFFF"], [1.0, "#303030"]]
    contour = go.Contour(x=list(range(20)), y=list(range(20)), z=heights, colorscale=shades, ncontours=5, line=line)
    figure = figures.styled(go.Figure(contour)).update_layout(xaxis_title="x", yaxis_title="y")
    picture = matplotlib.image.imread(io.BytesIO(static(figure).png))[..., :3]
    row = picture[picture.shape[0] // 2]
    orange = np.abs(row - np.array([0xD5, 0x5E, 0x00]) / 255).max(axis=1) < 0.05
    assert orange.any()
    grey = row[(row.max(axis=1) - row.min(axis=1) < 0.05) & (row[:, 0] > 0.1)][:, 0]
    assert grey.min() < 0.4
    assert (grey == 1.0).any()
