"""Interleaved timing: contenders take turns every round, so that a drifting machine drifts under all of them.

A ratio is formed inside each round, from two bursts that ran within seconds of each other, and only then
summarised: the ratio of two medians taken minutes apart would hold the neighbours' load as well.
"""

import gc
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np

Run = Callable[[int], float | None]
"""Does that many whole training iterations; returns the seconds in it that don't count, if there are any."""

TIMED = (
    "One whole training iteration: taking the batch out of the data set in memory, forward, backward, the"
    " learners' steps and the averaging; no evaluation. Every contender draws a new order of samples each"
    " epoch; the baselines index float32 inputs that were normalised beforehand, the executors hold raw"
    " values and normalise inside the iteration. Building, tracing, compiling and the first iterations are"
    " the warm-up, reported apart. Each burst follows one untimed iteration, with the garbage collector"
    " off. All contenders take one burst a round, in a random order, with the same number of threads. 'A /"
    " B' is how many times as fast A is as B, formed in each round."
)


@dataclass(frozen=True)
class Contender:
    """One thing to time: its name, and how to build its `Run` (building counts as warm-up)."""

    name: str
    prepare: Callable[[], Run]


@dataclass(frozen=True)
class Plan:
    """How long to measure: `rounds` bursts of at least `burst_s` seconds and `burst_iterations` each."""

    rounds: int = 7
    burst_s: float = 0.15
    burst_iterations: int = 3


QUICK = Plan(rounds=2, burst_s=0.0, burst_iterations=2)


@dataclass(frozen=True)
class Warm:
    """A contender that is built and warmed up, with the length of its bursts."""

    name: str
    run: Run
    warm_up_s: float
    burst_iterations: int


@dataclass(frozen=True)
class Timing:
    """Seconds per iteration of one contender, one number a round."""

    name: str
    warm_up_s: float
    burst_iterations: int
    iteration_s: tuple[float, ...]


@dataclass(frozen=True)
class Summary:
    """Median and spread of one number over the rounds."""

    median: float
    low: float
    quartile_1: float
    quartile_3: float
    high: float


def warm_up(contender: Contender, plan: Plan) -> Warm:
    """Build a contender, pay what is paid once, and settle the length of its bursts.

    Parameters
    ----------
    contender : Contender
        What to time.
    plan : Plan
        How long a burst has to be.

    Returns
    -------
    Warm
        Ready for `interleave`; `warm_up_s` holds all the time spent here.
    """
    started_s = perf_counter()
    run = contender.prepare()
    run(1)
    burst_iterations = 1
    for _ in range(2):  # the first estimate may still hold lazy initialisation; the second one doesn't
        burst_started_s = perf_counter()
        run(burst_iterations)
        iteration_s = (perf_counter() - burst_started_s) / burst_iterations
        burst_iterations = max(plan.burst_iterations, math.ceil(plan.burst_s / iteration_s))
    return Warm(contender.name, run, perf_counter() - started_s, burst_iterations)


def interleave(contenders: Sequence[Warm], plan: Plan, *, seed: int = 0) -> dict[str, Timing]:
    """Time all contenders, each once a round, in an order that is drawn anew for every round.

    Parameters
    ----------
    contenders : sequence of Warm
        What to time, with different names.
    plan : Plan
        The number of rounds.
    seed : int
        Of the orders.

    Returns
    -------
    dict of str to Timing
        By name, in the order given.
    """
    generator = np.random.default_rng(seed)
    iteration_s: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(plan.rounds):
        gc.collect()
        for index in generator.permutation(len(contenders)):
            contender = contenders[index]
            iteration_s[contender.name].append(_burst_s(contender) / contender.burst_iterations)
    return {
        contender.name: Timing(
            contender.name,
            contender.warm_up_s,
            contender.burst_iterations,
            tuple(iteration_s[contender.name]),
        )
        for contender in contenders
    }


def summarise(values: Sequence[float]) -> Summary:
    """Give the median, the extremes and the quartiles (linear between the values, extremes included).

    Parameters
    ----------
    values : sequence of float
        At least one.

    Raises
    ------
    ValueError
        If there are no values.

    Examples
    --------
    >>> summarise([3.0, 1.0, 2.0, 5.0, 4.0])
    Summary(median=3.0, low=1.0, quartile_1=2.0, quartile_3=4.0, high=5.0)
    """
    if not values:
        raise ValueError("nothing to summarise: no values were given")
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return Summary(
        median=statistics.median(values),
        low=min(values),
        quartile_1=quartiles[0],
        quartile_3=quartiles[2],
        high=max(values),
    )


def times_as_fast(contender: Timing, other: Timing) -> Summary:
    """Say how many times as fast a contender is as another one, from ratios formed inside each round.

    Parameters
    ----------
    contender, other : Timing
        Of the same call of `interleave`.

    Returns
    -------
    Summary
        Of ``other / contender`` in seconds per iteration: above 1 where `contender` is the faster one.
    """
    pairs = zip(contender.iteration_s, other.iteration_s, strict=True)
    return summarise([other_s / own_s for own_s, other_s in pairs])


def timing_to_json(timing: Timing) -> dict[str, Any]:
    """Return a timing and its summary as plain JSON values."""
    return asdict(timing) | {
        "iteration_s": list(timing.iteration_s),
        "summary_s": asdict(summarise(timing.iteration_s)),
    }


def _burst_s(contender: Warm) -> float:
    """Return the seconds that count of one burst."""
    # One untimed iteration: the contender before left the caches and the thread pool to itself.
    contender.run(1)
    gc.disable()
    try:
        started_s = perf_counter()
        uncounted_s = contender.run(contender.burst_iterations) or 0.0
        return perf_counter() - started_s - uncounted_s
    finally:
        gc.enable()
