"""One control: what it asks for, and what it shows."""

from dataclasses import replace
from typing import Any

import ipywidgets
import pytest

from crossbow_lab.averaging import SMA
from crossbow_lab.dashboard import control as controls
from crossbow_lab.dashboard.control import Control
from crossbow_lab.dashboard.looks import close_all
from crossbow_lab.session.setting import Setting

SETTING = Setting(SMA(), learners=4, batch_size=8, learning_rate=0.05, executor="loop")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Move controls as soon as they were let go."""
    monkeypatch.setattr(controls, "_HANDS_OFF_S", 0.0)


@pytest.fixture
def asked() -> list[Any]:
    """Give a list for what is asked for."""
    return []


@pytest.fixture
def learners(asked: list[Any]) -> Any:
    """Give a control of the number of learners, whose widget is a slider to 16."""
    made = Control(ipywidgets.IntSlider(4, 1, 16), ("learners",), lambda s: s.learners, asked.append, lambda _: "hint")
    yield made
    close_all(made.box)


@pytest.fixture
def rate(asked: list[Any]) -> Any:
    """Give a control of the learning rate, whose slider has ten steps to a power of ten."""
    slider = ipywidgets.FloatLogSlider(0.05, min=-4, max=1, step=0.1)
    made = Control(slider, ("learning_rate",), lambda s: s.learning_rate, asked.append)
    yield made
    close_all(made.box)


def test_it_asks_for_what_the_widget_is_set_to(learners: Control, asked: list[Any]) -> None:
    """And says that it was requested until it is in force; the widget stays where it was put."""
    learners.widget.value = 7
    assert asked == [7]
    learners.show(SETTING, replace(SETTING, learners=7))
    assert learners.widget.value == 7
    assert '"cb-requested"' in learners.note.value
    assert "requested: 7" in learners.note.value
    learners.show(replace(SETTING, learners=7), replace(SETTING, learners=7))
    assert learners.widget.value == 7
    assert "hint" in learners.note.value
    assert asked == [7]


def test_what_was_changed_elsewhere_moves_the_widget_and_asks_for_nothing(learners: Control, asked: list[Any]) -> None:
    """Also beyond the widget's range."""
    learners.show(replace(SETTING, learners=9), replace(SETTING, learners=9))
    assert learners.widget.value == 9
    learners.show(replace(SETTING, learners=40), replace(SETTING, learners=40))
    assert learners.widget.value == learners.widget.max == 40
    assert asked == []


def test_a_widget_is_not_moved_while_something_else_is_requested(learners: Control) -> None:
    """The steps of a drag take effect one after the other, behind the hand."""
    learners.widget.value = 5
    learners.widget.value = 6
    learners.show(replace(SETTING, learners=5), replace(SETTING, learners=6))
    assert learners.widget.value == 6


def test_a_widget_that_was_just_moved_by_hand_is_left_alone(learners: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a moment; then it shows what is in force."""
    monkeypatch.setattr(controls, "_HANDS_OFF_S", 1e9)
    learners.widget.value = 5
    learners.show(SETTING, SETTING)
    assert learners.widget.value == 5
    monkeypatch.setattr(controls, "_HANDS_OFF_S", 0.0)
    learners.show(SETTING, SETTING)
    assert learners.widget.value == 4


def test_a_refusal_says_why_and_puts_the_widget_back(asked: list[Any]) -> None:
    """Raised at once, or told later; the next wish takes it away."""

    def ask(value: int) -> None:
        asked.append(value)
        if value > 8:
            raise ValueError(f"{value} are too many <for me>")

    made = Control(ipywidgets.IntSlider(4, 1, 16), ("learners",), lambda s: s.learners, ask)
    made.widget.value = 9
    made.show(SETTING, SETTING)
    assert made.widget.value == 4
    assert '<span class="cb-refused" title="9 are too many &lt;for me&gt;">' in made.note.value
    assert asked == [9]
    made.widget.value = 5
    made.show(replace(SETTING, learners=5), replace(SETTING, learners=5))
    assert "cb-refused" not in made.note.value
    made.refuse("no memory")
    made.show(SETTING, SETTING)
    assert "no memory" in made.note.value
    close_all(made.box)


def test_what_the_algorithm_lacks_is_disabled(asked: list[Any]) -> None:
    """And enabled again with one that has it, as soon as that is requested."""
    made = Control(
        ipywidgets.IntSlider(1, 1, 16), (), lambda s: getattr(s.algorithm, "sync_period", None), asked.append
    )
    without = replace(SETTING, algorithm=object())
    made.show(without, without)
    assert made.widget.disabled
    made.show(without, SETTING)
    assert not made.widget.disabled
    assert asked == []
    close_all(made.box)


@pytest.mark.parametrize("echo", [0.05011872336272722, 0.05 * 10**0.05, 0.05 * 10**-0.05])
def test_a_slider_that_snaps_to_a_step_asks_for_nothing(rate: Control, asked: list[Any], echo: float) -> None:
    """A page sends back the nearest step of what it was sent; nobody wished for that."""
    rate.widget.value = echo
    assert asked == []
    rate.widget.value = 0.05 * 10**0.11
    assert asked == [0.05 * 10**0.11]


def test_a_page_that_is_slow_to_snap_asks_for_nothing_either(rate: Control, asked: list[Any]) -> None:
    """It may answer what was shown before."""
    for shown in (0.3, 0.003):
        rate.show(replace(SETTING, learning_rate=shown), replace(SETTING, learning_rate=shown))
    rate.widget.value = 0.31
    assert asked == []
    rate.widget.value = 0.5
    assert asked == [0.5]
