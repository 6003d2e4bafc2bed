"""Statistics of times to accuracy, against published tables and by simulation."""

import math
import statistics

import numpy as np
import pytest

from crossbow_lab.runs.comparing.statistics import (
    Estimate,
    geometric_mean,
    median,
    olympic_mean,
    probability_less,
    ratio,
    share_reached,
    student_t_quantile,
)


@pytest.mark.parametrize(
    ("probability", "freedom", "expected"),
    [
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 4, 2.776),
        (0.975, 9, 2.262),
        (0.975, 30, 2.042),
        (0.975, 120, 1.980),
        (0.95, 5, 2.015),
        (0.9, 3, 1.638),
        (0.995, 10, 3.169),
        (0.999, 3, 10.215),
    ],
)
def test_student_t_is_the_one_of_printed_tables(probability: float, freedom: float, expected: float) -> None:
    """To the three digits that tables print."""
    assert student_t_quantile(probability, freedom) == pytest.approx(expected, abs=5e-4)


def test_student_t_is_the_normal_distribution_for_many_degrees_of_freedom() -> None:
    """And between whole degrees it lies between its neighbours, which Welch's interval needs."""
    assert student_t_quantile(0.975, 1e7) == pytest.approx(statistics.NormalDist().inv_cdf(0.975), abs=1e-6)
    assert student_t_quantile(0.975, 3) < student_t_quantile(0.975, 2.5) < student_t_quantile(0.975, 2)
    with pytest.raises(ValueError, match=r"needs 0\.5 <= probability < 1"):
        student_t_quantile(1.0, 3)


def _draw(generator: np.random.Generator, n: int, middle: float, spread: float) -> list[float]:
    """Draw times to accuracy whose logarithms are normal."""
    return [float(time) for time in middle * np.exp(spread * generator.standard_normal(n))]


@pytest.mark.parametrize("n", [3, 5])
def test_an_interval_of_few_seeds_covers_what_it_promises(n: int) -> None:
    """Of 2,000 intervals 95 % hold the truth, within three standard errors; a bootstrap of the mean holds 75 %."""
    generator = np.random.default_rng(n)
    held = 0
    for _ in range(2000):
        interval = geometric_mean(_draw(generator, n, 60.0, 0.12))
        held += interval.low <= 60.0 <= interval.high
    assert held / 2000 == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 2000))


def test_an_interval_of_a_speed_up_covers_what_it_promises() -> None:
    """Also when the two sides spread and count differently, which is what Welch is for."""
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(2000):
        speed_up = ratio(_draw(generator, 4, 80.0, 0.25), _draw(generator, 8, 40.0, 0.05))
        held += speed_up.low <= 2.0 <= speed_up.high
    assert held / 2000 == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 2000))


def test_an_interval_by_ranks_covers_at_least_what_it_promises() -> None:
    """With seven seeds of which the slowest third never gets there."""
    generator = np.random.default_rng(2)
    held = 0
    for _ in range(1000):
        times = _draw(generator, 7, 60.0, 0.3)
        interval = median([time if time < 68.0 else math.inf for time in times])
        held += interval.low <= 60.0 <= interval.high
    assert held / 1000 > 0.95


def test_means_of_logarithms_are_by_hand() -> None:
    """Logarithms 0, 1 and 2: mean 1, standard error 1/sqrt(3), t of two degrees of freedom 4.303."""
    interval = geometric_mean([1.0, math.e, math.e**2])
    assert interval.value == pytest.approx(math.e)
    assert math.log(interval.high) == pytest.approx(1 + 4.303 / math.sqrt(3), abs=1e-3)
    assert math.log(interval.low) == pytest.approx(1 - 4.303 / math.sqrt(3), abs=1e-3)
    assert ratio([1.0, math.e, math.e**2], [1.0, 1.0, 1.0]).high == pytest.approx(interval.high)


def test_a_time_that_was_not_reached_is_never_left_out() -> None:
    """A mean is then infinite and a ratio unknown; a median and an olympic mean count it."""
    times = [1.0, 2.0, 3.0, 4.0, 5.0, math.inf]
    assert math.isinf(geometric_mean(times).value)
    assert not geometric_mean(times).has_interval
    assert math.isnan(ratio(times, [1.0, 2.0]).value)
    assert median(times) == Estimate(3.5, 1.0, math.inf)
    assert olympic_mean(times) == 3.5
    assert math.isinf(olympic_mean([1.0, 2.0, 3.0, math.inf, math.inf]))


def test_it_promises_nothing_from_too_few() -> None:
    """No interval from one value, of a median from five, of a bootstrap from nine; no olympic mean from four."""
    assert geometric_mean([2.0]).value == pytest.approx(2.0)
    assert not geometric_mean([2.0]).has_interval
    assert not ratio([2.0], [1.0, 1.1]).has_interval
    assert not median([1.0, 2.0, 3.0, 4.0, 5.0]).has_interval
    assert not probability_less([1.0] * 9, [2.0] * 10).has_interval
    assert math.isnan(olympic_mean([1.0, 2.0, 3.0, 4.0]))
    for nothing in (geometric_mean([]), median([]), ratio([], [1.0]), probability_less([], [1.0])):
        assert math.isnan(nothing.value)


def test_it_says_how_often_one_is_faster() -> None:
    """Over all pairs, equal ones half, and never against nobody; the bootstrap holds the value and repeats itself."""
    assert probability_less([1.0, 3.0], [2.0, math.inf]).value == 0.75
    assert probability_less([math.inf], [math.inf]).value == 0.5
    first, second = [float(n) for n in range(10)], [n + 3.5 for n in range(12)]
    interval = probability_less(first, second)
    assert interval == probability_less(first, second)
    assert 0 < interval.low < interval.value < interval.high <= 1


def test_ratios_without_any_spread_are_exact() -> None:
    """Epochs to a target often agree over all seeds, because they are read at evaluations."""
    exact = ratio([4.0, 4.0], [2.0, 2.0])
    assert (exact.value, exact.low, exact.high) == pytest.approx((2.0, 2.0, 2.0))


def test_a_run_that_ended_early_counts_until_then() -> None:
    """Without any, the estimate is the plain share; with one, later steps are of those that were still there."""
    assert share_reached([2.0, 1.0, math.inf, math.inf], [2.0, 1.0, 9.0, 9.0]) == [(1.0, 0.25), (2.0, 0.5)]
    assert share_reached([1.0, 4.0, math.inf, math.inf], [1.0, 4.0, 2.0, 5.0]) == [(1.0, 0.25), (4.0, 0.625)]
    assert share_reached([math.inf], [3.0]) == []
