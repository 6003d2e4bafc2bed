"""How a notebook hands its results to the record of its run."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from crossbow_lab.errors import RunError
from crossbow_lab.runs import record

TABLE = pd.DataFrame({"algorithm": ["SMA"], "epochs_to_target": [math.inf], "final_accuracy": [0.97]})


def _session(seed: int = 0, folder: Path | None = None) -> Any:
    """Return something with what is recorded of a session."""
    return SimpleNamespace(
        history=pd.DataFrame({"epoch": [1.0, 2.0], "test_accuracy": [0.5, 0.9]}),
        events=pd.DataFrame({"iteration": [0], "kind": ["executor"]}),
        learner_history=pd.DataFrame({"learner": [0]}),
        snapshot=SimpleNamespace(
            state="finished",
            epoch=2.0,
            samples=20,
            elapsed_s=1.5,
            evaluation_s=0.5,
            test_accuracy=math.nan,
        ),
        record=SimpleNamespace(folder=folder, release=lambda: None),
        recipe=SimpleNamespace(seed=seed, to_json=lambda: '{"schema": 1}'),
        fingerprint=lambda: f"fingerprint {seed}",
    )


def test_it_writes_nothing_outside_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Interactively the table comes back and that is all."""
    monkeypatch.delenv("CROSSBOW_RUN_FOLDER", raising=False)
    monkeypatch.chdir(tmp_path)
    assert record({"SMA": _session()}, TABLE) is TABLE
    assert list(tmp_path.iterdir()) == []


def test_it_writes_sessions_and_result_inside_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Histories and events come back from Parquet; what isn't finite is null in JSON."""
    monkeypatch.setenv("CROSSBOW_RUN_FOLDER", str(tmp_path))
    assert record({"SMA": [_session(3), _session(4)], "S-SGD": _session()}, TABLE) is TABLE
    folder = tmp_path / "sessions" / "SMA-seed4"
    assert pd.read_parquet(folder / "history.parquet")["test_accuracy"].tolist() == [0.5, 0.9]
    assert pd.read_parquet(folder / "events.parquet")["kind"].tolist() == ["executor"]
    assert (folder / "recipe.json").read_text() == '{"schema": 1}'
    assert pd.read_parquet(folder / "learners.parquet")["learner"].tolist() == [0]
    result = json.loads((tmp_path / "result.json").read_text())
    sessions = result.pop("sessions")
    assert set(sessions) == {"SMA-seed3", "SMA-seed4", "S-SGD"}
    assert sessions["S-SGD"]["train_s"] == 1.5
    assert sessions["S-SGD"]["test_accuracy"] is None
    assert result == {
        "schema": 2,
        "fingerprints": {"SMA-seed3": "fingerprint 3", "SMA-seed4": "fingerprint 4", "S-SGD": "fingerprint 0"},
        "table": [{"algorithm": "SMA", "epochs_to_target": None, "final_accuracy": 0.97}],
    }


def test_it_replaces_what_a_session_wrote_while_it_trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The lines of the run's own folder go when the tables are there; a folder of the user's stays."""
    monkeypatch.setenv("CROSSBOW_RUN_FOLDER", str(tmp_path / "run"))
    live, own = tmp_path / "run" / "sessions" / "unrecorded-1", tmp_path / "own"
    for folder in (live, own):
        folder.mkdir(parents=True)
        (folder / "history.jsonl").write_text("{}\n")
    record({"SMA": _session(folder=live), "S-SGD": _session(folder=own)})
    assert {path.name for path in live.parent.iterdir()} == {"SMA", "S-SGD"}
    assert (own / "history.jsonl").exists()


def test_it_refuses_to_record_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A second record would leave the first one's files standing."""
    monkeypatch.setenv("CROSSBOW_RUN_FOLDER", str(tmp_path))
    record({"SMA": _session()})
    with pytest.raises(RunError, match="already recorded its results"):
        record({"S-SGD": _session()})


@pytest.mark.parametrize("label", ["../up", "a/b", "", ".hidden", "two words"])
def test_it_refuses_labels_that_cannot_name_a_folder(label: str) -> None:
    """Also outside a run, so that a notebook doesn't fail only when it is run for the record."""
    with pytest.raises(RunError, match="can't name a folder"):
        record({label: _session()})


def test_it_refuses_two_sessions_of_one_name() -> None:
    """Two sessions of one label with one seed would overwrite each other."""
    with pytest.raises(RunError, match="two sessions would be recorded as 'SMA-seed1'"):
        record({"SMA": [_session(1), _session(1)]})
