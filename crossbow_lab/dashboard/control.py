"""One control: a widget that asks for a change, and shows what is in force, requested or refused."""

import html
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import ipywidgets

from crossbow_lab.dashboard.actions import reason

S = TypeVar("S")

_ECHO_S, _MOST_ECHOES = 3.0, 64  # a page may be slow to send back what it was sent
_HANDS_OFF_S = 0.3  # after a change by hand a control isn't moved for so long, or it would jump under the hand


class Control(Generic[S]):
    """Joins a widget and a part of the setting: a session's, or whatever else ``read`` takes.

    Its observer runs on any thread, also while a cell does; it only asks for the change. What the widget and the
    note beside it show is set by `show` alone, which the dashboard's one pump calls.

    Parameters
    ----------
    widget : its ``value`` is what is asked for.
    names : the settings whose refusals concern it.
    read : the value in force, as the widget has it; None where the algorithm has no such thing.
    ask : asks for a value.
    hint : what the note says where there is nothing else to say.
    say : how a value is written.
    """

    def __init__(
        self,
        widget: Any,
        names: tuple[str, ...],
        read: Callable[[S], Any],
        ask: Callable[[Any], None],
        hint: Callable[[S], str] = lambda _: "",
        say: Callable[[Any], str] = lambda value: f"{value:.4g}" if isinstance(value, float) else str(value),
    ) -> None:
        self.widget, self.names = widget, names
        layout = widget.layout  # one for the three: each would be some 400 bytes of the notebook when it is saved
        self.note = ipywidgets.HTML(layout=layout).add_class("cb-note")
        self.box = ipywidgets.VBox([widget, self.note], layout=layout).add_class("cb-control")
        self._read, self._ask, self._hint, self._say = read, ask, hint, say
        self._shown = widget.value
        self._moved: deque[tuple[float, Any]] = deque(maxlen=_MOST_ECHOES)
        self._refusal = ""
        self._touched_s = -_HANDS_OFF_S
        self._here = threading.local()  # says, on the thread that shows, that a change is no wish
        widget.observe(self._changed, "value")

    def _changed(self, change: Mapping[str, Any]) -> None:
        """Ask for what the widget was set to, unless it was set by `show`."""
        wish = change["new"]
        if getattr(self._here, "is_showing", False) or self._is_echo(wish):
            return
        self._touched_s, self._shown = time.monotonic(), wish
        self._refusal = ""
        try:
            self._ask(wish)
        except Exception as error:  # in an observer nobody would see it
            self._refusal = reason(error)

    def _is_echo(self, wish: Any) -> bool:
        """Tell whether a value only comes back from a page, which moves a slider to the nearest of its steps."""
        step = getattr(self.widget, "step", None)
        if step is None or isinstance(wish, int):
            return False
        since_s = time.monotonic() - _ECHO_S
        shown = [self._shown, *(value for moved_s, value in list(self._moved) if moved_s >= since_s)]
        # Half a step, on the slider's own scale, is as far as the nearest step can be.
        scale: Callable[[float], float] = math.log10 if hasattr(self.widget, "base") else float
        return any(abs(scale(wish) - scale(value)) <= 0.5001 * step for value in shown)

    def refuse(self, why: str) -> None:
        """Say why what was asked for wasn't done."""
        self._refusal = why

    def show(self, setting: S, after: S) -> None:
        """Show what is in force; what was asked for, too, where that isn't the same.

        Parameters
        ----------
        setting : in force.
        after : what it becomes when all that is requested has been done.
        """
        value, wanted = self._read(setting), self._read(after)
        put(self.widget, "disabled", wanted is None)
        if value == wanted and value is not None and value != self._shown:
            self._move(value)
        if value != wanted and wanted is not None:
            self._write("requested", f"requested: {self._say(wanted)}")
        elif self._refusal:
            self._write("refused", self._refusal)
        else:
            self._write("hint", self._hint(setting))

    def _move(self, value: Any) -> None:
        """Set the widget to what is in force."""
        if time.monotonic() - self._touched_s < _HANDS_OFF_S:
            return
        self._here.is_showing = True
        try:
            if isinstance(self.widget, ipywidgets.IntSlider) and value > self.widget.max:
                self.widget.max = value
            self._shown = value
            self._moved.append((time.monotonic(), value))
            self.widget.value = value
        finally:
            self._here.is_showing = False

    def _write(self, kind: str, text: str) -> None:
        """Write the note."""
        escaped = html.escape(text, quote=True)
        put(self.note, "value", f'<span class="cb-{kind}" title="{escaped}">{escaped}</span>')


def put(widget: Any, trait: str, value: Any) -> None:
    """Set a trait that isn't so already: what is set is sent."""
    if getattr(widget, trait) != value:
        setattr(widget, trait, value)
