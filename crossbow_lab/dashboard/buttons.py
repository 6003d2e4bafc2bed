"""The buttons that start, pause and end training, and keep what there is."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import ipywidgets

from crossbow_lab.dashboard.actions import Actions
from crossbow_lab.dashboard.control import put
from crossbow_lab.dashboard.recipe_button import RecipeButton
from crossbow_lab.session import Session

_FITS = {
    "start": ("ready", "finished", "stopped"),
    "pause": ("running",),
    "resume": ("paused",),
    "step": ("ready", "paused", "finished", "stopped"),
    "step10": ("ready", "paused", "finished", "stopped"),
    "stop": ("running", "paused"),
    "restart": ("ready", "running", "paused", "finished", "stopped"),
    "tune": ("ready", "running", "paused", "finished", "stopped"),
    "reset": ("ready", "running", "paused", "finished", "stopped", "failed"),
    "checkpoint": ("ready", "running", "paused", "finished", "stopped"),
    "save": ("running", "paused", "finished", "stopped", "failed"),
}
_PALE = "cb-pale"
_PAUSE_WITHIN_S = 30.0
_TUNE = "Find the number of learners with the most throughput"


class Buttons:
    """The row of buttons.

    One that makes no sense at present is pale, yet can be pressed: it says why not, and keyboards don't lose their
    place, as they would on a button that is disabled.

    Parameters
    ----------
    session : what they act on.
    actions : does what takes a while, and says what came of it.
    beside : widgets that stand after the buttons.

    Attributes
    ----------
    box : the widget that holds them.
    """

    def __init__(self, session: Session, actions: Actions, beside: Sequence[ipywidgets.Widget] = ()) -> None:
        self._session, self._actions = session, actions
        self._shown = ""
        # Shared: each would be some 400 bytes of the notebook when it is saved.
        looks = {"layout": ipywidgets.Layout(), "style": ipywidgets.ButtonStyle()}

        def button(name: str, label: str, tooltip: str) -> ipywidgets.Button:
            return ipywidgets.Button(description=label, tooltip=tooltip, **looks).add_class(f"cb-{name}")

        self._buttons = {
            "start": button("start", "start", "Train in the background, until it is stopped"),
            "pause": button("pause", "pause", "Pause before the next iteration"),
            "resume": button("resume", "resume", "Go on after a pause"),
            "step": button("step", "step", "Train one iteration, then pause"),
            "step10": button("step10", "step ×10", "Train ten iterations, then pause"),
            "stop": button("stop", "stop", "Stop, and evaluate the central average model"),
            "restart": button("restart", "restart averaging", "Set all learners to z and clear all momentum"),
            "tune": button("tune", "auto-tune", _TUNE),
            "reset": button("reset", "reset", "Begin again with the same seed, adjustments dropped"),
            "checkpoint": button("checkpoint", "checkpoint", "Write all that is needed to go on another day"),
            "save": button("save", "save run", "Publish a run: crossbow-lab runs lists it, cb.replay shows it"),
        }
        self.recipe = RecipeButton(lambda: session.recipe.to_json())
        for name, action in self._on_click().items():
            self._buttons[name].on_click(action)
        self.box = ipywidgets.HBox([*self._buttons.values(), self.recipe, *beside]).add_class("cb-buttons")

    def show(self, state: str, tuner: str) -> None:
        """Make pale what makes no sense in this state, and say on its button what the auto-tuner does."""
        put(self._buttons["tune"], "description", _tune_label(tuner))
        put(self._buttons["tune"], "tooltip", f"Auto-tuner: {tuner}; press to end it" if tuner else _TUNE)
        if state != self._shown:
            self._shown = state
            for name, button in self._buttons.items():
                change = button.remove_class if state in _FITS[name] else button.add_class
                change(_PALE)

    def _on_click(self) -> dict[str, Callable[[object], None]]:
        """Return what each button does: at once what returns at once, later what waits for training."""
        session, actions = self._session, self._actions

        def at_once(action: Callable[[], object]) -> Callable[[object], None]:
            return lambda _: actions.at_once(action)

        def later(doing: str, action: Callable[[], str]) -> Callable[[object], None]:
            return lambda _: actions.later(doing, action)

        return {
            "start": at_once(lambda: session.start()),
            "pause": at_once(lambda: session.pause()),
            "resume": at_once(lambda: session.resume()),
            "restart": at_once(lambda: session.restart_averaging()),
            "tune": at_once(self._tune),
            "step": later("one iteration", lambda: self._step(1)),
            "step10": later("ten iterations", lambda: self._step(10)),
            "stop": later("stopping", self._stop),
            "reset": later("resetting", self._reset),
            "checkpoint": later("writing a checkpoint", self._checkpoint),
            "save": later("saving", self._save),
        }

    def _tune(self) -> None:
        """Let the auto-tuner search, or end its search."""
        tuner = self._session.auto_tuner
        if tuner.status:
            tuner.stop()
        else:
            tuner.start()

    def _step(self, n: int) -> str:
        """Train a few iterations."""
        self._session.step(n)
        return ""

    def _stop(self) -> str:
        """Stop."""
        self._session.stop()
        return ""

    def _reset(self) -> str:
        """Begin again."""
        before = self._session.record.folder
        folder = self._session.reset().record.folder
        return "" if folder is None else f"begun again in {folder}; {before} stays as it is"

    def _checkpoint(self) -> str:
        """Write a checkpoint into the session's folder, or the working folder."""
        name = f"iteration-{self._session.snapshot.iteration}-{datetime.now():%H%M%S}.safetensors"
        folder = self._session.record.folder or Path("crossbow-checkpoints").resolve()
        return f"written: {self._session.checkpoint(folder / name)}; cb.Session.restore goes on from it"

    def _save(self) -> str:
        """Publish the session as a run; training pauses for it, so that all of the record is of one moment."""
        session = self._session
        was_running = session.state == "running"
        if was_running:
            session.pause()
            end_s = time.monotonic() + _PAUSE_WITHIN_S
            while session.state == "running" and time.monotonic() < end_s:
                time.sleep(0.005)
        try:
            run = session.save_run()
        finally:
            if was_running and session.state == "paused":
                session.resume()
        return f"saved: {run.folder}; `crossbow-lab show` describes it, cb.replay shows it again"


def _tune_label(tuner: str) -> str:
    """Return the auto-tuner's status in as few letters as its button has room for.

    Examples
    --------
    >>> _tune_label(""), _tune_label("measuring 3 learners"), _tune_label("settled on 12 learners")
    ('auto-tune', 'tuning: 3', 'tuned: 12')
    """
    if not tuner:
        return "auto-tune"
    number = next(word for word in tuner.split() if word.isdigit())
    return f"{'tuned' if tuner.startswith('settled') else 'tuning'}: {number}"
