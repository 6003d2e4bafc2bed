"""Opening dashboards: one for each session, one view for each cell, and none where nobody looks."""

import json
import signal
import threading
from typing import Any

import pytest

from crossbow_lab.dashboard import Dashboard, is_headless
from crossbow_lab.dashboard import dashboard as dashboards
from crossbow_lab.errors import ConfigurationError, DivergedError, RunError
from crossbow_lab.session import Accuracy

WIDGET = "application/vnd.jupyter.widget-view+json"
RESULT = "application/vnd.crossbow.result+json"


@pytest.fixture(autouse=True)
def somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say nothing about whether there are widgets."""
    monkeypatch.delenv("CROSSBOW_HEADLESS", raising=False)


def test_a_session_has_one_dashboard_with_a_view_for_each_cell(make: Any, notebook: Any) -> None:
    """Shown where it is called, also in the middle of a cell, and not again as the cell's last value."""
    session = make()
    first = session.dashboard()
    first._ipython_display_()
    assert session.dashboard() is first
    assert len(notebook.shown) == 1
    notebook.end_cell()
    first._ipython_display_()
    assert len(notebook.shown) == 2
    assert len({bundle[WIDGET]["model_id"] for bundle, _ in notebook.shown}) == 1


def test_its_text_is_the_same_each_time(make: Any, notebook: Any) -> None:
    """So that an executed notebook compares equal, and an untrusted one says what was there."""
    session = make("mlp", seed=3)
    session.dashboard()
    (bundle, _), *_ = notebook.shown
    assert bundle["text/plain"] == "<live dashboard of mlp on digits, seed 3>"


def test_outside_of_a_notebook_nothing_is_shown(make: Any, capsys: Any) -> None:
    """The dashboard works all the same."""
    assert make().dashboard(ui="live").live.pump.is_alive
    assert capsys.readouterr().out == ""


def test_a_cell_that_is_executed_again_closes_what_it_showed(make: Any, notebook: Any) -> None:
    """Nobody sees that any more; what is shown elsewhere too stays, and so does what the same cell shows beside it."""
    gone, kept = make().dashboard(), make().dashboard()
    assert (gone.is_closed, kept.is_closed) == (False, False)
    notebook.end_cell("second")
    kept.display()
    notebook.end_cell("first")
    again = make().dashboard()
    assert (gone.is_closed, kept.is_closed, again.is_closed) == (True, False, False)
    notebook.end_cell("second")
    again.display()
    assert kept.is_closed
    notebook.end_cell("first")
    make().dashboard()
    assert not again.is_closed


def test_where_nothing_tells_cells_apart_nothing_is_closed(make: Any, notebook: Any) -> None:
    """Only JupyterLab says which cell is executed."""
    notebook.cell_id = None
    first = make().dashboard()
    notebook.end_cell(None)
    make().dashboard()
    assert not first.is_closed


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False), ("", False), (None, False)])
def test_the_environment_says_whether_anybody_looks(
    make: Any, monkeypatch: pytest.MonkeyPatch, value: str | None, expected: bool
) -> None:
    """Unless the argument does."""
    if value is not None:
        monkeypatch.setenv("CROSSBOW_HEADLESS", value)
    assert is_headless() is expected
    assert (make().dashboard().live is None) is expected
    assert make().dashboard(ui="live").live is not None
    assert make().dashboard(ui="off").live is None


def test_another_ui_takes_the_place_of_what_is_open(make: Any) -> None:
    """Asking for the same, or for nothing, doesn't."""
    session = make()
    live = session.dashboard(ui="live")
    assert session.dashboard(ui="auto") is live
    off = session.dashboard(ui="off")
    assert off is not live
    assert live.live is None
    assert session.dashboard() is off


def test_arguments_are_checked(make: Any) -> None:
    """Each error says what to give."""
    session = make()
    with pytest.raises(ConfigurationError, match='ui is \'on\'; give "live", "off" or "auto"'):
        session.dashboard(ui="on")
    with pytest.raises(ConfigurationError, match="rate_hz is 0; give updates a second, up to 30"):
        session.dashboard(rate_hz=0)
    with pytest.raises(ConfigurationError, match="target accuracy 97"):
        session.dashboard(target=97)
    assert dashboards._OPEN == {}


def test_the_rate_can_be_changed(make: Any) -> None:
    """None leaves it."""
    session = make()
    shown = session.dashboard(ui="live", rate_hz=5)
    session.dashboard()
    assert shown.live.pump.period_s == pytest.approx(0.2)
    session.dashboard(rate_hz=20)
    assert shown.live.pump.period_s == pytest.approx(0.05)


def test_without_widgets_the_report_comes_in_the_cell_that_asked_for_the_dashboard(make: Any, notebook: Any) -> None:
    """First a line of text; after the cells in which training went on, figure, table and result of the final data."""
    session = make(evaluate_every=0.5)
    session.dashboard(ui="off", target=0.5)
    assert all("image/png" not in bundle for bundle, _ in notebook.shown)
    notebook.end_cell()
    first, placed = len(notebook.shown), [about["display_id"] for _, about in notebook.shown]
    session.run(epochs=2)
    notebook.end_cell()
    (figure, about), (table, _) = notebook.shown[first:]
    assert [about["display_id"] for _, about in notebook.shown[first:]] == placed
    assert about["update"] is True
    assert {"image/png", "application/vnd.plotly.v1+json", RESULT, "text/plain"} == set(figure)
    assert figure[RESULT]["iteration"] == session.snapshot.iteration
    assert figure[RESULT]["fingerprint"] == session.fingerprint()
    assert "<table" in table["text/html"]
    notebook.end_cell()
    assert len(notebook.shown) == first + 2, "nothing was trained since"
    assert not any(WIDGET in bundle for bundle, _ in notebook.shown)


def test_a_report_waits_until_training_in_the_background_has_ended(make: Any, notebook: Any) -> None:
    """Its numbers are final ones."""
    session = make(evaluate_every=0.5)
    session.dashboard(ui="off")
    count = len(notebook.shown)
    session.start()
    notebook.end_cell()
    assert len(notebook.shown) == count
    session.stop()
    notebook.end_cell()
    assert notebook.shown[-2][0][RESULT]["state"] == "stopped"


def test_the_report_takes_less_than_a_hundred_kilobytes(make: Any, notebook: Any) -> None:
    """However long the history, and however many adjustments there were."""
    session = make(evaluate_every=0.02)
    for learners in range(1, 9):
        session.adjust(learners=learners)
        session.run(epochs=1)
    assert len(session.history) > 300
    shown = session.dashboard(ui="off", target=0.8)
    shown.display()
    size = sum(len(json.dumps(bundle)) for bundle, _ in notebook.shown)
    assert size < 100_000
    shown.report()._ipython_display_()
    assert len(notebook.shown) == 4


def test_a_failed_session_has_a_report_too(make: Any) -> None:
    """With its error, and without a fingerprint: z is no model."""
    session = make("mlp", learning_rate=1e20)
    with pytest.raises(DivergedError):
        session.run(epochs=5)
    result = session.dashboard(ui="off").report().result
    assert result["state"] == "failed"
    assert "became" in result["error"]
    assert "fingerprint" not in result


def test_run_live_trains_to_its_limit_with_the_views_up_to_date(make: Any, wait_for: Any) -> None:
    """The target is drawn; whoever calls it keeps the views up to date, not the pump's thread."""
    session = make(evaluate_every=0.5)
    ticks = []
    shown = session.dashboard(ui="live")
    tick = shown.live.pump._tick
    shown.live.pump._tick = lambda: (ticks.append(threading.current_thread()), tick())
    assert session.run_live(seconds=0.7, until=0.999) is session
    assert session.state == "finished"
    assert shown.target == Accuracy(0.999)
    assert ticks.count(threading.main_thread()) >= 4
    assert shown.live.board.length("test") == len(session.history)


def test_run_live_raises_what_went_wrong(make: Any) -> None:
    """So that a notebook doesn't go on as if nothing had happened."""
    session = make("mlp", learning_rate=1e20)
    with pytest.raises(RunError, match=r"training failed: the loss of learner .* became"):
        session.run_live(epochs=5, ui="live")
    without = make("mlp", learning_rate=1e20)
    with pytest.raises(DivergedError):
        without.run_live(epochs=5, ui="off")


def test_interrupting_run_live_stops_training(make: Any) -> None:
    """Between two iterations; the session can go on afterwards."""
    session = make()
    session.dashboard(ui="live")
    timer = threading.Timer(0.5, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        session.run_live()
    timer.join()
    assert session.state == "stopped"
    assert session.run(iterations=2).state == "finished"


def test_run_live_without_widgets_prints_lines_and_shows_a_report(
    make: Any, notebook: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And needs a limit, as nobody could stop it."""
    monkeypatch.setattr("crossbow_lab.session.loop._PROGRESS_EVERY_S", 0.01)
    session = make(evaluate_every=0.5)
    with pytest.raises(ConfigurationError, match="nothing says when to end"):
        session.run_live(ui="off")
    session.run_live(seconds=1.0, ui="off")
    assert "samples/s" in capsys.readouterr().out
    assert "image/png" in notebook.shown[-2][0]


def test_a_dashboard_can_be_made_by_hand(make: Any, notebook: Any) -> None:
    """It is shown as a cell's last value."""
    made = Dashboard(make(), target=0.9)
    assert notebook.shown == []
    made._ipython_display_()
    assert WIDGET in notebook.shown[0][0]
    made.close()
    made.close()
    notebook.end_cell()
    made.display()
    assert len(notebook.shown) == 1
