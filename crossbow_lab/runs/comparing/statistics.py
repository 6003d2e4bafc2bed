"""Statistics of times to accuracy: means, intervals, ratios, and what is left when a run never got there.

Times are positive and spread by factors, so means and intervals are taken on their logarithms. There Student's t
covers what it promises with three seeds already, where a bootstrap of the mean covers 75 % instead of 95 %
(``tests/runs/comparing/test_statistics.py`` repeats that measurement). A time that wasn't reached is infinite: a
mean over it is infinite too and has no interval, while a median and its interval by ranks still say something.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95
"""Share of cases in which an interval holds the true value."""

OLYMPIC_LEAST, BOOTSTRAP_LEAST = 5, 10
_BOOTSTRAP_DRAWS = 2000


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval.

    Parameters
    ----------
    value : float
        NaN if there is nothing to estimate from, infinite if a time in it wasn't reached.
    low, high : float
        Ends of the interval; NaN where none can be given.
    """

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)


def geometric_mean(values: Sequence[float]) -> Estimate:
    """Return the geometric mean with Student's t interval on the logarithms.

    Parameters
    ----------
    values : sequence of float
        One per seed: positive, infinite for a target that wasn't reached.

    Returns
    -------
    Estimate
        Without an interval for one value. If one is infinite the mean is too, and there is no interval: leaving
        that value out would make a configuration that often fails look fast.

    Examples
    --------
    >>> mean = geometric_mean([8.0, 10.0, 12.5])
    >>> print(f"{mean.value:.3g} ({mean.low:.3g} to {mean.high:.3g})")
    10 (5.74 to 17.4)
    """
    if not values:
        return Estimate(math.nan)
    if not all(math.isfinite(value) for value in values):
        return Estimate(math.inf)
    mean, error, freedom = _log_mean(values)
    if freedom == 0:
        return Estimate(math.exp(mean))
    return _around(mean, error, freedom)


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Estimate:
    """Return the ratio of two geometric means with Welch's interval on the logarithms.

    A speed-up is ``ratio(times of the base, times of the other)``.

    Parameters
    ----------
    numerator, denominator : sequence of float
        Positive, one per seed. Their spreads may differ, and so may their numbers.

    Returns
    -------
    Estimate
        NaN if one of the values is infinite, or a side has none; without an interval if a side has one only.

    Examples
    --------
    >>> round(ratio([20.0, 20.0, 25.0], [10.0, 10.0, 12.5]).value, 3)
    2.0
    """
    if not numerator or not denominator or not all(map(math.isfinite, (*numerator, *denominator))):
        return Estimate(math.nan)
    (top, top_error, top_freedom), (bottom, bottom_error, bottom_freedom) = map(_log_mean, (numerator, denominator))
    if top_freedom == 0 or bottom_freedom == 0:
        return Estimate(math.exp(top - bottom))
    squares = top_error**2 + bottom_error**2
    if squares == 0:
        return Estimate(*[math.exp(top - bottom)] * 3)
    freedom = squares**2 / (top_error**4 / top_freedom + bottom_error**4 / bottom_freedom)
    return _around(top - bottom, math.sqrt(squares), freedom)


def median(values: Sequence[float]) -> Estimate:
    """Return the median with an interval by ranks, which assumes nothing of the distribution.

    Parameters
    ----------
    values : sequence of float
        One per seed; infinite for a target that wasn't reached, which a median can count.

    Returns
    -------
    Estimate
        With an interval, of at least 95 %, from six values on; its high end may be infinite.

    Examples
    --------
    >>> median([1.0, 2.0, 3.0, 4.0, 5.0, math.inf])
    Estimate(value=3.5, low=1.0, high=inf)
    """
    if not values:
        return Estimate(math.nan)
    ordered, n = sorted(values), len(values)
    rank, tail = 0, 0.0  # the probability that fewer than rank values lie below the median
    while (tail := tail + math.comb(n, rank) / 2**n) <= (1 - LEVEL) / 2:
        rank += 1
    if rank == 0:
        return Estimate(statistics.median(ordered))
    return Estimate(statistics.median(ordered), ordered[rank - 1], ordered[n - rank])


def olympic_mean(values: Sequence[float]) -> float:
    """Return MLPerf's score: the mean without the fastest and the slowest.

    Returns
    -------
    float
        NaN for fewer than five values. One that wasn't reached is the slowest and is left out; with two, the
        score is infinite.

    Examples
    --------
    >>> olympic_mean([1.0, 2.0, 3.0, 4.0, math.inf])
    3.0
    """
    if len(values) < OLYMPIC_LEAST:
        return math.nan
    return statistics.fmean(sorted(values)[1:-1])


def probability_less(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Return how often a value of the first is less than one of the second, equal ones counted half.

    Parameters
    ----------
    first, second : sequence of float
        One per seed; infinite for a target that wasn't reached.

    Returns
    -------
    Estimate
        With a percentile bootstrap interval if both have at least ten values: with fewer it promises too much.

    Examples
    --------
    >>> probability_less([1.0, 2.0], [2.0, 3.0])
    Estimate(value=0.875, low=nan, high=nan)
    """
    if not first or not second:
        return Estimate(math.nan)
    import numpy as np  # here, so that listing runs doesn't wait for it

    a, b = np.asarray(first)[:, None], np.asarray(second)[None, :]
    won = (a < b) + 0.5 * (a == b)
    if min(won.shape) < BOOTSTRAP_LEAST:
        return Estimate(float(won.mean()))
    generator = np.random.default_rng(0)  # so that the same data give the same interval
    drawn = [
        won[np.ix_(generator.integers(len(first), size=len(first)), generator.integers(len(second), size=len(second)))]
        for _ in range(_BOOTSTRAP_DRAWS)
    ]
    low, high = np.quantile([draw.mean() for draw in drawn], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(won.mean()), float(low), float(high))


def share_reached(times: Sequence[float], ended: Sequence[float]) -> list[tuple[float, float]]:
    """Return Kaplan and Meier's estimate of the share that has reached the target by each time.

    A run that ended early says nothing of later times: it counts as long as it was there.

    Parameters
    ----------
    times : sequence of float
        When each run reached the target; infinite if it didn't.
    ended : sequence of float
        When each run ended.

    Returns
    -------
    list of (time, share)
        The steps, ascending; the share holds from that time on.

    Examples
    --------
    >>> share_reached([1.0, 4.0, math.inf, math.inf], [1.0, 4.0, 2.0, 5.0])
    [(1.0, 0.25), (4.0, 0.625)]
    """
    left, steps = 1.0, []
    for time in sorted({time for time in times if math.isfinite(time)}):
        n_there = sum(min(reached, end) >= time for reached, end in zip(times, ended, strict=True))
        left *= 1 - list(times).count(time) / n_there
        steps.append((time, 1 - left))
    return steps


def student_t_quantile(probability: float, freedom: float) -> float:
    """Return the value that Student's t stays below with a probability.

    Parameters
    ----------
    probability : float
        0.5 <= probability < 1.
    freedom : float
        Degrees of freedom, more than 0; Welch's are not whole.

    Examples
    --------
    >>> round(student_t_quantile(0.975, 4), 3)
    2.776
    """
    if not (0.5 <= probability < 1 and freedom > 0):
        raise ValueError(f"needs 0.5 <= probability < 1 and freedom > 0, got {probability} and {freedom}")
    # The distribution function is concave above 0, so Newton's steps from there never overshoot.
    t = 0.0
    log_density_0 = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(math.pi * freedom) / 2
    for _ in range(200):
        density = math.exp(log_density_0 - (freedom + 1) / 2 * math.log1p(t * t / freedom))
        step = (probability - _student_t_below(t, freedom)) / density
        t += step
        if abs(step) <= 1e-12 * (1 + t):
            break
    return t


def _log_mean(values: Sequence[float]) -> tuple[float, float, int]:
    """Return the mean of the logarithms, its standard error, and the degrees of freedom."""
    logs = [math.log(value) for value in values]
    error = statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else 0.0
    return statistics.fmean(logs), error, len(logs) - 1


def _around(mean: float, error: float, freedom: float) -> Estimate:
    """Return the interval around a mean of logarithms, back on the scale of the values."""
    half = student_t_quantile((1 + LEVEL) / 2, freedom) * error
    return Estimate(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def _student_t_below(t: float, freedom: float) -> float:
    """Return the probability that Student's t is below t >= 0."""
    return 1 - _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function by its continued fraction (DLMF 8.17.22, Lentz's method)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction of the mirrored function converges faster
        return 1 - _incomplete_beta(1 - x, b, a)
    front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d, c = 1 / (1 + term * d), 1 + term / c
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return math.exp(front) * fraction / a
