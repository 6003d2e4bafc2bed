"""The timeline of a session: every task once, in order, of the right learner; and training as if nobody recorded."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from crossbow_lab.averaging import SMA, SSGD
from crossbow_lab.errors import ConfigurationError, RunError
from crossbow_lab.learners.timeline import ALL, Recorder, Span
from crossbow_lab.session import Session
from crossbow_lab.session.timeline import chrome_trace

Make = Callable[..., Session]


def tasks(session: Session) -> list[tuple[str, int, int]]:
    """Return kind, learner and iteration of what was recorded, by when it began."""
    return [(span.kind, span.learner, span.iteration) for span in session.timeline.recorded()]


def test_every_task_of_the_loop_is_a_span_of_its_learner(make: Make) -> None:
    """Data, learner by learner, averaging; an evaluation at the end."""
    session = make(learners=3)
    session.timeline.start()
    session.run(iterations=2)
    one = [("data", ALL), ("learning", 0), ("learning", 1), ("learning", 2), ("synchronisation", ALL)]
    expected = [(kind, learner, iteration) for iteration in (0, 1) for kind, learner in one]
    assert tasks(session) == [*expected, ("evaluation", ALL, 2)]


def test_fused_learners_are_one_span_and_follow_the_setting(make: Make) -> None:
    """Between synchronisations learners only learn; adjustments of all kinds in between."""
    session = make("mlp", executor="fused", algorithm=SMA(sync_period=2))
    session.timeline.start()
    session.step(2)
    session.adjust(learners=3, algorithm=SSGD())
    session.step(1)
    session.adjust(executor="loop")
    session.step(1)
    assert tasks(session) == [
        ("data", ALL, 0),
        ("learning", ALL, 0),
        ("learning", ALL, 0),
        ("data", ALL, 1),
        ("learning", ALL, 1),
        ("synchronisation", ALL, 1),
        ("data", ALL, 2),
        ("learning", ALL, 2),
        ("synchronisation", ALL, 2),
        ("data", ALL, 3),
        ("learning", 0, 3),
        ("synchronisation", ALL, 3),
    ]


def test_spans_lie_within_the_time_that_passed_and_do_not_overlap(make: Make) -> None:
    """On one thread one thing happens at a time; and most of the time is accounted for."""
    session = make("mlp", learners=4, batch_size=64)
    session.run(iterations=3)
    before_s = time.perf_counter()
    session.timeline.start()
    session.step(30)
    passed_s = time.perf_counter() - before_s
    spans = session.timeline.recorded()
    ends = [span.start_s + span.duration_s for span in spans]
    assert all(span.duration_s >= 0 for span in spans)
    assert all(end <= after.start_s for end, after in zip(ends, spans[1:], strict=False))
    assert spans[0].start_s >= 0
    assert ends[-1] <= passed_s
    assert sum(span.duration_s for span in spans) > 0.5 * (ends[-1] - spans[0].start_s)


@pytest.mark.parametrize("executor", ["loop", "fused"])
def test_recording_changes_no_bit(make: Make, blobs: Any, executor: str) -> None:
    """Started and stopped in between, in whatever rhythm; with dropout and batch norm."""

    def noisy() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(2)
            return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3))

    marks = []
    for every in (None, 1, 3):
        session = make(noisy(), blobs, batch_size=4, executor=executor, algorithm=SMA(sync_period=2))
        session.run(iterations=4)
        if every is not None:
            session.timeline.start(every=every)
        session.run(iterations=10)
        session.timeline.stop()
        session.run(iterations=4)
        marks.append(session.fingerprint())
    assert len(set(marks)) == 1


def test_it_records_as_often_and_keeps_as_much_as_it_is_told_to(make: Make) -> None:
    """The latest; started again, it begins anew; stopped, it keeps what it has."""
    session = make()
    session.timeline.start(every=4)
    session.step(9)
    assert {iteration for _, _, iteration in tasks(session)} == {0, 4, 8}
    session.timeline.start(most=5)
    assert session.timeline.is_on
    session.step(6)
    assert len(tasks(session)) == 5
    assert tasks(session)[-1] == ("synchronisation", ALL, 14)
    session.timeline.stop()
    session.step(2)
    assert not session.timeline.is_on
    assert tasks(session)[-1] == ("synchronisation", ALL, 14)


def test_when_off_nothing_is_recorded(make: Make, monkeypatch: Any) -> None:
    """Not a clock is read for it."""

    def fail(*_: Any) -> None:
        raise AssertionError("it records")

    monkeypatch.setattr(Recorder, "add", fail)
    monkeypatch.setattr(Recorder, "keep", fail)
    session = make()
    session.run(iterations=3)
    session.timeline.start()
    session.timeline.stop()
    session.run(iterations=3)
    assert session.timeline.recorded() == []
    assert list(session.timeline.spans.columns) == [
        "kind", "learner", "stream", "iteration", "start_s", "duration_s"
    ]  # fmt: skip


def test_a_span_costs_a_few_microseconds_at_most() -> None:
    """So under 2 % of an iteration of a millisecond with a handful of tasks; the best of many is meant."""
    recorder, times = Recorder(1, 10_000, torch.device("cpu")), []
    for _ in range(200):
        before_s = time.perf_counter()
        for _ in range(10):
            recorder.add("learning", 0, time.perf_counter())
        times.append((time.perf_counter() - before_s) / 10)
    assert min(times) < 4e-6


def test_it_is_read_while_training_goes_on(make: Make, wait_for: Any) -> None:
    """From another thread, whatever is being written meanwhile."""
    session = make().start()
    session.timeline.start(most=500)
    wait_for(lambda: len(session.timeline.recorded()) == 500)
    for _ in range(20):
        assert len(session.timeline.spans) == 500
    session.stop()


def test_a_trace_can_be_read_by_chrome_and_perfetto(make: Make, tmp_path: Path) -> None:
    """As the format wants it: names of processes and threads, complete events in microseconds, all in JSON."""
    session = make(learners=2)
    session.timeline.start()
    session.step(2)
    path = session.timeline.save(tmp_path / "trace.json")
    trace = json.loads(path.read_text())
    events = trace["traceEvents"]
    names = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert names == {"host", "all learners", "learner 1", "learner 2"}
    complete = [event for event in events if event["ph"] == "X"]
    assert len(complete) == 8
    assert all({"name", "cat", "pid", "tid", "ts", "dur", "args"} <= set(event) for event in complete)
    span = session.timeline.recorded()[1]
    assert (complete[1]["ts"], complete[1]["dur"]) == (span.start_s * 1e6, span.duration_s * 1e6)


def test_streams_are_processes_and_learners_threads() -> None:
    """Each with a number of its own."""
    spans = [
        Span("learning", 0, "lane 0", 0, 0.0, 1.0),
        Span("learning", 1, "lane 1", 0, 0.0, 1.0),
        Span("global_synchronisation", ALL, "averaging", 0, 1.0, 0.5),
    ]
    complete = [event for event in chrome_trace(spans)["traceEvents"] if event["ph"] == "X"]
    assert [(event["pid"], event["tid"]) for event in complete] == [(0, 1), (1, 2), (2, 0)]


def test_what_cannot_be(make: Make, tmp_path: Path) -> None:
    """Nothing recorded, no folder, numbers out of range, a closed session."""
    session = make()
    with pytest.raises(ConfigurationError, match="nothing was recorded; train for a while after"):
        session.timeline.save(tmp_path / "trace.json")
    with pytest.raises(ConfigurationError, match="every is 0; it must be a whole number >= 1"):
        session.timeline.start(every=0)
    with pytest.raises(ConfigurationError, match="most is 0"):
        session.timeline.start(most=0)
    session.timeline.start()
    session.step()
    with pytest.raises(RunError, match="can't be written"):
        session.timeline.save(tmp_path / "nowhere" / "trace.json")
    session.close()
    with pytest.raises(ConfigurationError, match="closed session"):
        session.timeline.start()
