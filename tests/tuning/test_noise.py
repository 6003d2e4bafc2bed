"""The estimates of the gradient noise scale: unbiased where the paper says so, and biased as the docstring says."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.tuning import NoiseAverage, NoiseEstimate, estimate_noise
from crossbow_lab.tuning.reference import noise_of_gradients, squares

quick = settings(max_examples=60, deadline=None)

VALUES = st.floats(-100.0, 100.0)
GRADIENTS = st.integers(2, 6).flatmap(
    lambda k: st.integers(1, 7).flatmap(lambda n: arrays(float, (k, n), elements=VALUES))
)


def estimated(g_kn: np.ndarray, b: int) -> NoiseEstimate:
    """Return the estimate from the squares that a session measures."""
    k = len(g_kn)
    found = squares(g_kn)
    return estimate_noise(float(found[:-1].mean()), float(found[-1]) / k**2, small=b, large=k * b)


@quick
@given(GRADIENTS, st.integers(1, 64))
def test_it_equals_the_reference(g_kn: np.ndarray, b: int) -> None:
    """From norms as from gradients, to rounding."""
    found, (gradient_sq, variance) = estimated(g_kn, b), noise_of_gradients(g_kn, b)
    size = float((g_kn**2).sum()) * b + 1e-300
    assert abs(found.gradient_sq - gradient_sq) <= 1e-12 * size
    assert abs(found.variance - variance) <= 1e-12 * size


@quick
@given(GRADIENTS, st.integers(1, 64), st.floats(0.1, 10.0))
def test_it_scales_as_it_should_and_knows_no_order(g_kn: np.ndarray, b: int, factor: float) -> None:
    """Both estimates with the square of the gradients; learners in another order are the same learners."""
    found = estimated(g_kn, b)
    size = float((g_kn**2).sum()) * b + 1e-300
    for other, times in ((estimated(factor * g_kn, b), factor**2), (estimated(g_kn[::-1], b), 1.0)):
        assert other.gradient_sq == pytest.approx(times * found.gradient_sq, abs=1e-11 * max(1, times) * size)
        assert other.variance == pytest.approx(times * found.variance, abs=1e-11 * max(1, times) * size)


@quick
@given(arrays(float, st.integers(1, 7), elements=VALUES), st.integers(2, 6), st.integers(1, 64))
def test_learners_with_the_same_gradient_see_no_noise(g_n: np.ndarray, k: int, b: int) -> None:
    """S = 0, and ‖G‖² is that gradient's."""
    found = estimated(np.tile(g_n, (k, 1)), b)
    size = float((g_n**2).sum())
    assert abs(found.variance) <= 1e-9 * size * b
    assert found.gradient_sq == pytest.approx(size, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(("k", "b"), [(2, 1), (2, 2), (3, 1), (4, 1), (2, 3)])
def test_both_estimates_are_unbiased(k: int, b: int) -> None:
    """Their exact expectation, over every way to draw k batches of b from three samples, is ‖G‖² and tr Σ."""
    samples = np.array([[1.0, -2.0], [3.0, 0.5], [-0.5, 4.0]])
    mean = samples.mean(0)
    drawn = [np.array(draw).reshape(k, b) for draw in itertools.product(range(3), repeat=k * b)]
    found = [estimated(samples[draw].mean(axis=1), b) for draw in drawn]
    assert np.mean([one.gradient_sq for one in found]) == pytest.approx(mean @ mean)
    assert np.mean([one.variance for one in found]) == pytest.approx(((samples - mean) ** 2).sum(1).mean())


def test_learners_apart_make_it_too_large_as_the_docstring_says() -> None:
    """S by b V, and ‖G‖² is the mean gradient's less V / k; again over every way to draw."""
    samples, k, b = np.array([[1.0], [3.0], [-0.5]]), 3, 1
    shifts = np.array([[0.7], [-1.1], [0.4]])  # what being at other weights adds to each learner's gradient
    drawn = [np.array(draw).reshape(k, b) for draw in itertools.product(range(3), repeat=k * b)]
    found = [estimated(samples[draw].mean(axis=1) + shifts, b) for draw in drawn]
    spread = float(((shifts - shifts.mean(0)) ** 2).sum() / (k - 1))
    mean, noise = samples.mean() + shifts.mean(), float(((samples - samples.mean(0)) ** 2).sum(1).mean())
    assert np.mean([one.variance for one in found]) == pytest.approx(noise + b * spread)
    assert np.mean([one.gradient_sq for one in found]) == pytest.approx(mean**2 - spread / k)


@quick
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=30), st.sampled_from([0.0, 0.5, 0.95]))
def test_the_average_is_the_weighted_mean_of_both(pairs: list[tuple[float, float]], decay: float) -> None:
    """Newer ones count more, and the ratio is formed last."""
    average = NoiseAverage(decay)
    for pair in pairs:
        average = average.after(NoiseEstimate(*pair))
    weights = np.array([decay**age for age in reversed(range(len(pairs)))])
    expected = weights @ np.array(pairs) / weights.sum()
    assert average.estimate.gradient_sq == pytest.approx(expected[0], abs=1e-9)
    assert average.estimate.variance == pytest.approx(expected[1], abs=1e-9)


def test_a_scale_that_is_not_known_is_no_number() -> None:
    """Nothing measured, or no noise: NaN; nothing but noise: infinity."""
    assert math.isnan(NoiseAverage().estimate.scale)
    assert math.isnan(NoiseEstimate(2.0, -1.0).scale)
    assert NoiseEstimate(0.0, 3.0).scale == math.inf


@pytest.mark.parametrize("sizes", [(4, 4), (8, 4), (0, 4), (4, math.inf)])
def test_one_batch_size_is_not_enough(sizes: Any) -> None:
    """As where there is one learner."""
    with pytest.raises(ConfigurationError, match="take the gradients of two learners or more"):
        estimate_noise(1.0, 1.0, small=sizes[0], large=sizes[1])
