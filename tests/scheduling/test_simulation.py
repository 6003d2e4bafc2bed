"""Scheduling: streams and learners do one thing at a time, order is kept, and nobody who could work waits."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.learners.timeline import Span
from crossbow_lab.scheduling import POLICIES, Schedule, schedule_tasks

# Whole seconds, so that sums are exact and ties happen.
DURATION = st.integers(1, 6)
LEARNERS = st.lists(st.lists(DURATION, min_size=1, max_size=3), min_size=1, max_size=5)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[list[int]], dict[str, int]]:
    """Draw unequal learners and how they are scheduled."""
    durations = draw(LEARNERS)
    return durations, {
        "iterations": draw(st.integers(1, 6)),
        "streams": draw(st.integers(1, len(durations))),
        "sync_period": draw(st.integers(1, 4)),
        "synchronisation_s": draw(st.integers(0, 2)),
    }


def learning(found: Schedule) -> list[Span]:
    """Return the learning tasks."""
    return [span for span in found.spans if span.kind == "learning"]


def periods(found: Schedule, sync_period: int) -> list[list[Span]]:
    """Return the learning tasks between synchronisations."""
    groups: dict[int, list[Span]] = {}
    for span in learning(found):
        groups.setdefault(span.iteration // sync_period, []).append(span)
    return list(groups.values())


def by_clock(durations: Sequence[Sequence[int]], tasks: int, streams: int) -> list[tuple[int, int, int]]:
    """First come first served, second by second: (learner, start, end) of each task of one period."""
    waiting, idle_streams = list(range(len(durations))), streams
    running: list[tuple[int, int]] = []
    done = [0] * len(durations)
    found, clock = [], 0
    while len(found) < tasks or running:
        ended = [learner for learner, end in running if end == clock]  # in the order in which they began
        running = [(learner, end) for learner, end in running if end != clock]
        waiting += ended
        idle_streams += len(ended)
        while waiting and idle_streams and len(found) < tasks:
            learner = waiting.pop(0)
            idle_streams -= 1
            own = durations[learner]
            end = clock + own[done[learner] % len(own)]
            done[learner] += 1
            running.append((learner, end))
            found.append((learner, clock, end))
        clock += 1
    return found


@given(case=cases(), policy=st.sampled_from(POLICIES))
def test_nothing_overlaps_on_a_stream_or_a_learner(case, policy):
    """A stream runs one task at a time, and so does a learner."""
    found = schedule_tasks(case[0], policy, **case[1])

    for key in ("stream", "learner"):
        for value in {getattr(span, key) for span in found.spans}:
            mine = sorted((s.start_s, s.end_s) for s in found.spans if getattr(s, key) == value)
            assert all(before[1] <= after[0] for before, after in pairwise(mine))


@given(case=cases(), policy=st.sampled_from(POLICIES))
def test_a_synchronisation_is_after_its_period_and_before_the_next(case, policy):
    """Every whole period has k τ tasks and one synchronisation, of the duration given, that separates it."""
    durations, options = case
    found = schedule_tasks(durations, policy, **options)
    barriers = [span for span in found.spans if span.kind == "global_synchronisation"]
    groups = periods(found, options["sync_period"])

    assert len(learning(found)) == len(durations) * options["iterations"]
    assert len(barriers) == options["iterations"] // options["sync_period"]
    for number, barrier in enumerate(barriers):
        assert barrier.duration_s == options["synchronisation_s"]
        assert len(groups[number]) == len(durations) * options["sync_period"]
        assert barrier.start_s == max(span.end_s for span in groups[number])
        assert all(span.start_s >= barrier.end_s for group in groups[number + 1 :] for span in group)


@given(case=cases())
def test_first_come_first_served_leaves_no_stream_idle_while_a_task_waits(case):
    """From a period's beginning until its last task starts, all streams are busy at every moment."""
    found = schedule_tasks(case[0], "fcfs", **case[1])

    for group in periods(found, case[1]["sync_period"]):
        moments = sorted({time for span in group for time in (span.start_s, span.end_s)})
        last_start = max(span.start_s for span in group)
        for moment in (moment for moment in moments if moment < last_start):
            assert sum(span.start_s <= moment < span.end_s for span in group) == found.streams


@given(case=cases())
def test_first_come_first_served_is_what_a_clock_and_a_queue_give(case):
    """The same learners start at the same times as in a simulation second by second."""
    durations, options = case
    tasks = len(durations) * options["iterations"]
    found = schedule_tasks(
        durations, "fcfs", iterations=options["iterations"], sync_period=99, streams=options["streams"]
    )

    mine = [(span.learner, span.start_s, span.end_s) for span in learning(found)]

    assert mine == by_clock(durations, tasks, options["streams"])


@given(case=cases())
def test_round_robin_takes_turns(case):
    """Task n is learner n mod k's, on stream n mod s; every learner has as many."""
    durations, options = case
    found = schedule_tasks(durations, "round_robin", **options)

    for group in periods(found, options["sync_period"]):
        for n, span in enumerate(group):
            assert span.learner == n % len(durations)
            assert span.stream == f"stream {n % options['streams']}"
    assert set(found.tasks) == {options["iterations"]}


@given(case=cases(), duration=DURATION)
def test_equal_learners_are_scheduled_the_same_by_both(case, duration):
    """To the span."""
    equal = [duration] * len(case[0])

    assert schedule_tasks(equal, "fcfs", **case[1]).spans == schedule_tasks(equal, "round_robin", **case[1]).spans


@given(durations=st.lists(DURATION, min_size=1, max_size=6), period=st.integers(1, 5))
def test_with_a_stream_each_first_come_first_served_is_never_slower(durations, period):
    """For learners that are slow or fast throughout; and at τ = 1 it is the same."""
    fcfs, turns = (schedule_tasks(durations, policy, iterations=period, sync_period=period) for policy in POLICIES)

    assert fcfs.makespan_s <= turns.makespan_s == period * max(durations)
    if period == 1:
        assert fcfs.spans == turns.spans


@given(case=cases(), policy=st.sampled_from(POLICIES))
def test_idle_share_and_frame_tell_of_the_spans(case, policy):
    """Streams' time is learning and idling; the frame has a row for each span."""
    found = schedule_tasks(case[0], policy, **case[1])
    busy = Fraction(sum(int(span.duration_s) for span in learning(found)))

    assert found.idle_share == pytest.approx(float(1 - busy / Fraction(found.streams * int(found.makespan_s))))
    assert list(found.frame) == ["kind", "learner", "stream", "iteration", "start_s", "duration_s"]
    assert len(found.frame) == len(found.spans)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([],), {}, "at least one learner"),
        ((4,), {}, "at least one learner"),
        (([1.0, 0.0],), {}, r"durations_s\[1\] is 0.0; it must be a finite number > 0"),
        (([1.0, []],), {}, r"durations_s\[1\] is empty"),
        (([1.0], "fifo"), {}, "unknown policy 'fifo'; .*fcfs"),
        (([1.0, 1.0],), {"streams": 3}, "streams is 3 for 2 learners; .* at most 2"),
        (([1.0],), {"sync_period": 0}, "sync_period is 0"),
        (([1.0],), {"iterations": 1.5}, "iterations is 1.5"),
        (([1.0],), {"synchronisation_s": -1}, "synchronisation_s is -1"),
    ],
)
def test_bad_input_is_refused(arguments, options, message):
    """With what was given and what is needed."""
    with pytest.raises(ConfigurationError, match=message):
        schedule_tasks(*arguments, **options)
