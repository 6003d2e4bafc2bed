"""A question for whoever reads a notebook: answers to choose from, a button that checks, and the reason.

Which answer is right stays in the kernel until it is given, or until two others were: nothing on the page tells.
"""

import html
from collections.abc import Sequence
from typing import Any

from crossbow_lab.dashboard import page
from crossbow_lab.errors import ConfigurationError

_MOST_ANSWERS = 8
_TRIES = 2  # wrong answers before the right one is told


class Quiz:
    """What `quiz` returns: one question under a cell.

    Attributes
    ----------
    box : the widget that holds all others; None where nothing is live.
    tries : wrong answers given so far.
    is_solved : whether the right answer was given.
    """

    def __init__(self, question: str, answers: tuple[str, ...], correct: int, because: str, ui: str) -> None:
        self.tries, self.is_solved = 0, False
        self._question, self._answers, self._correct, self._because = question, answers, correct, because
        self._places = page.Places(self)
        self.box = self._widgets() if page.is_live(ui) and page.shell() is not None else None

    def __repr__(self) -> str:
        return f"<quiz: {self._question}>"

    @property
    def text(self) -> str:
        """Question, answers, the right one and why, as lines of text."""
        lines = [f"  {letter}) {answer}" for letter, answer in zip("abcdefgh", self._answers, strict=False)]
        return "\n".join([self._question, *lines, f"Answer: {self._right()}"])

    def _right(self) -> str:
        """Return the right answer and why."""
        return f"{'abcdefgh'[self._correct]}) {self._answers[self._correct]}. {self._because}"

    def _widgets(self) -> Any:
        """Return the question as widgets."""
        import ipywidgets  # widgets are imported where there are any

        from crossbow_lab.dashboard.looks import style

        options = [f"{letter}) {answer}" for letter, answer in zip("abcdefgh", self._answers, strict=False)]
        # The question is the group's own label, so that whoever can't see the page hears it with the answers.
        self._choice = ipywidgets.RadioButtons(options=options, index=None, description=self._question)
        self._feedback = ipywidgets.HTML()
        button = ipywidgets.Button(description="check", tooltip="Check the chosen answer").add_class("cb-check")
        button.on_click(lambda _: self._check())
        parts = (style(), self._choice, ipywidgets.HBox([button, self._feedback]).add_class("cb-checked"))
        return ipywidgets.VBox(parts).add_class("cb-dashboard").add_class("cb-quiz")

    def _check(self) -> None:
        """Say whether the chosen answer is right."""
        chosen = self._choice.index
        if chosen is None:
            self._say("hint", "Choose an answer first.")
        elif chosen == self._correct:
            self.is_solved = True
            self._say("right", f"✓ Right. {self._because}")
        else:
            self.tries += 1
            told = f"It is {self._right()}" if self.tries >= _TRIES else "Think again, and choose another one."
            self._say("wrong", f"✗ Not {'abcdefgh'[chosen]}. {told}")

    def _say(self, kind: str, text: str) -> None:
        """Show feedback; screen readers say an alert when it appears."""
        self._feedback.value = f'<div role="alert" class="cb-feedback cb-{kind}">{html.escape(text)}</div>'

    def display(self) -> None:
        """Show it under the present cell, unless it is there already; as text where nothing is live."""
        if self.box is None:
            print(self.text)  # noqa: T201  (what somebody reads who can't click)
        elif self._places.take():
            page.show({**self.box._repr_mimebundle_(), "text/plain": self.text})

    def _ipython_display_(self) -> None:
        """Show nothing more as a cell's last value: it is shown where it is made."""

    def close(self) -> None:
        """Take it from all pages."""
        box, self.box = self.box, None
        if box is not None:
            from crossbow_lab.dashboard.looks import close_all

            close_all(box)
        self._places.leave()


def quiz(question: str, answers: Sequence[str], correct: int, because: str, *, ui: str = "auto") -> Quiz:
    """Ask a question under this cell, and check the answer.

    A wrong answer can be corrected; the second one is told the right answer. Where nobody can click, question,
    answers and the right one are printed.

    Parameters
    ----------
    question : str
    answers : sequence of str
        Two to eight, all different.
    correct : int
        Which of them is right, counted from 0.
    because : str
        Why, in a sentence or two.
    ui : str
        "live"; "off" for text; "auto": off where ``CROSSBOW_HEADLESS`` is set, and not to 0.

    Returns
    -------
    Quiz
        It is shown already.

    Raises
    ------
    ConfigurationError
        If a text is missing, or there is no such answer.

    Examples
    --------
    >>> _ = quiz(
    ...     "What is evaluated in SMA?",
    ...     answers=["the best learner", "the central average model z"],
    ...     correct=1,
    ...     because="Learners explore; z is their consensus.",
    ...     ui="off",
    ... )
    What is evaluated in SMA?
      a) the best learner
      b) the central average model z
    Answer: b) the central average model z. Learners explore; z is their consensus.
    """
    for name, text in (("question", question), ("because", because)):
        if not isinstance(text, str) or not text.strip():
            raise ConfigurationError(f"{name} is {text!r}; give a sentence")
    if isinstance(answers, str) or not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise ConfigurationError(f"answers is {answers!r}; give a list of texts")
    told = tuple(answers)
    if not 2 <= len(told) <= _MOST_ANSWERS or len(set(told)) < len(told):
        raise ConfigurationError(f"answers are {list(told)}; give 2 to {_MOST_ANSWERS} different ones")
    if isinstance(correct, bool) or not isinstance(correct, int) or not 0 <= correct < len(told):
        raise ConfigurationError(f"correct is {correct!r}; give the right answer's place, 0 to {len(told) - 1}")
    asked = Quiz(question, told, correct, because, ui)
    asked.display()
    return asked
