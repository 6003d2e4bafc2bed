"""Questions for whoever reads a notebook."""

from typing import Any

import pytest

import crossbow_lab as cb
from crossbow_lab.errors import ConfigurationError

ASKED: dict[str, Any] = {
    "question": "Is 1 < 2?",
    "answers": ["no", "yes", "it depends"],
    "correct": 1,
    "because": "Numbers & order.",
}


@pytest.fixture
def asked(notebook: Any) -> Any:
    """Give a quiz that is shown in a notebook."""
    quiz = cb.quiz(**ASKED, ui="live")
    yield quiz
    quiz.close()


def _press(quiz: Any, answer: int | None) -> str:
    """Choose an answer, press the button, and return what is said."""
    _, choice, checked = quiz.box.children
    button, feedback = checked.children
    choice.index = answer
    button.click()
    told: str = feedback.value
    return told


def test_the_right_answer_is_confirmed_with_its_reason(asked: Any) -> None:
    """As an alert, which screen readers say; what it says is no markup."""
    told = _press(asked, 1)
    assert 'role="alert"' in told
    assert "✓ Right. Numbers &amp; order." in told
    assert asked.is_solved


def test_a_wrong_answer_may_be_corrected_and_a_second_one_is_told_the_right_one(asked: Any) -> None:
    """Until then nothing on the page tells which it is."""
    assert "Choose an answer first" in _press(asked, None)
    first, second = _press(asked, 0), _press(asked, 2)
    assert "✗ Not a." in first
    assert "Numbers" not in first
    assert "It is b) yes. Numbers" in second
    assert (asked.tries, asked.is_solved) == (2, False)
    assert "✓ Right" in _press(asked, 1)


def test_it_is_shown_once_under_its_cell_and_the_question_is_the_groups_label(asked: Any, notebook: Any) -> None:
    """Also where it is the cell's last value."""
    asked._ipython_display_()
    assert len(notebook.shown) == 1
    assert asked.box.children[1].description == "Is 1 < 2?"


@pytest.mark.parametrize("ui", ["off", "auto"])
def test_without_anyone_to_click_everything_is_printed(capsys: Any, monkeypatch: Any, ui: str) -> None:
    """Question, answers and the right one; no widget is made."""
    monkeypatch.setenv("CROSSBOW_HEADLESS", "1")
    assert cb.quiz(**ASKED, ui=ui).box is None
    assert capsys.readouterr().out.splitlines() == [
        "Is 1 < 2?",
        "  a) no",
        "  b) yes",
        "  c) it depends",
        "Answer: b) yes. Numbers & order.",
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"question": " "}, "question is ' '; give a sentence"),
        ({"because": None}, "because is None"),
        ({"answers": "yes"}, "give a list of texts"),
        ({"answers": ["one"]}, "give 2 to 8 different ones"),
        ({"answers": ["one", "one"]}, "give 2 to 8 different ones"),
        ({"correct": 3}, "correct is 3; give the right answer's place, 0 to 2"),
        ({"correct": True}, "correct is True"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(wrong: dict[str, Any], said: str) -> None:
    """Each says what to give instead."""
    with pytest.raises(ConfigurationError, match=said):
        cb.quiz(**{**ASKED, **wrong}, ui="off")
