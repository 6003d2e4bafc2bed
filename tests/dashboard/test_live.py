"""The live dashboard of a session that really trains; without a browser."""

import dataclasses
import html
import threading
from typing import Any

import ipywidgets
import pytest
import torch

from crossbow_lab import runs
from crossbow_lab.averaging import ALGORITHMS, EASGD, SMA, SSGD, DiLoCo, Downpour, KungFuSMA, LocalSGD, algorithm_name
from crossbow_lab.dashboard.pump import THREAD_NAME
from crossbow_lab.dashboard.views import plots
from crossbow_lab.session import Accuracy, Recipe, Session


@pytest.fixture
def opened(make: Any) -> Any:
    """Give a session whose dashboard is open."""
    session = make(evaluate_every=0.5, learning_rate=0.2)
    session.dashboard(ui="live", target=0.8)
    return session


def _widget(session: Any, name: str) -> Any:
    """Return the widget of a session's dashboard that has this class."""

    def within(widget: Any) -> Any:
        yield widget
        for child in getattr(widget, "children", ()):
            yield from within(child)

    box = session.dashboard().live.box
    (found,) = [widget for widget in within(box) if f"cb-{name}" in getattr(widget, "_dom_classes", ())]
    return found


def _status(session: Any) -> str:
    """Return the HTML of state and message."""
    value: str = session.dashboard().live._status.value
    return value


def _marks(session: Any) -> list[dict[str, Any]]:
    """Return the marks that a page finds."""
    return list(session.dashboard().live.board.get_state()["_about"]["marks"].values())


def test_it_shows_what_a_session_in_the_background_does(opened: Any, wait_for: Any) -> None:
    """All tables fill, and the numbers are the session's."""
    live = opened.dashboard().live
    opened.start(epochs=4).wait()
    wait_for(lambda: "finished" in live._status.value)
    wait_for(lambda: live.board.length("test") == len(opened.history))
    assert live.board.length("train") == live.board.length("learners") > 0
    assert f"{opened.snapshot.iteration:,}" in live._numbers.value


def test_it_shows_a_session_in_the_foreground_too(opened: Any, wait_for: Any) -> None:
    """As when a cell runs it: the pump needs no other thread."""
    live = opened.dashboard().live
    opened.run(epochs=2)
    wait_for(lambda: live.board.length("test") == 4)


@pytest.mark.parametrize(
    ("name", "value", "read", "expected"),
    [
        ("n-learners", 5, lambda s: s.learners, 5),
        ("batch-size", 3, lambda s: s.batch_size, 3),
        ("learning-rate", 0.01, lambda s: s.learning_rate, 0.01),
        ("sync-period", 4, lambda s: s.algorithm.sync_period, 4),
        ("algorithm", "EASGD", lambda s: s.algorithm, EASGD()),
        ("algorithm", "SSGD", lambda s: s.algorithm, SSGD()),
        ("alpha", 0.3, lambda s: s.algorithm, SMA(alpha=0.3)),
        ("momentum", 0.5, lambda s: s.algorithm, SMA(momentum=0.5)),
        ("local-momentum", 0.9, lambda s: s.algorithm, SMA(local_momentum=0.9)),
        ("executor", "fused", lambda s: s.executor, "fused"),
    ],
)
def test_every_control_adjusts_what_it_is_named_after(
    opened: Any, wait_for: Any, name: str, value: Any, read: Any, expected: Any
) -> None:
    """While it trains; and follows when it is adjusted elsewhere."""
    before = _widget(opened, name).value
    opened.start()
    _widget(opened, name).value = value
    wait_for(lambda: read(opened.snapshot.setting) == expected)
    opened.stop()
    assert [adjustment.changes for adjustment in opened.recipe.adjustments] != []
    opened.reset()
    wait_for(lambda: _widget(opened, name).value == pytest.approx(before) if name != "alpha" else True)
    assert opened.recipe.adjustments == ()


def test_alpha_is_automatic_until_it_is_set_and_shows_its_stable_range(opened: Any, wait_for: Any) -> None:
    """Two learners and central momentum 0.9: below 3.8 / 3.9."""
    automatic, alpha = _widget(opened, "alpha-auto"), _widget(opened, "alpha")
    wait_for(lambda: alpha.value == 0.5)
    assert automatic.value is True
    alpha.value = 0.3
    wait_for(lambda: automatic.value is False)
    automatic.value = True
    wait_for(lambda: opened.snapshot.setting.algorithm == SMA())
    wait_for(lambda: alpha.value == 0.5)
    notes = [control.note.value for control in opened.dashboard().live.settings._controls]
    assert any("stable: 0 &lt; α &lt; 0.974; now 0.5" in note for note in notes)


def test_every_algorithm_can_be_chosen(opened: Any, wait_for: Any) -> None:
    """By its name on plots; what an algorithm lacks can't be moved then, and the note says why."""
    choice, alpha, period = (_widget(opened, name) for name in ("algorithm", "alpha", "sync-period"))
    assert [label for label, _ in choice.options] == [algorithm_name(kind()) for kind in ALGORITHMS.values()]
    for name in list(ALGORITHMS)[::-1]:
        choice.value = name
        wait_for(lambda name=name: type(opened.snapshot.setting.algorithm).__name__ == name)
        opened.run(iterations=2)
        fields = {field.name for field in dataclasses.fields(ALGORITHMS[name])}
        wait_for(lambda fields=fields: alpha.disabled is ("alpha" not in fields))
        wait_for(lambda fields=fields: period.disabled is ("sync_period" not in fields))
    assert opened.state != "failed"


def test_another_algorithm_keeps_what_was_changed_and_only_that(opened: Any, wait_for: Any) -> None:
    """A period that nobody set isn't local SGD's; one that was set is, and what the next one lacks is dropped."""
    steps = [
        ({}, "LocalSGD", LocalSGD()),
        ({"sync_period": 5}, "DiLoCo", DiLoCo(sync_period=5)),
        ({}, "Downpour", Downpour()),
        ({"algorithm": SMA(alpha=0.3, momentum=0.5)}, "KungFuSMA", KungFuSMA(alpha=0.3)),
    ]
    for changes, name, expected in steps:
        if changes:
            opened.adjust(**changes)
        _widget(opened, "algorithm").value = name
        wait_for(lambda expected=expected: opened.snapshot.setting.algorithm == expected)


def test_what_is_refused_says_why_beside_the_control(opened: Any, wait_for: Any) -> None:
    """And the control goes back to what is in force."""
    batch = _widget(opened, "batch-size")
    batch.max = 100_000
    batch.value = 90_000
    notes = opened.dashboard().live.settings._controls
    wait_for(lambda: any("cb-refused" in control.note.value for control in notes))
    (note,) = [control.note.value for control in notes if "cb-refused" in control.note.value]
    assert "90000" in note
    wait_for(lambda: batch.value == 8)


def test_a_paused_session_shows_a_requested_value_at_once(opened: Any, wait_for: Any) -> None:
    """Not only when it goes on; with its mark on the plots."""
    opened.start()
    opened.pause()
    wait_for(lambda: opened.state == "paused")
    _widget(opened, "n-learners").value = 4
    assert opened.snapshot.learners == 4
    wait_for(lambda: [mark["text"] for mark in _marks(opened)] == ["learners 4"])


def test_one_drag_is_one_mark_and_every_step_of_it_is_in_the_recipe(opened: Any, wait_for: Any) -> None:
    """What took effect is what will be replayed."""
    opened.start()
    for value in (3, 4, 5, 6):
        _widget(opened, "n-learners").value = value
    wait_for(lambda: opened.snapshot.learners == 6)
    wait_for(lambda: [mark["text"] for mark in _marks(opened)] == ["learners 6"])
    opened.stop()
    assert [adjustment.changes["learners"] for adjustment in opened.recipe.adjustments] == [3, 4, 5, 6]


def test_the_buttons_do_what_they_say(opened: Any, wait_for: Any) -> None:
    """One after the other, as a user would."""

    def press(name: str) -> None:
        _widget(opened, name).click()

    press("step")
    wait_for(lambda: opened.snapshot.iteration == 1 and opened.state == "paused")
    press("step10")
    wait_for(lambda: opened.snapshot.iteration == 11 and opened.state == "paused")
    press("resume")
    wait_for(lambda: opened.snapshot.iteration > 12)
    press("pause")
    wait_for(lambda: opened.state == "paused")
    press("restart")
    wait_for(lambda: "restart" in list(opened.events["kind"]))
    press("stop")
    wait_for(lambda: opened.state == "stopped")
    press("start")
    wait_for(lambda: opened.state == "running")
    wait_for(lambda: opened.dashboard().live.board.length("test") > 0)
    press("reset")
    wait_for(lambda: opened.state == "ready" and opened.snapshot.iteration == 0)
    wait_for(lambda: opened.dashboard().live.board.length("test") == 0)
    press("step")
    wait_for(lambda: opened.dashboard().live.board.length("train") == 1)


def test_the_auto_tune_button_starts_a_search_and_ends_it(opened: Any, wait_for: Any) -> None:
    """It says what the search does, and every decision is marked in the plots."""
    button = _widget(opened, "tune")
    opened.start()
    button.click()
    wait_for(lambda: button.description.startswith("tuning: ") and "measuring" in button.tooltip)
    wait_for(lambda: any(mark["kind"] == "tuner" and "auto-tuner: try" in mark["text"] for mark in _marks(opened)))
    button.click()
    wait_for(lambda: button.description == "auto-tune")
    opened.stop()
    assert "tuner" in list(opened.events["kind"])


def test_a_button_that_makes_no_sense_is_pale_and_says_why_not(opened: Any, wait_for: Any) -> None:
    """It keeps the keyboard's place, as a disabled one wouldn't."""
    pause = _widget(opened, "pause")
    assert "cb-pale" in pause._dom_classes
    assert not pause.disabled
    pause.click()
    wait_for(lambda: "pause() while the session is ready; start() or run() it first" in _status(opened))
    opened.start()
    wait_for(lambda: "cb-pale" not in pause._dom_classes)
    _widget(opened, "step").click()
    wait_for(lambda: "pause() it first" in _status(opened))
    assert "cb-refused" in _status(opened)


def test_a_checkpoint_goes_where_the_message_says(opened: Any, wait_for: Any, tmp_path: Any, monkeypatch: Any) -> None:
    """Into the working folder, where the session has none."""
    monkeypatch.chdir(tmp_path)
    opened.run(epochs=1)
    _widget(opened, "checkpoint").click()
    wait_for(lambda: "written:" in _status(opened))
    (path,) = tmp_path.glob("crossbow-checkpoints/*.safetensors")
    assert str(path) in _status(opened)


def test_a_saved_run_is_a_run_like_any_other(opened: Any, wait_for: Any, tmp_path: Any, monkeypatch: Any) -> None:
    """Listed, verified, replayable to its fingerprint; training goes on after the moment that it is of."""
    monkeypatch.chdir(tmp_path)
    opened.start()
    wait_for(lambda: opened.snapshot.iteration > 0)
    _widget(opened, "save").click()
    wait_for(lambda: "saved:" in _status(opened))
    (listed,) = runs.list_runs("runs")
    assert (listed.status, listed.kind) == ("completed", "session")
    assert str(listed.folder) in _status(opened)
    run = runs.load_run(listed.folder)
    assert runs.verify(run) == ()
    wait_for(lambda: opened.state == "running")
    recipe = Recipe.from_json((run.folder / "recipe.json").read_text())
    wait_for(lambda: opened.snapshot.iteration > recipe.iterations)
    with Session(recipe) as again:
        assert run.fingerprints == {"session": again.run().fingerprint()}


def test_a_session_that_has_not_trained_says_why_it_is_no_run(
    opened: Any, wait_for: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    """And leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    assert "cb-pale" in _widget(opened, "save")._dom_classes
    _widget(opened, "save").click()
    wait_for(lambda: "hasn't trained yet" in html.unescape(_status(opened)))
    assert list(tmp_path.iterdir()) == []


def test_the_recipe_is_sent_to_the_page_that_asks(opened: Any, monkeypatch: Any) -> None:
    """As it is now."""
    sent: list[Any] = []
    button = opened.dashboard().live.buttons.recipe
    monkeypatch.setattr(button, "send", sent.append)
    opened.adjust(learners=3)
    button._handle_custom_msg({"type": "recipe", "asked": "x"}, [])
    assert sent == [{"recipe": opened.recipe.to_json(), "asked": "x"}]


def test_presets_say_why_and_adjust(opened: Any, wait_for: Any) -> None:
    """Each of them can be taken, or is refused in words."""
    choice, use, why = _widget(opened, "preset"), _widget(opened, "use-preset"), _widget(opened, "why")
    assert "The paper" in why.value
    said = set()
    for _, number in choice.options:
        choice.value = number
        said.add(why.value)
        use.click()
    assert len(said) == len(choice.options)
    wait_for(lambda: (opened.snapshot.learners, opened.snapshot.batch_size) == (2, 8))
    learners = [adjustment.changes.get("learners") for adjustment in opened.recipe.adjustments]
    assert learners == [8, 8, 2, None, None, 2]


def test_the_target_can_be_changed_on_the_page(opened: Any, wait_for: Any) -> None:
    """0 is none."""
    live = opened.dashboard().live
    opened.run(epochs=6)
    wait_for(lambda: "<div>to 80 %</div>" in live._numbers.value)
    live.target.value = 50
    wait_for(lambda: "<div>to 50 %</div><b>" in live._numbers.value and "epochs," in live._numbers.value)
    assert live.board.get_state()["_about"]["target"] == 0.5
    live.target.value = 0
    wait_for(lambda: "<div>target</div><b>none</b>" in live._numbers.value)
    opened.dashboard(target=Accuracy(0.9, 3))
    wait_for(lambda: "<div>to 90 %</div>" in live._numbers.value)
    assert live.target.value == pytest.approx(90)


def test_a_failure_is_shown_with_its_message_and_the_plots_stay(make: Any, wait_for: Any) -> None:
    """Reset is the way on."""
    session = make("mlp", learning_rate=0.05)
    live = session.dashboard(ui="live").live
    session.run(iterations=10)
    session.adjust(learning_rate=1e20)
    session.start()
    wait_for(lambda: session.state == "failed")
    wait_for(lambda: "training failed: the loss of learner" in live._status.value)
    assert "<details>" in live._status.value
    wait_for(lambda: [mark["kind"] for mark in _marks(session)][-1] == "failure")
    assert live.board.length("train") > 0
    _widget(session, "reset").click()
    wait_for(lambda: 'data-state="ready"' in live._status.value)


def test_it_works_without_test_data(make: Any, wait_for: Any) -> None:
    """No accuracy, so no target and no plot of either."""
    session = make(torch.nn.Linear(3, 1), (torch.randn(64, 3), torch.randn(64, 1)), loss="mse", evaluate_every=1.0)
    live = session.dashboard(ui="live").live
    session.run(epochs=2)
    wait_for(lambda: live.board.length("test") == 2)
    assert live.target.disabled
    titles = [plot.title for plot in plots(4, has_accuracy=False)]
    assert titles == ["Throughput", "Loss", "Loss of each learner", "Divergence"]


def test_a_pump_that_fails_says_so_and_training_goes_on(opened: Any, wait_for: Any, monkeypatch: Any) -> None:
    """Another dashboard can be opened in its place."""
    live = opened.dashboard().live
    opened.start()
    monkeypatch.setattr(live.board, "append", lambda _: 1 / 0)
    wait_for(lambda: "this dashboard has stopped (ZeroDivisionError: division by zero)" in live._status.value)
    assert opened.state == "running"
    assert opened.dashboard().live is not live
    assert opened.dashboard().live.pump.is_alive


def test_closing_it_leaves_training_alone(opened: Any, wait_for: Any) -> None:
    """No thread and no widget is left, and the session can have another."""
    first = opened.dashboard()
    opened.start()
    wait_for(lambda: first.live.board.length("train") > 0)
    first.close()
    assert [thread for thread in threading.enumerate() if thread.name == THREAD_NAME] == []
    assert not [widget for widget in ipywidgets.widgets.widget._instances.values() if "Board" in type(widget).__name__]
    assert opened.state == "running"
    second = opened.dashboard(ui="live")
    assert second is not first
    wait_for(lambda: second.live.board.length("train") > 0)


def test_it_costs_little(opened: Any, wait_for: Any) -> None:
    """Measured by itself: a share of one core."""
    pump = opened.dashboard().live.pump
    opened.start()
    wait_for(lambda: opened.dashboard().live.board.length("train") > 5)
    assert 0 < pump.cost_share < 0.5
