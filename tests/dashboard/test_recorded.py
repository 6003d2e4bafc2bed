"""Records on disk."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from crossbow_lab.dashboard.recorded import of_history, of_session, read, snapshot
from crossbow_lab.errors import RunError
from crossbow_lab.runs.recording import write_session


@pytest.fixture
def session(make: Any, tmp_path: Path) -> Any:
    """Give a session with a folder and two evaluations."""
    return make(evaluate_every=0.5, folder=tmp_path / "run").run(epochs=1)


def test_a_session_s_own_folder_is_read_while_it_is_open_and_after(session: Any, tmp_path: Path) -> None:
    """JSON lines while it trains, Parquet once it is closed: the same entries."""
    open_ = read(tmp_path / "run")
    session.close()
    (tmp_path / "run" / "history.jsonl").unlink()
    closed = read(tmp_path / "run")
    assert open_ == closed
    assert list(open_.rows) == session.record.rows.entries
    assert list(open_.learner_rows) == session.record.learner_rows.entries
    assert list(open_.events) == session.record.events.entries
    assert open_.recipe == session.recipe


def test_what_is_saved_is_read_again(session: Any, tmp_path: Path) -> None:
    """Nothing is lost."""
    run = session.save_run(tmp_path / "runs")
    found = read(run.folder)
    assert (found.name, found.recipe) == ("session", session.recipe)
    expected = of_session(session)
    assert (found.rows, found.learner_rows, found.events) == (expected.rows, expected.learner_rows, expected.events)


def test_a_line_that_is_cut_short_is_left_out(session: Any, tmp_path: Path) -> None:
    """A killed session leaves one."""
    with (tmp_path / "run" / "history.jsonl").open("a") as file:
        file.write('{"iteration": 9')
    assert len(read(tmp_path / "run").rows) == len(session.history)


def test_a_run_s_folder_holds_several_sessions(session: Any, tmp_path: Path) -> None:
    """One of them must be chosen, unless there is only one."""
    run = tmp_path / "published"
    write_session(run / "sessions" / "SMA-seed0", session)
    assert read(run).name == "SMA-seed0"
    write_session(run / "sessions" / "SMA-seed1", session)
    with pytest.raises(RunError, match=r"several sessions: SMA-seed0, SMA-seed1; choose one with session="):
        read(run)
    assert read(run, "SMA-seed1").name == "SMA-seed1"
    with pytest.raises(RunError, match=r"no session 'SMA-seed2'; did you mean 'SMA-seed"):
        read(run, "SMA-seed2")


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    """With what to give instead."""
    with pytest.raises(RunError, match="holds no record; give a run's folder"):
        read(tmp_path)
    (tmp_path / "history.jsonl").write_text('{"iteration": "what"}\n')
    with pytest.raises(RunError, match=r"can't be read .*; take an undamaged copy"):
        read(tmp_path)
    with pytest.raises(RunError, match=r"no history: .*it lacks iteration.*; give session.history"):
        of_history(pd.DataFrame({"epoch": [1.0]}))


def test_a_history_alone_is_a_record(session: Any) -> None:
    """Also with a column of numbers less, as other versions may have."""
    recorded = of_history(session.history)
    assert recorded.rows == of_session(session).rows
    assert recorded.events == ()
    shorter = of_history(session.history.drop(columns="divergence"))
    assert [row.iteration for row in shorter.rows] == [row.iteration for row in recorded.rows]


def test_snapshots_of_a_record_are_those_of_its_evaluations(session: Any) -> None:
    """Number 0 is before it trained."""
    recorded = of_session(session)
    last = snapshot(recorded, 2)
    assert (last.iteration, last.test_accuracy) == (recorded.rows[1].iteration, recorded.rows[1].test_accuracy)
    assert last.epoch_samples == session.snapshot.epoch_samples
    start = snapshot(recorded, 0)
    assert (start.iteration, start.elapsed_s, start.learners) == (0, 0.0, 2)
    assert start.train_loss != start.train_loss
