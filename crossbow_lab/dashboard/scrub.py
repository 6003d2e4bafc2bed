"""The widgets of a replay: the plots of the whole record, shown up to where a slider stands."""

import threading
from collections.abc import Mapping
from typing import Any

import ipywidgets

from crossbow_lab.dashboard import views
from crossbow_lab.dashboard.board import Board
from crossbow_lab.dashboard.control import put
from crossbow_lab.dashboard.efficiency import Efficiencies
from crossbow_lab.dashboard.feed import Feed, tables
from crossbow_lab.dashboard.looks import close_all, style
from crossbow_lab.dashboard.pump import Pump
from crossbow_lab.dashboard.readouts import Standing, numbers, status
from crossbow_lab.dashboard.recorded import Recorded, snapshot
from crossbow_lab.session import Accuracy
from crossbow_lab.session.history import Record

_RATE_HZ = 10.0
_PLAYED_WITHIN_S = 20.0


class Scrub:
    """Plots, numbers, a slider over the evaluations, and a button that moves it.

    Parameters
    ----------
    recorded : Recorded
        With one evaluation at least.
    goal : Accuracy or None
        The target.

    Attributes
    ----------
    box : the widget that holds all others.
    pump : what shows where the slider stands.
    """

    def __init__(self, recorded: Recorded, goal: Accuracy | None) -> None:
        self._rows, self._goal = recorded.rows, goal
        self._recorded = recorded
        max_learners = max([entry.learner + 1 for entry in recorded.learner_rows], default=1)
        has_accuracy = snapshot(recorded, len(self._rows)).has_accuracy
        self.board = Board(tables(max_learners), views.plots(max_learners, has_accuracy=has_accuracy))
        self._has_accuracy = has_accuracy
        self._fill(recorded, max_learners)
        last = len(self._rows)
        self.slider = ipywidgets.IntSlider(last, 0, last, description="evaluation").add_class("cb-scrub")
        self.play = ipywidgets.ToggleButton(description="play", tooltip="Move through the record").add_class("cb-play")
        self._position, self._shown = float(last), -1
        self._here = threading.local()
        self.slider.observe(self._moved, "value")
        self.play.observe(self._begin_again, "value")
        self._status, self._numbers = ipywidgets.HTML(), ipywidgets.HTML()
        controls = ipywidgets.HBox([self.play, self.slider]).add_class("cb-scrubbing")
        parts = (style(), self._status, self._numbers, controls, self.board)
        self.box = ipywidgets.VBox(parts).add_class("cb-dashboard")
        self.pump = Pump(self._tick, _RATE_HZ, self._fail)
        self.pump.tick()
        self.pump.start()

    def _fill(self, recorded: Recorded, max_learners: int) -> None:
        """Give the board the whole record."""
        past = {"history": recorded.rows, "learners": recorded.learner_rows, "events": recorded.events}
        record = Record(None, {name: list(entries) for name, entries in past.items()})
        news = Feed(record, max_learners).take(snapshot(recorded, len(self._rows)))
        for mark in news.marks:
            self.board.mark(mark.key, mark.x, mark.text, mark.kind)
        self.board.target(None if self._goal is None else self._goal.target)
        self.board.append(news.rows)

    def _moved(self, change: Mapping[str, Any]) -> None:
        """Take the place that someone moved the slider to."""
        if not getattr(self._here, "is_playing", False):
            self._position = float(change["new"])

    def _begin_again(self, change: Mapping[str, Any]) -> None:
        """Play from the beginning where the end is shown."""
        if change["new"] and self._position >= len(self._rows):
            self._position = 0.0

    def _tick(self) -> None:
        """Go on if it plays, and show where it stands."""
        last = len(self._rows)
        if self.play.value:
            self._position += last / (_PLAYED_WITHIN_S * _RATE_HZ)
            if self._position >= last:
                self._position = float(last)
                self.play.value = False
        at = int(self._position)
        if at != self._shown:
            self._show(at)
        self.board.append()

    def _show(self, at: int) -> None:
        """Show the first evaluations only."""
        self._here.is_playing, self._shown = True, at
        try:
            put(self.slider, "value", at)
        finally:
            self._here.is_playing = False
        now, efficiencies = snapshot(self._recorded, at), Efficiencies(self._goal)
        efficiencies.add(self._rows[:at])
        self.board.until(None if at == len(self._rows) else now.iteration)
        if self._has_accuracy and self._goal is not None:
            self.board.points(views.EFFICIENCY, efficiencies.points(now), samples_per_epoch=now.epoch_samples)
        message = f"evaluation {at} of {len(self._rows)}"
        standing = Standing(now, self._goal, efficiencies.reached, efficiencies.median, message=message)
        put(self._status, "value", status(standing))
        put(self._numbers, "value", numbers(standing))

    def _fail(self, error: BaseException) -> None:
        """Say that the pump has ended."""
        self._status.value = status(
            Standing(
                snapshot(self._recorded, self._shown), message=f"this replay has stopped: {error}", is_refusal=True
            )
        )

    def close(self) -> None:
        """Stop the pump, and take the widgets from all pages."""
        self.pump.stop()
        close_all(self.box)
