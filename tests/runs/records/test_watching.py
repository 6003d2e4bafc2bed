"""What is running, and what is left of what was killed."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from crossbow_lab.errors import RunError
from crossbow_lab.runs import Run, gc, list_runs
from crossbow_lab.runs.records import watching
from crossbow_lab.runs.records.cleaning import Cleaned
from crossbow_lab.runs.records.leases import lease
from crossbow_lab.runs.records.verifying import verify
from crossbow_lab.runs.records.watching import running, watch

ROW = {"iteration": 9, "epoch": 1.5, "samples_per_s": 1000.0, "test_accuracy": 0.9, "algorithm": "SMA"}
GONE = {"host": "gone", "pid": 1, "started": "", "nonce": "n"}


@pytest.fixture
def live(build_run: Callable[..., Path]) -> Path:
    """Return the folder of a run that is under way: a session in it has been evaluated once and a half."""
    building = build_run("live")
    (building / "log.txt").write_text("[cell 1 of 2] n: int = 3\n[cell 2 of 2] train()\nepoch 1\n")
    session = building / "sessions" / "unrecorded-1"
    session.mkdir()
    (session / "history.jsonl").write_text(json.dumps(ROW) + '\n{"iteration": 18, "ep')
    (session / "recipe.json").write_text(json.dumps({"seed": 7}))
    (session / "history.part").write_text("half a table")
    return building


def test_it_reads_how_a_run_stands(live: Path) -> None:
    """The cell, the last line, and each session's last evaluation; half a line is no evaluation yet."""
    (one,) = running(live.parents[1])
    assert one.is_alive
    assert one.cell == "[cell 2 of 2] train()"
    assert one.line == "epoch 1"
    assert one.sessions == ("unrecorded-1: SMA, epoch 1.50, iteration 9, 1,000 samples/s, test accuracy 90.00%",)


def test_it_shows_what_has_changed_until_the_run_is_over(live: Path) -> None:
    """Nothing twice."""
    lines = []
    for line in watch(live.parents[1], every_s=0.001):
        lines.append(line)
        if "epoch 1.50" in line:
            with (live / "sessions" / "unrecorded-1" / "history.jsonl").open("w") as file:
                file.write(json.dumps(ROW | {"epoch": 2.5}) + "\n")
        if "epoch 2.50" in line:
            live.rename(live.parents[1] / "live")
    assert [line.strip().split(",")[0] for line in lines] == [
        "live  [cell 2 of 2] train()",
        "unrecorded-1: SMA",
        "unrecorded-1: SMA",
        "live  is over",
    ]


def test_it_leaves_a_living_run_alone(live: Path) -> None:
    """Only its owner publishes it."""
    assert gc(live.parents[1]) == Cleaned(running=("live",))
    assert live.exists()


def test_it_makes_a_record_of_what_a_killed_run_left(live: Path) -> None:
    """Its log, its sessions as far as they got, and why there is no more."""
    asked = json.loads((live / "asked.json").read_text()) | {"holder": GONE | {"host": _here()}}
    (live / "asked.json").write_text(json.dumps(asked))
    (run,) = gc(live.parents[1]).recovered
    assert run.status == "interrupted"
    assert "was killed" in run.manifest["exception"]["message"]
    history = pd.read_parquet(run.sessions["unrecorded-1"] / "history.parquet")
    assert history["epoch"].tolist() == [1.5]
    assert run.manifest["seeds"] == [7]
    assert verify(run) == ()
    assert [one.name for one in list_runs(live.parents[1])] == ["live"]
    assert gc(live.parents[1]) == Cleaned()


def test_it_removes_only_what_is_empty(build_run: Callable[..., Path]) -> None:
    """A folder that nothing was written into yet, and that is old."""
    building = build_run("nothing")
    for path in ("asked.json", "log.txt", "notebook.ipynb"):
        (building / path).unlink()
    assert gc(building.parents[1]) == Cleaned(running=("nothing",))
    os.utime(building, (0, 0))
    assert gc(building.parents[1]) == Cleaned(removed=("nothing",))
    assert not building.exists()


def test_it_never_removes_what_a_notebook_has_written(build_run: Callable[..., Path]) -> None:
    """Even where nothing says what it was written by."""
    building = build_run("early")
    for path in ("asked.json", "log.txt", "notebook.ipynb"):
        (building / path).unlink()
    (building / "files" / "mine.csv").write_text("1")
    os.utime(building, (0, 0))
    assert gc(building.parents[1]).kept
    assert (building / "files" / "mine.csv").exists()


def test_it_keeps_lines_that_make_no_table(live: Path) -> None:
    """A damaged line, of another type or none at all, must not cost the others."""
    lines = live / "sessions" / "unrecorded-1" / "history.jsonl"
    lines.write_text(json.dumps(ROW) + "\n" + json.dumps(ROW | {"epoch": "1.5"}) + "\n")
    (live / "sessions" / "unrecorded-1" / "events.jsonl").write_text("damaged\n")
    asked = json.loads((live / "asked.json").read_text()) | {"holder": GONE | {"host": _here()}}
    (live / "asked.json").write_text(json.dumps(asked))
    (run,) = gc(live.parents[1]).recovered
    kept = {path.name for path in run.sessions["unrecorded-1"].glob("*.jsonl")}
    assert kept == {"history.jsonl", "events.jsonl"}
    assert verify(run) == ()


def test_it_reads_what_is_running_while_it_is_published(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is over between two looks isn't running, and no error."""

    def publish_first(building: Path) -> dict[str, object]:
        building.rename(live.parents[1] / "live")
        return {}

    monkeypatch.setattr(watching, "read_asked", publish_first)
    assert running(live.parents[1]) == []


def test_it_keeps_what_it_cannot_make_a_run_of(build_run: Callable[..., Path]) -> None:
    """With the reason."""
    building = build_run("odd")
    (building / "asked.json").write_text("{")
    os.utime(building, (0, 0))
    (kept,) = gc(building.parents[1]).kept
    assert "odd: " in kept
    assert (building / "log.txt").exists()


def test_it_cleans_one_at_a_time(make_run: Callable[..., Run]) -> None:
    """A second gc is refused while the first is at it; a store that isn't there needs none."""
    store = make_run().folder.parent
    with lease(store, "gc"), pytest.raises(RunError, match="is running the same request"):
        gc(store)
    assert gc(store / "nowhere") == Cleaned()


def _here() -> str:
    """Return this host's name."""
    return socket.gethostname()
