"""The figure of gradient noise, as data and as a picture."""

import math
from typing import Any

import pandas as pd
import pytest

from crossbow_lab.dashboard import static
from crossbow_lab.dashboard.noise_figures import gradient_noise
from crossbow_lab.errors import ConfigurationError


def test_both_sources_and_the_divergence_are_lines(make: Any) -> None:
    """Of a session's own readings; the biased one is dashed."""
    session = make("mlp", learners=4)
    session.gradient_noise.start(every=2, probe_every=5)
    session.run(iterations=20)
    readings = session.gradient_noise.readings
    figure = gradient_noise(readings)
    lines = {trace.name: trace for trace in figure.data}
    assert list(lines) == ["learners (biased once apart)", "probe at z", "divergence"]
    assert lines["learners (biased once apart)"].line.dash == "dash"
    assert list(lines["probe at z"].y) == list(readings["noise_scale"][readings["source"] == "probe"])
    assert list(lines["divergence"].x) == list(readings["iteration"][readings["source"] == "learners"])
    assert "probe at z" in repr(static(figure))


def test_what_is_not_known_is_a_gap() -> None:
    """Infinity and NaN among it; its name stands behind the last number."""
    values = [3.0, math.inf, 5.0, math.nan]
    readings = pd.DataFrame({"iteration": range(4), "source": "probe", "noise_scale": values, "divergence": 0.0})
    figure = gradient_noise(readings)
    assert [math.isnan(value) for value in figure.data[0].y] == [False, True, False, True]
    assert (figure.layout.annotations[0].x, figure.layout.annotations[0].y) == (2, 5.0)


def test_nothing_to_draw_is_refused(make: Any) -> None:
    """And says what to do."""
    with pytest.raises(ConfigurationError, match="the readings are empty; train for a while after"):
        gradient_noise(make().gradient_noise.readings)
    with pytest.raises(ConfigurationError, match="the readings lack source, noise_scale"):
        gradient_noise(pd.DataFrame({"iteration": [1], "divergence": [0.0]}))
