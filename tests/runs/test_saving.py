"""An interactive session as a run, and runs that are run again."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import crossbow_lab as cb
from crossbow_lab.errors import RunError
from crossbow_lab.runs import Run, list_runs, replaying
from crossbow_lab.runs.comparing.trials import read_trials
from crossbow_lab.runs.records.verifying import verify
from crossbow_lab.runs.replaying import replay


@pytest.fixture
def session() -> cb.Session:
    """Return a session that was adjusted while it trained."""
    session = cb.Session("logreg", "digits", learners=2, batch_size=8, executor="loop", threads=1)
    session.run(iterations=20)
    session.adjust(learners=4, learning_rate=0.02)
    return session.run(iterations=20)


@pytest.mark.slow
def test_it_is_replayed_by_papermill_to_the_same_bits(session: cb.Session, tmp_path: Path) -> None:
    """The saved session is a run like any other; its replay is another, with the same z."""
    run = session.save_run(tmp_path / "runs", name="afternoon")
    assert (run.status, run.key, run.manifest["kind"]) == ("completed", None, "session")
    assert run.folder.name.startswith("afternoon-")
    assert verify(run) == ()
    assert run.fingerprints == {"session": session.fingerprint()}
    assert cb.Recipe.from_json((run.folder / "recipe.json").read_text()) == session.recipe
    pd.testing.assert_frame_equal(pd.read_parquet(run.sessions["session"] / "history.parquet"), session.history)
    assert run.manifest["sessions"]["session"]["adjustments"] == 1
    done = replay(run, runs_dir=tmp_path / "runs")
    assert done.again.status == "completed", done.again.manifest["exception"]
    assert done.is_same
    assert done.again.manifest["provenance"]["replays"] == run.folder.name
    assert [one.kind for one in list_runs(tmp_path / "runs")] == ["session", "notebook"]
    assert verify(done.again) == ()


def test_what_instruments_and_policies_did_is_in_the_run(tmp_path: Path) -> None:
    """Noise scales are columns of its history, decisions of the tuner adjustments of its recipe, which is replayed."""
    session = cb.Session(
        "logreg",
        "digits",
        cb.DiLoCo(sync_period=4),
        learners=2,
        batch_size=8,
        learning_rate_policy=cb.Cosine(length=2),
        executor="loop",
        threads=1,
        evaluate_every=0.2,
    )
    session.gradient_noise.start(every=2, probe_every=8)
    session.auto_tuner.start(window=cb.tuning.Window(seconds=0.0, iterations=2, windows=2, warm_up_s=0.0))
    run = session.run(iterations=60).save_run(tmp_path)
    history = pd.read_parquet(run.sessions["session"] / "history.parquet")
    pd.testing.assert_frame_equal(history, session.history)
    assert history[["noise_scale_learners", "noise_scale_probe"]].iloc[-1].notna().all()
    events = pd.read_parquet(run.sessions["session"] / "events.parquet")
    assert "tuner" in set(events["kind"])
    again = cb.Session(cb.Recipe.from_json((run.folder / "recipe.json").read_text())).run()
    assert again.recipe.adjustments == session.recipe.adjustments != ()
    assert run.fingerprints == {"session": again.fingerprint()}
    (trial,) = read_trials(run)
    assert trial.settings["algorithm"] == "DiLoCo"
    assert "Cosine" in trial.settings["learning_rate_policy"]


def test_it_can_go_on_after_it_was_saved(session: cb.Session, tmp_path: Path) -> None:
    """A second save is another run, of more iterations."""
    first = session.save_run(tmp_path)
    second = session.run(iterations=10).save_run(tmp_path)
    assert first.folder != second.folder
    assert [run.manifest["sessions"]["session"]["iterations"] for run in (first, second)] == [40, 50]


def test_it_refuses_a_session_that_trains_or_has_not_trained(session: cb.Session, tmp_path: Path) -> None:
    """With what to do first."""
    session.start()
    try:
        with pytest.raises(RunError, match=r"pause\(\) or stop\(\) it first"):
            session.save_run(tmp_path)
    finally:
        session.stop()
    fresh = cb.Session("logreg", "digits", learners=2, batch_size=8, executor="loop", threads=1)
    with pytest.raises(RunError, match="hasn't trained yet"):
        fresh.save_run(tmp_path)
    with pytest.raises(RunError, match="can't name a folder"):
        session.save_run(tmp_path, name="../up")
    assert not list(tmp_path.iterdir())


def test_it_says_what_differs_and_whether_z_is_the_same(
    make_run: Callable[..., Run], write_notebook: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record's own notebook is executed, with the recorded parameters, and its record is another."""
    path = write_notebook("n: int = 3")
    run = make_run(notebook={"path": str(path), "sha256": "0" * 64}, parameters={"n": 5})
    run.notebook.write_text(path.read_text())
    (run.folder / "result.json").write_text(json.dumps({"fingerprints": {"SMA": "1", "S-SGD": "2"}}))
    seen: dict[str, Any] = {}

    def run_request(request: Any, **options: Any) -> Any:
        seen.update(options, request=request)
        return SimpleNamespace(fingerprints={"SMA": "1", "S-SGD": "3"})

    monkeypatch.setattr(replaying, "run_request", run_request)
    done = replay(run)
    assert done.same == {"SMA": True, "S-SGD": False}
    assert not done.is_same
    assert done.differs_in[0] == "notebook"
    assert seen["source"] == run.notebook
    assert seen["force"] is True
    assert seen["name"] == "replay-small"
    assert seen["request"].injected == {"n": 5}
    assert seen["request"].notebook == path


def test_it_refuses_to_replay_what_it_could_not_compare(make_run: Callable[..., Run]) -> None:
    """Before anything runs."""
    with pytest.raises(RunError, match=r"has no fingerprint to compare with; .*cb\.record"):
        replay(make_run())


def test_it_is_recorded_as_it_trains_inside_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each session gets a folder of its own, until it is recorded under its name; one with a folder keeps it."""
    monkeypatch.setenv("CROSSBOW_RUN_FOLDER", str(tmp_path))
    options: dict[str, Any] = {"learners": 2, "batch_size": 8, "executor": "loop", "threads": 1}
    first, second = (cb.Session("logreg", "digits", **options) for _ in range(2))
    own = cb.Session("logreg", "digits", folder=tmp_path / "own", **options)
    first.run(iterations=5)
    sessions = tmp_path / "sessions"
    assert {path.name for path in sessions.iterdir()} == {"unrecorded-1", "unrecorded-2"}
    assert json.loads((sessions / "unrecorded-1" / "history.jsonl").read_text().splitlines()[0])["iteration"] == 5
    cb.record({"SMA": first})
    assert {path.name for path in sessions.iterdir()} == {"SMA", "unrecorded-2"}
    first.run(iterations=5)  # it can go on, in memory
    assert first.history["iteration"].tolist() == [5, 10]
    for session in (first, second, own):
        session.close()
    assert (tmp_path / "own" / "history.parquet").exists()
