"""Plans of sweeps: what would be run, what a record answers, what is stale and why; and in which order."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crossbow_lab.errors import RunError
from crossbow_lab.runs import Run
from crossbow_lab.runs.identity import Request
from crossbow_lab.runs.sweeps.plan import Asked, Planned, ask, count_states, make_plan, with_threads


@pytest.fixture
def asked(write_notebook: Callable[..., Path]) -> Asked:
    """Return a grid of three runs."""
    return ask(write_notebook("n: int = 0\nseed: int = 0", "n + 1"), {"n": "1,2,3"})


@pytest.fixture
def record(make_run: Callable[..., Run]) -> Callable[..., Run]:
    """Return a function that publishes a run of a request."""
    numbers = iter(range(100))

    def make(request: Request, status: str = "completed", **parts: str) -> Run:
        return make_run(
            f"small-20260101T0000{next(numbers):02d}-abcdef",
            status,
            key=replace(request, parts=request.parts | parts).key,
            parts=request.parts | parts,
            notebook={"path": str(request.notebook), "sha256": request.parts["notebook"]},
            parameters=request.parameters,
        )

    return make


def by_n(plan: tuple[Planned, ...]) -> dict[Any, tuple[str, str]]:
    """Return states and reasons by the point."""
    return {planned.point["n"]: (planned.state, planned.why) for planned in plan}


def test_it_runs_what_has_no_record(asked: Asked, tmp_path: Path) -> None:
    """An empty store, or none at all, answers nothing; planning makes no folder."""
    plan = make_plan(asked, tmp_path / "runs")
    assert set(by_n(plan).values()) == {("run", "no record of it")}
    assert all(planned.is_to_do for planned in plan)
    assert not (tmp_path / "runs").exists()


def test_it_tells_cached_stale_and_failed_apart(asked: Asked, record: Callable[..., Run], tmp_path: Path) -> None:
    """A record of the same key answers; one that code has left behind says so; a failure isn't repeated by itself."""
    first, second, third = asked.requests()
    kept = record(first)
    record(second, code="another", data="another")
    record(third, "failed")
    plan = make_plan(asked, tmp_path / "runs")
    assert by_n(plan) == {
        1: ("cached", "a record answers it"),
        2: ("stale", "changed since: code, data"),
        3: ("failed", "ValueError: bad"),
    }
    assert count_states(plan) == {"stale": 1, "cached": 1, "failed": 1}
    assert [planned.folder for planned in plan if planned.state == "cached"] == [kept.folder]
    assert [planned.point["n"] for planned in plan if planned.is_to_do] == [2]


def test_it_names_the_parameters_that_have_changed(
    asked: Asked, record: Callable[..., Run], write_notebook: Callable[..., Path], tmp_path: Path
) -> None:
    """At the same point of the grid; a record of the very same parameters says more, however old it is."""
    for request in asked.requests()[:2]:
        record(request)
    other = replace(asked, parameters={"seed": 5})
    assert by_n(make_plan(other, tmp_path / "runs")) == {
        1: ("stale", "changed since: parameters (seed)"),
        2: ("stale", "changed since: parameters (seed)"),
        3: ("run", "no record of it"),
    }
    record(other.requests()[0], code="another")
    assert by_n(make_plan(asked, tmp_path / "runs"))[1] == ("cached", "a record answers it")
    write_notebook("n: int = 0\nseed: int = 0", "n + 2")
    plan = make_plan(asked, tmp_path / "runs")
    assert by_n(plan)[1] == ("stale", "changed since: notebook")


def test_it_repeats_failures_and_everything_when_asked_to(
    asked: Asked, record: Callable[..., Run], tmp_path: Path
) -> None:
    """``retry_failed`` for what failed, ``force`` for all."""
    first, _, third = asked.requests()
    record(first)
    record(third, "timeout")
    assert by_n(make_plan(asked, tmp_path / "runs"))[3][0] == "failed"
    assert by_n(make_plan(asked, tmp_path / "runs", retry_failed=True))[3] == ("run", "the last one ended as timeout")
    assert by_n(make_plan(asked, tmp_path / "runs", force=True))[1] == ("run", "forced")


def test_it_runs_again_what_was_interrupted(asked: Asked, record: Callable[..., Run], tmp_path: Path) -> None:
    """An interruption says nothing about what would have come."""
    record(asked.requests()[0], "interrupted")
    assert by_n(make_plan(asked, tmp_path / "runs"))[1] == ("run", "the last one ended as interrupted")


def test_it_does_not_trust_a_record_that_has_lost_a_file(
    asked: Asked, record: Callable[..., Run], tmp_path: Path
) -> None:
    """What a person deleted is run again."""
    run = record(asked.requests()[0])
    (run.folder / "log.txt").unlink()
    assert by_n(make_plan(asked, tmp_path / "runs"))[1] == ("run", "its record is damaged")


def test_it_adds_as_many_repeats_as_are_missing(asked: Asked, record: Callable[..., Run], tmp_path: Path) -> None:
    """Three are asked for and one is there: two are run, with labels of their own."""
    record(asked.requests()[0])
    plan = [planned for planned in make_plan(asked, tmp_path / "runs", repeats=3) if planned.point["n"] == 1]
    assert [(planned.repeat, planned.state) for planned in plan] == [(0, "cached"), (1, "run"), (2, "run")]
    assert plan[2].label == "n=1 repeat=2"
    with pytest.raises(RunError, match="repeats must be at least 1, got 0"):
        make_plan(asked, tmp_path / "runs", repeats=0)


def test_it_interleaves_the_settings_seed_by_seed(write_notebook: Callable[..., Path], tmp_path: Path) -> None:
    """Each seed is a block with all settings in it, blocks in the seeds' order, settings not sorted in every block."""
    notebook = write_notebook("n: int = 0\nseed: int = 0", "n + 1")
    plan = make_plan(ask(notebook, {"n": "0:6", "seed": "8:12"}), tmp_path)
    points = [(planned.point["seed"], planned.point["n"]) for planned in plan]
    assert [seed for seed, _ in points] == sorted([8, 9, 10, 11] * 6)
    orders = {tuple(n for seed, n in points if seed == block) for block in (8, 9, 10, 11)}
    assert all(sorted(order) == list(range(6)) for order in orders)
    assert len(orders) > 1
    longer = make_plan(ask(notebook, {"n": "0:6", "seed": "8:13"}), tmp_path)
    assert [planned.label for planned in longer][: len(plan)] == [planned.label for planned in plan]


def test_it_plans_for_the_threads_that_runs_will_have(asked: Asked) -> None:
    """A part of the machine is another device; the whole machine isn't."""
    import os

    request = asked.requests()[0]
    assert with_threads(request, None) is with_threads(request, os.cpu_count()) is request
    other = with_threads(request, 10_000)
    assert other.key != request.key
    assert {name for name in request.parts if other.parts[name] != request.parts[name]} == {"device"}
    assert asked.requests(10_000)[0] == other


def test_it_refuses_what_no_run_could_be_made_of(write_notebook: Callable[..., Path], tmp_path: Path) -> None:
    """Without a parameters cell, with a misspelt fixed parameter, without the notebook."""
    with pytest.raises(RunError, match="has 0 code cells tagged 'parameters'"):
        ask(write_notebook("n: int = 0", tagged=0), {"n": "1"})
    with pytest.raises(RunError, match="did you mean 'seed'"):
        ask(write_notebook("n: int = 0\nseed: int = 0"), {"n": "1"}, {"sed": 1})
    with pytest.raises(RunError, match="there is no notebook"):
        ask(tmp_path / "none.ipynb", {"n": "1"})
