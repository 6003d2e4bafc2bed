"""Interleaved timing and its statistics."""

import gc
import json

import pytest

from crossbow_lab.bench.measure import (
    Contender,
    Plan,
    Summary,
    Timing,
    interleave,
    summarise,
    times_as_fast,
    timing_to_json,
    warm_up,
)


def timing(*iteration_s: float) -> Timing:
    """Return a timing with these seconds per iteration."""
    return Timing("it", warm_up_s=0.0, burst_iterations=3, iteration_s=iteration_s)


def test_summarise_gives_median_extremes_and_quartiles():
    """Known numbers: of nine values in order, the third and the seventh are the quartiles."""
    found = summarise([9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 10.0, 4.0, 5.0])

    assert Summary(median=5.0, low=1.0, quartile_1=3.0, quartile_3=8.0, high=10.0) == found


def test_summarise_of_one_value_has_no_spread():
    """One round gives five times the same number."""
    assert Summary(2.5, 2.5, 2.5, 2.5, 2.5) == summarise([2.5])


def test_summarise_refuses_an_empty_list():
    """No rounds, no summary."""
    with pytest.raises(ValueError, match="no values"):
        summarise([])


def test_times_as_fast_forms_the_ratio_inside_each_round():
    """A machine that becomes ten times slower under both leaves the ratio as it was, without any spread."""
    found = times_as_fast(timing(1.0, 10.0, 100.0), timing(2.0, 20.0, 200.0))

    assert summarise([2.0, 2.0, 2.0]) == found


def test_times_as_fast_differs_from_the_ratio_of_medians():
    """With rounds 1:4, 2:2 and 4:4 the median ratio is 1, that of the medians 2."""
    found = times_as_fast(timing(1.0, 2.0, 4.0), timing(4.0, 2.0, 4.0))

    assert found.median == 1.0
    assert (found.low, found.high) == (1.0, 4.0)


def test_times_as_fast_refuses_timings_of_different_rounds():
    """Ratios need pairs."""
    with pytest.raises(ValueError, match="zip"):
        times_as_fast(timing(1.0), timing(1.0, 2.0))


def test_interleave_gives_every_contender_one_burst_a_round():
    """Within a round nobody runs twice, and the order is not always the same."""
    log: list[tuple[str, int]] = []
    plan = Plan(rounds=8, burst_s=0.0, burst_iterations=3)
    contenders = [Contender(name, lambda name=name: lambda n: log.append((name, n))) for name in "abc"]
    warm = [warm_up(contender, plan) for contender in contenders]
    log.clear()

    timings = interleave(warm, plan)

    bursts = [name for name, n in log if n == 3]
    rounds = [tuple(bursts[i : i + 3]) for i in range(0, len(bursts), 3)]
    assert len(rounds) == 8
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len(set(rounds)) > 1
    assert list(timings) == ["a", "b", "c"]
    assert all(len(found.iteration_s) == 8 for found in timings.values())


def test_interleave_precedes_each_burst_by_one_untimed_iteration():
    """What the previous contender left in the caches is paid outside the clock."""
    log: list[int] = []
    plan = Plan(rounds=1, burst_s=0.0, burst_iterations=4)
    warm = warm_up(Contender("it", lambda: log.append), plan)
    log.clear()

    interleave([warm], plan)

    assert log == [1, 4]


def test_bursts_run_without_the_garbage_collector_and_put_it_back():
    """The collector is off inside a burst only."""
    seen: list[bool] = []
    plan = Plan(rounds=1, burst_s=0.0, burst_iterations=2)
    warm = warm_up(Contender("it", lambda: lambda _: seen.append(gc.isenabled())), plan)
    seen.clear()

    interleave([warm], plan)

    assert seen == [True, False]
    assert gc.isenabled()


def test_bursts_put_the_garbage_collector_back_after_an_error():
    """A contender that fails inside its burst doesn't leave the collector off."""
    plan = Plan(rounds=1, burst_s=0.0, burst_iterations=2)
    calls = iter(range(10))

    def run(n: int) -> None:
        if next(calls) == 4:
            raise RuntimeError("failed in its burst")

    warm = warm_up(Contender("it", lambda: run), plan)

    with pytest.raises(RuntimeError, match="in its burst"):
        interleave([warm], plan)
    assert gc.isenabled()


def test_warm_up_lengthens_bursts_to_the_asked_duration(monkeypatch):
    """On a clock where an iteration takes 0.01 s, a burst of 0.15 s needs 15 of them."""
    now = [0.0]
    monkeypatch.setattr("crossbow_lab.bench.measure.perf_counter", lambda: now[0])

    def prepare():
        now[0] += 2.0

        def run(n: int) -> None:
            now[0] += 0.01 * n

        return run

    warm = warm_up(Contender("it", prepare), Plan(rounds=1, burst_s=0.149))

    assert warm.burst_iterations == 15
    assert warm.warm_up_s == pytest.approx(2.0 + 0.01 * (1 + 1 + 15))
    assert interleave([warm], Plan(rounds=2))["it"].iteration_s == pytest.approx((0.01, 0.01))


def test_seconds_that_do_not_count_are_taken_off(monkeypatch):
    """A burst of 3 iterations in 6 s, of which 1.5 s went to evaluations, took 1.5 s an iteration."""
    now = [0.0]
    monkeypatch.setattr("crossbow_lab.bench.measure.perf_counter", lambda: now[0])

    def run(n: int) -> float:
        now[0] += 2.0 * n
        return 0.5 * n

    plan = Plan(rounds=1, burst_s=0.0, burst_iterations=3)
    timings = interleave([warm_up(Contender("it", lambda: run), plan)], plan)

    assert timings["it"].iteration_s == (1.5,)


def test_timing_to_json_survives_a_round_trip():
    """What is written is what is read."""
    made = timing_to_json(timing(1.0, 2.0, 3.0))

    assert made == json.loads(json.dumps(made))
    assert made["summary_s"]["median"] == 2.0
