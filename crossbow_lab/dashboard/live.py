"""The live dashboard of one session: its widgets, and what its pump does to them.

The training thread knows nothing of it. Where a session trains, in the background or in a cell, makes no difference
here: the pump reads the snapshot and the record, and sends what is new.
"""

import time
from collections.abc import Callable

import ipywidgets

from crossbow_lab.dashboard import views
from crossbow_lab.dashboard.actions import Actions, reason
from crossbow_lab.dashboard.board import Board, Point
from crossbow_lab.dashboard.buttons import Buttons
from crossbow_lab.dashboard.control import put
from crossbow_lab.dashboard.efficiency import Efficiencies
from crossbow_lab.dashboard.feed import Feed, News, tables
from crossbow_lab.dashboard.looks import close_all, style
from crossbow_lab.dashboard.pump import Pump
from crossbow_lab.dashboard.readouts import Standing, numbers, status
from crossbow_lab.dashboard.settings import Settings
from crossbow_lab.session import Accuracy, Session, Snapshot
from crossbow_lab.session.history import Record

_NUMBERS_EVERY_S = 0.2  # faster than anyone reads, and a kilobyte each time
_POINTS_EVERY_S = 2.0
_ACTIONS_S = 2.0


class Live:
    """Widgets and pump of one session.

    Parameters
    ----------
    session : Session
    goal : Accuracy or None
        The target.
    rate_hz : float
        Updates a second.

    Attributes
    ----------
    box : the widget that holds all others.
    pump : what keeps them up to date.
    """

    def __init__(self, session: Session, goal: Accuracy | None, rate_hz: float) -> None:
        self._session = session
        max_learners, has_accuracy = session.recipe.max_learners, session.snapshot.has_accuracy
        self._feed = Feed(session.record, max_learners)
        self._max_learners = max_learners
        self._actions, self._efficiencies = Actions(), Efficiencies(None)
        self._goal = goal
        self._numbers_s = self._points_s = 0.0
        self._trouble = ""
        self._points: tuple[Point, ...] = ()
        self.board = Board(tables(max_learners), views.plots(max_learners, has_accuracy=has_accuracy))
        self.target = _target_field(goal, self._aim)
        self.buttons = Buttons(session, self._actions, beside=(self.target,))
        self.settings = Settings(session, self._actions)
        self._status, self._numbers = ipywidgets.HTML(), ipywidgets.HTML()
        put(self.target, "disabled", not has_accuracy)
        parts = (style(), self._status, self._numbers, self.buttons.box, self.settings.box, self.board)
        self.box = ipywidgets.VBox(parts).add_class("cb-dashboard")
        self.pump = Pump(self._tick, rate_hz, self._fail)
        self.pump.tick()
        self.pump.start()

    def aim(self, goal: Accuracy | None) -> None:
        """Take another target, from the next update on."""
        self.target.value = 0.0 if goal is None else 100 * goal.target
        self._goal = goal

    def _aim(self, percent: float) -> None:
        """Take the target that the field says."""
        window = Accuracy.window if self._goal is None else self._goal.window
        self._goal = Accuracy(percent / 100, window) if percent > 0 else None

    def _tick(self) -> None:
        """Show what is new."""
        record, now = self._look()
        if record is not self._feed.record:  # the session was reset
            self._feed = Feed(record, self._max_learners)
            self._efficiencies.reset()
            self.board.clear()
            self._points, self._points_s = (), 0.0
            self.board.target(None if self._goal is None else self._goal.target)
        news = self._feed.take(now)
        self._plot(now, news)
        for refusal in news.refusals:
            self.settings.refuse(refusal.names, refusal.reason)
        self.settings.show(now)
        self.buttons.show(now.state, now.tuner)
        self._write(now)

    def _look(self) -> tuple[Record, Snapshot]:
        """Return record and snapshot that belong together, also where the session is being reset."""
        while True:
            record, now = self._session.record, self._session.snapshot
            if record is self._session.record:
                return record, now

    def _plot(self, now: Snapshot, news: News) -> None:
        """Send the board what is new."""
        goal, now_s = self._goal, time.monotonic()
        if goal != self._efficiencies.goal:
            self._efficiencies.aim(goal)
            self.board.target(None if goal is None else goal.target)
            self._points_s = 0.0
        self._efficiencies.add(news.evaluations)
        for mark in news.marks:
            self.board.mark(mark.key, mark.x, mark.text, mark.kind)
        if now.has_accuracy and (news.evaluations or now_s >= self._points_s):
            self._points_s = now_s + _POINTS_EVERY_S
            self._point(now)
        self.board.append(news.rows)

    def _point(self, now: Snapshot) -> None:
        """Send the points of hardware against statistical efficiency, if they are others than before."""
        points = self._efficiencies.points(now) if self._goal is not None else ()
        if points != self._points:
            self._points = points
            self.board.points(views.EFFICIENCY, points, samples_per_epoch=now.epoch_samples)

    def _write(self, now: Snapshot) -> None:
        """Write state and numbers; the numbers a few times a second only, but at once where the state is another."""
        actions = self._actions
        standing = Standing(
            now,
            self._efficiencies.goal,
            self._efficiencies.reached,
            self._efficiencies.median,
            self.pump.cost_share,
            self._trouble or actions.message,
            is_refusal=bool(self._trouble) or actions.is_refusal,
            traceback=self._session.traceback,
        )
        before, now_s = self._status.value, time.monotonic()
        put(self._status, "value", status(standing))
        if self._status.value != before or now_s >= self._numbers_s:
            self._numbers_s = now_s + _NUMBERS_EVERY_S
            put(self._numbers, "value", numbers(standing))

    def _fail(self, error: BaseException) -> None:
        """Say that the pump has ended; training goes on without it."""
        self._trouble = (
            f"this dashboard has stopped ({type(error).__name__}: {reason(error)}), training has not; "
            "session.dashboard() opens another"
        )
        self._write(self._session.snapshot)

    def close(self) -> None:
        """Stop the pump, and take the widgets from all pages."""
        self._actions.close(_ACTIONS_S)
        self.pump.stop()
        close_all(self.box)


def _target_field(goal: Accuracy | None, aim: Callable[[float], None]) -> ipywidgets.BoundedFloatText:
    """Return the field for the target accuracy."""
    field = ipywidgets.BoundedFloatText(
        0.0 if goal is None else 100 * goal.target,
        min=0.0,
        max=100.0,
        step=0.5,
        description="target accuracy (%)",
        tooltip="Median test accuracy of the last evaluations that is to be reached; 0 for none",
        style={"description_width": "initial"},
    )
    field.observe(lambda change: aim(change["new"]), "value")
    return field.add_class("cb-target")
