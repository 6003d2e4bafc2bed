"""A Session on a device: how long live adjustments take, what the host spends, and what is added to bare programs."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from time import perf_counter
from typing import Any

import torch
from rich.table import Table

from crossbow_lab.bench.cuda.feed import Feed
from crossbow_lab.bench.cuda.ours import Ours, Shape, ours
from crossbow_lab.bench.cuda.timing import TIMED_ON_DEVICE, Bench, ratio_to_json, time_all, warm_all
from crossbow_lab.bench.measure import Contender, Run, summarise, timing_to_json
from crossbow_lab.bench.report import spread, table
from crossbow_lab.bench.subjects import LEARNING_RATE, Subject, subject_data, subject_model
from crossbow_lab.session import Session
from crossbow_lab.session.device_iterations import AT_ONCE
from crossbow_lab.workloads import DataSet

SUBJECTS = (Subject("lenet", "mnist", 4, 16), Subject("resnet-32", "cifar-10", 4, 16))
_NEVER = 1e9  # epochs between evaluations
_STEPS = 3
_REPLAYS = 30
_SESSION_BURST_S = (
    0.3  # what a Session does around training, such as waiting for the device at its end, is spread over this
)

# Each change, and the way back: what is new the first time is kept the next.
CHANGES: tuple[tuple[str, dict[str, int]], ...] = (
    ("k up", {"learners": 8}),
    ("k back", {"learners": 4}),
    ("k up", {"learners": 8}),
    ("k back", {"learners": 4}),
    ("b down", {"batch_size": 8}),
    ("b back", {"batch_size": 16}),
    ("b down", {"batch_size": 8}),
    ("b back", {"batch_size": 16}),
)


def measure_adjustments(bench: Bench, subjects: Sequence[Subject] = SUBJECTS) -> dict[str, Any]:
    """Time live adjustments of k and b, the first time and again.

    Returns
    -------
    dict
        Plain JSON values: ``rows``, one for each adjustment: seconds until iterations with the new setting are done,
        less what these iterations take, whether the setting is new, and the samples taken and expected.
    """
    rows = []
    for subject in subjects:
        if bench.is_late:
            bench.say(f"adjustments: no time was left for {subject}")
            continue
        bench.say(f"adjustments: {subject}")
        with _session(subject, subject_data(subject), bench.device) as session:
            session.step(2 * AT_ONCE)
            rows += [{"model": subject.model, **row} for row in _adjusted(session, subject)]
    return {"timed": "the host's clock, until the device is done", "rows": rows}


def adjustment_tables(result: dict[str, Any]) -> list[Table]:
    """Show how long adjustments take."""
    rows = [
        [
            row["model"],
            row["what"],
            "first time" if row["is_new"] else "cached",
            f"{row['adjustment_s'] * 1e3:.1f}",
            f"{row['steps_s'] * 1e3:.2f}",
            "yes" if row["samples"] == row["expected_samples"] else f"{row['samples']} of {row['expected_samples']}",
        ]
        for row in result["rows"]
    ]
    columns = ("model", "adjustment", "", "ms", f"ms for {AT_ONCE} iterations after it", "samples as expected")
    return [table("live adjustments of a Session", columns, rows)]


def measure_host(bench: Bench, subjects: Sequence[Subject] = SUBJECTS, learners: int = 16) -> dict[str, Any]:
    """Time the host's part of a replay, and a Session beside its bare program.

    Returns
    -------
    dict
        Plain JSON values: ``rows`` with ``host_s`` a replay, the timings, and ``session_over_program``.
    """
    wider = [replace(subject, n_learners=learners) for subject in subjects]
    return {"timed": TIMED_ON_DEVICE, "rows": [_host_row(bench, subject) for subject in wider]}


def host_tables(result: dict[str, Any]) -> list[Table]:
    """Show the host's times."""
    rows = []
    for row in result["rows"]:
        times = {timing["name"]: spread(timing["summary_s"], scale=1e3, digits=3) for timing in row["timings"]}
        over = row["session_over_program"]
        rows.append(
            [
                f"{row['model']}, {row['data']} {row['n_learners']}x{row['batch_size']}",
                spread(row["host_s"], scale=1e6, digits=1),
                *(times.get(name, "skipped") for name in ("program", "session")),
                "-" if over is None else spread(over, digits=3),
            ]
        )
    columns = (
        "workload",
        f"host µs a replay of {AT_ONCE}",
        "program, ms/iteration",
        "session, ms/iteration",
        "session / program",
    )
    return [table("the host, and what a Session adds", columns, rows)]


def _host_row(bench: Bench, subject: Subject) -> dict[str, Any]:
    """Time one workload."""
    bench.say(f"host and session: {subject}")
    data, skipped = subject_data(subject), dict[str, str]()
    feed = Feed(data, bench.device, has_augmentation=data.augmentation is not None)
    made = ours(subject_model(subject, data), feed, Shape("fused", subject.n_learners, subject.batch_size))
    slow = replace(bench, plan=replace(bench.plan, burst_s=max(bench.plan.burst_s, _SESSION_BURST_S)))
    with _session(subject, data, bench.device) as session:
        contenders = [Contender("program", lambda: made.run), Contender("session", lambda: _session_run(session))]
        timings = time_all(warm_all(contenders, slow, skipped), slow)
    return {
        **asdict(subject),
        "data": data.name,
        "at_once": made.program.iterations,
        "host_s": asdict(summarise(_host_s(made))),
        "timings": [timing_to_json(timing) for timing in timings.values()],
        "session_over_program": ratio_to_json(timings.get("session"), timings.get("program")),
        "skipped": skipped,
    }


@contextmanager
def _session(subject: Subject, data: DataSet, device: torch.device) -> Iterator[Session]:
    """Open a session that evaluates at its end only."""
    with Session(
        subject.model,
        data,
        learners=subject.n_learners,
        batch_size=subject.batch_size,
        learning_rate=LEARNING_RATE,
        seed=0,
        executor="fused",
        device=str(device),
        evaluate_every=_NEVER,
    ) as session:
        yield session


def _adjusted(session: Session, subject: Subject) -> Iterator[dict[str, Any]]:
    """Make every change, and time it."""
    k, b = subject.n_learners, subject.batch_size
    seen = {(k, b)}
    expected = session.snapshot.samples
    for what, changes in CHANGES:
        k, b = changes.get("learners", k), changes.get("batch_size", b)
        started_s = perf_counter()
        session.adjust(**changes)
        session.step(AT_ONCE)
        until_done_s = perf_counter() - started_s
        steps_s = statistics.median(_steps_s(session) for _ in range(_STEPS))
        expected += (1 + _STEPS) * AT_ONCE * k * b
        yield {
            "what": what,
            "learners": k,
            "batch_size": b,
            "is_new": (k, b) not in seen,
            "adjustment_s": max(0.0, until_done_s - steps_s),
            "steps_s": steps_s,
            "samples": session.snapshot.samples,
            "expected_samples": expected,
        }
        seen.add((k, b))


def _steps_s(session: Session) -> float:
    """Return how long the iterations after an adjustment take by themselves."""
    started_s = perf_counter()
    session.step(AT_ONCE)
    return perf_counter() - started_s


def _session_run(session: Session) -> Run:
    """Train by a Session, and count what its training clock counts."""

    def run(n_iterations: int) -> float:
        before_s, started_s = session.snapshot.elapsed_s, perf_counter()
        session.step(n_iterations)
        return perf_counter() - started_s - (session.snapshot.elapsed_s - before_s)

    return run


def _host_s(made: Ours) -> list[float]:
    """Return how long the host takes for single replays that the device is free for."""
    times_s = []
    for _ in range(_REPLAYS):
        if made.feed.device.type == "cuda":
            torch.cuda.synchronize(made.feed.device)
        started_s = perf_counter()
        made.launch()
        times_s.append(perf_counter() - started_s)
    return times_s
