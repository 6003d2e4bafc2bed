"""Replays of recorded sessions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossbow_lab as cb
from crossbow_lab.errors import ConfigurationError, RunError


@pytest.fixture
def session(make: Any, tmp_path: Path) -> Any:
    """Give a session with a folder, four evaluations and an adjustment."""
    session = make(evaluate_every=0.5, folder=tmp_path / "run").run(epochs=1)
    session.adjust(learners=4)
    return session.run(epochs=1)


@pytest.fixture
def shown(session: Any) -> Any:
    """Give a live replay of it."""
    made = cb.replay(session).dashboard(target=0.5, ui="live")
    yield made
    made.close()


def test_it_shows_what_a_dashboard_that_is_opened_late_shows(session: Any, shown: Any) -> None:
    """The same rows, to the bit, and the same marks."""
    late = session.dashboard(ui="live").live.board
    replayed = shown.live.board
    for name, columns in late._wire.columns.items():
        theirs = replayed._wire.columns[name].everything()
        ours = columns.everything()
        if name == "learners":  # here as many columns as there were learners, there as many as there may be
            ours = np.concatenate([ours[:4], ours[4:8], ours[12:16]])
        np.testing.assert_array_equal(theirs, ours)
    assert replayed.get_state()["_about"]["marks"] == late.get_state()["_about"]["marks"]


@pytest.mark.parametrize("kind", ["folder", "text", "history", "session"])
def test_it_takes_whatever_holds_a_record(session: Any, tmp_path: Path, kind: str) -> None:
    """All have the same evaluations."""
    taken = {"folder": tmp_path / "run", "text": str(tmp_path / "run"), "history": session.history, "session": session}
    replay = cb.replay(taken[kind])
    assert [row.iteration for row in replay.recorded.rows] == list(session.history["iteration"])
    assert "4 evaluations, 2.0" in repr(replay)
    made = replay.dashboard(ui="live")
    assert made.live.board.length("test") == 4
    made.close()


def test_the_slider_moves_through_the_record(session: Any, shown: Any, wait_for: Any) -> None:
    """Plots, numbers and points show what was known then."""
    live, history = shown.live, session.history
    assert live.slider.value == live.slider.max == len(history)
    live.slider.value = 1
    wait_for(lambda: "evaluation 1 of 4" in live._status.value)
    assert f"{history['iteration'][0]:,}" in live._numbers.value
    wait_for(lambda: live.board.get_state()["_about"]["until"] == history["iteration"][0])
    live.slider.value = 0
    wait_for(lambda: "evaluation 0 of 4" in live._status.value)
    live.slider.value = 4
    wait_for(lambda: live.board.get_state()["_about"]["until"] is None)


def test_it_plays_to_the_end_and_again_from_the_beginning(shown: Any, wait_for: Any, monkeypatch: Any) -> None:
    """The slider moves by itself, and can be moved meanwhile."""
    live = shown.live
    seen = []
    live.slider.observe(lambda change: seen.append(change["new"]), "value")
    monkeypatch.setattr("crossbow_lab.dashboard.scrub._PLAYED_WITHIN_S", 1.0)
    live.play.value = True
    wait_for(lambda: live.play.value is False)
    assert seen == [0, 1, 2, 3, 4]


def test_without_widgets_it_is_a_report(session: Any, notebook: Any) -> None:
    """Of the whole record."""
    cb.replay(session).dashboard(ui="off", target=0.5)
    (figure, _), (table, _) = notebook.shown
    assert figure["application/vnd.crossbow.result+json"]["epochs_to_target"] is None
    assert "image/png" in figure
    assert "SMA, 4 learners" in table["text/plain"]


def test_what_can_not_be_replayed_is_refused(make: Any, tmp_path: Path) -> None:
    """In words."""
    with pytest.raises(RunError, match="has no evaluation, so there is nothing to replay"):
        cb.replay(make())
    with pytest.raises(RunError, match="holds no record"):
        cb.replay(tmp_path)
    with pytest.raises(ConfigurationError, match="record is 3; give a folder, a Run, a Session or its history"):
        cb.replay(3)
