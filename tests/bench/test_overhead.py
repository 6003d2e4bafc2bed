"""A Session against its bare executor, imports and help: what is computed from what was timed."""

import json

import pytest

from crossbow_lab.bench import overhead
from crossbow_lab.bench.measure import QUICK, Timing, summarise
from crossbow_lab.bench.ours import session_run
from crossbow_lab.bench.subjects import Subject


def timing(*iteration_s: float) -> Timing:
    """Return a timing with these seconds per iteration."""
    return Timing("it", warm_up_s=0.0, burst_iterations=3, iteration_s=iteration_s)


def test_percent_slower_is_formed_inside_each_round():
    """3 % slower in a fast and in a slow round is 3 %, without spread."""
    found = overhead.percent_slower(timing(1.03, 10.3), timing(1.0, 10.0))

    assert (found.low, found.median, found.high) == pytest.approx((3.0, 3.0, 3.0))


def test_a_session_goes_on_where_it_was_and_tells_its_evaluations():
    """Two calls train twice as far; evaluation time comes back only when it is not to count."""
    subject = Subject("mlp", "digits", 2, 2)

    apart = session_run(subject, "loop", counts_evaluations=False)
    counted = session_run(subject, "loop", counts_evaluations=True)

    assert apart(2) > 0
    assert apart(2) > 0
    assert counted(2) is None


def test_imports_are_timed_in_fresh_processes(monkeypatch):
    """Each process prints three increments; each gets its own summary."""
    printed = iter(["1.0 0.01 0.5", "3.0 0.03 0.7"])
    monkeypatch.setattr(overhead, "output_of", lambda *_, **__: next(printed))

    found = overhead.import_seconds(2)

    assert {name: summary["median"] for name, summary in found.items()} == pytest.approx(
        {"torch_s": 2.0, "crossbow_lab_s": 0.02, "session_s": 0.6}
    )


def test_overhead_is_plain_json_and_its_tables_show_every_number(monkeypatch):
    """Tiny bursts of a small subject, with processes that answer at once."""
    monkeypatch.setattr(overhead, "SUBJECT", Subject("mlp", "digits", 2, 2))
    monkeypatch.setattr(overhead, "output_of", lambda *_, **__: "1.0 0.01 0.5")

    result = overhead.measure_overhead(QUICK, lambda _: None, n_processes=1)

    session, started = overhead.overhead_tables(json.loads(json.dumps(result)))
    assert session.row_count == 5
    assert set(result["session"]["instruments"]) == {"Session with timeline", "Session with gradient noise"}
    assert started.row_count == 4
    assert result["session"]["contenders"][0]["percent_slower"] == vars(summarise([0.0, 0.0]))
