"""The record: columns with units, types also where nothing happened, and files as it happens."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from crossbow_lab.averaging import SSGD
from crossbow_lab.errors import ConfigurationError, RunError
from crossbow_lab.session import Accuracy, Recipe, Row, Session, TimeToAccuracy
from crossbow_lab.session.history import Event, LearnerRow, Log, Record, from_json, time_to_accuracy, to_json

Make = Callable[..., Session]

COLUMNS = {
    "iteration": "int64",
    "epoch": "float64",
    "samples": "int64",
    "elapsed_s": "float64",
    "evaluation_s": "float64",
    "samples_per_s": "float64",
    "train_loss": "float64",
    "test_loss": "float64",
    "test_accuracy": "float64",
    "divergence": "float64",
    "learners": "int64",
    "batch_size": "int64",
    "learning_rate": "float64",
    "algorithm": "str",
    "noise_scale_learners": "float64",
    "noise_scale_probe": "float64",
    "devices": "int64",
    "samples_per_s_per_device": "float64",
}
EVENT_COLUMNS = {"iteration": "int64", "epoch": "float64", "elapsed_s": "float64", "kind": "str", "detail": "str"}
LEARNER_COLUMNS = {"iteration": "int64", "learner": "int64", "train_loss": "float64", "distance": "float64"}


def types_of(table: pd.DataFrame) -> dict[str, str]:
    """Return a table's columns and their types; texts are "str" whichever pandas holds them."""
    return {name: "str" if str(kind) == "object" else str(kind) for name, kind in table.dtypes.items()}


@pytest.mark.parametrize("iterations", [0, 5])
def test_tables_have_their_columns_and_types_from_the_start(make: Make, iterations: int) -> None:
    """Empty or not."""
    session = make()
    if iterations:
        session.run(iterations=iterations)
    assert types_of(session.history) == COLUMNS
    assert types_of(session.learner_history) == LEARNER_COLUMNS
    assert types_of(session.events) == EVENT_COLUMNS


def test_rows_say_what_was_in_force(make: Make) -> None:
    """Setting, samples and epochs of the moment of the evaluation."""
    session = make(learning_rate=0.25)
    session.run(iterations=10)
    session.adjust(learners=3, learning_rate=0.5, algorithm=SSGD())
    session.run(iterations=10)
    first, second = session.history.to_dict("records")
    assert (first["learners"], first["batch_size"], first["learning_rate"], first["algorithm"]) == (2, 8, 0.25, "SMA")
    assert (second["learners"], second["learning_rate"], second["algorithm"]) == (3, 0.5, "S-SGD")
    assert (first["samples"], second["samples"]) == (160, 160 + 240)
    assert second["epoch"] == 400 / 1437
    assert second["samples_per_s"] == pytest.approx(240 / (second["elapsed_s"] - first["elapsed_s"]))
    assert second["divergence"] == 0.0


def test_the_folder_can_be_read_while_training(make: Make, tmp_path: Path, wait_for: Any) -> None:
    """Each row and event is a whole line as soon as it is there; adjustments are in the recipe at once."""
    folder = tmp_path / "deep" / "run"
    session = make(folder=folder, evaluate_every=0.05)
    recipe = Recipe.from_json((folder / "recipe.json").read_text())
    assert recipe == session.recipe
    session.start()
    wait_for(lambda: (folder / "history.jsonl").read_text().count("\n") > 3)
    lines = (folder / "history.jsonl").read_text().splitlines()
    assert all(list(json.loads(line)) == list(COLUMNS) for line in lines)
    session.adjust(learners=3)
    wait_for(lambda: not session.snapshot.requested)
    assert Recipe.from_json((folder / "recipe.json").read_text()).adjustments == session.recipe.adjustments
    assert not list(folder.glob("*.parquet"))
    session.stop()
    assert Recipe.from_json((folder / "recipe.json").read_text()) == session.recipe
    session.close()
    for name, table in (
        ("history", session.history),
        ("learners", session.learner_history),
        ("events", session.events),
    ):
        pd.testing.assert_frame_equal(pd.read_parquet(folder / f"{name}.parquet"), table)
        assert len((folder / f"{name}.jsonl").read_text().splitlines()) == len(table)
    assert not list(folder.glob(".*"))


def test_a_session_that_never_trained_leaves_typed_tables(make: Make, tmp_path: Path) -> None:
    """Parquet files with the columns and no rows."""
    make(folder=tmp_path).close()
    assert types_of(pd.read_parquet(tmp_path / "history.parquet")) == COLUMNS


def test_a_folder_with_another_sessions_record_is_refused(make: Make, tmp_path: Path) -> None:
    """Two sessions would be mixed, or one overwritten: give another."""
    session = make(folder=tmp_path).run(iterations=2)
    before = (tmp_path / "history.jsonl").read_text()
    with pytest.raises(ConfigurationError, match=r"history.jsonl is there already: .*; give a new folder"):
        make(folder=tmp_path)
    path = session.checkpoint(tmp_path / "a.safetensors")
    with pytest.raises(ConfigurationError, match="give a new folder"):
        Session.restore(path, folder=tmp_path)
    assert (tmp_path / "history.jsonl").read_text() == before


@pytest.mark.parametrize("folder", [7, b"run"])
def test_a_folder_must_be_a_path(make: Make, folder: Any) -> None:
    """It says so."""
    with pytest.raises(ConfigurationError, match=r"folder is .*; it must be a path"):
        make(folder=folder)


def test_a_folder_that_cannot_be_made_is_refused(make: Make, tmp_path: Path) -> None:
    """It says why, and what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="can't be written to"):
        make(folder=tmp_path / "file" / "run")


class FullFile:
    """A file on a disk without space."""

    def write(self, _: str) -> None:
        """Fail as a full disk does."""
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        """Close."""


def test_a_full_disk_fails_the_session_but_loses_nothing(make: Make, tmp_path: Path) -> None:
    """Memory has the rows, the message says how to go on, and doing so works."""
    session = make(folder=tmp_path / "run", evaluate_every=0.1)
    session.run(epochs=0.2)
    file = session._loop.record.rows._file
    assert file is not None
    file.close()
    session._loop.record.rows._file = FullFile()  # type: ignore[assignment]
    with pytest.raises(RunError, match=r"history.jsonl can't be written .*No space left.*\. Nothing is lost"):
        session.run(epochs=1)
    assert session.state == "failed"
    assert len(session.history) == 3
    restored = Session.restore(session.checkpoint(tmp_path / "saved"), folder=tmp_path / "second")
    restored.run(epochs=0.2)
    assert len(restored.history) == 5
    assert len((tmp_path / "second" / "history.jsonl").read_text().splitlines()) == 5
    restored.close()


def row(accuracy: float, number: int = 0) -> Row:
    """Return a row with this test accuracy."""
    values: dict[str, Any] = {field.name: field.type(0) for field in dataclasses.fields(Row)}
    return Row(**{**values, "test_accuracy": accuracy, "epoch": float(number), "elapsed_s": 10.0 * number})


@pytest.mark.parametrize(
    ("accuracies", "window", "reached_at"),
    [
        ([0.9] * 5, 5, 4),
        ([0.9] * 4, 5, None),
        ([0.1, 0.95, 0.1, 0.95, 0.95], 5, 4),
        ([0.1, 0.95, 0.1, 0.95, 0.1, 0.95, 0.95], 5, 5),
        ([0.1, 0.9, 0.1], 1, 1),
        ([0.8, 1.0], 2, 1),
        ([math.nan] * 9, 5, None),
        ([0.9, math.nan, 0.9, 0.9, 0.9], 3, 4),
        ([], 1, None),
    ],
)
def test_time_to_accuracy_is_when_the_median_of_a_window_first_reaches_the_target(
    accuracies: list[float], window: int, reached_at: int | None
) -> None:
    """One lucky evaluation doesn't count, an incomplete window or a NaN neither."""
    rows = [row(accuracy, number) for number, accuracy in enumerate(accuracies)]
    found = time_to_accuracy(rows, Accuracy(0.9, window))
    expected = None
    if reached_at is not None:
        expected = TimeToAccuracy(epochs=float(reached_at), seconds=10.0 * reached_at, samples=0)
    assert found == expected


@pytest.mark.parametrize("window", [0, -1, 1.5, True, None])
def test_a_window_is_a_whole_number_of_evaluations(window: Any) -> None:
    """At least one."""
    with pytest.raises(ConfigurationError, match=r"window, in evaluations, is .*; it must be a whole number >= 1"):
        Accuracy(0.9, window)


def test_entries_survive_json() -> None:
    """NaN becomes null and comes back."""
    entries = (row(math.nan), LearnerRow(1, 0, 0.1, 2.0), Event(3, 0.5, 1.5, "kind", "detail: ü"))
    for entry in entries:
        text = json.dumps(to_json(entry), allow_nan=False)
        assert repr(from_json(type(entry), json.loads(text))) == repr(entry)


def test_a_log_without_a_path_is_kept_in_memory() -> None:
    """And closing it does nothing."""
    log = Log(Event)
    log.add(Event(0, 0.0, 0.0, "a", "b"))
    log.close()
    assert log.frame().kind.tolist() == ["a"]


def test_a_table_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill while it is written leaves the lines, and no table that looks like one."""
    log = Log(Event, tmp_path / "events.jsonl")
    log.add(Event(0, 0.0, 0.0, "a", "b"))

    def write_half(self: pd.DataFrame, path: Path, **_: Any) -> None:
        Path(path).write_bytes(b"PAR1")
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_parquet", write_half)
    with pytest.raises(KeyboardInterrupt):
        log.close()
    assert not (tmp_path / "events.parquet").exists()
    assert json.loads((tmp_path / "events.jsonl").read_text())["kind"] == "a"


def test_a_record_goes_on_from_a_past(tmp_path: Path) -> None:
    """Its entries are in memory and in the new folder."""
    past: dict[str, list[Any]] = {"history": [row(0.5)], "learners": [], "events": [Event(0, 0.0, 0.0, "a", "b")]}
    record = Record(tmp_path, past)
    record.rows.add(row(0.6))
    assert record.rows.frame().test_accuracy.tolist() == [0.5, 0.6]
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2
    assert record.entries_to_json()["events"] == [to_json(past["events"][0])]
    record.close()
