"""The live dashboard of a race: its widgets, and what its pump does to them."""

import time
from collections.abc import Callable

import ipywidgets

from crossbow_lab.dashboard import race_feed
from crossbow_lab.dashboard.actions import Actions, reason
from crossbow_lab.dashboard.board import Board
from crossbow_lab.dashboard.control import put
from crossbow_lab.dashboard.looks import close_all, style
from crossbow_lab.dashboard.pump import Pump
from crossbow_lab.dashboard.race_lanes import LaneControls
from crossbow_lab.dashboard.race_readouts import status, table
from crossbow_lab.racing import Race
from crossbow_lab.session import Accuracy

_TABLE_EVERY_S = 0.25  # faster than anyone reads
_ACTIONS_S = 2.0
_PACES = [("full speed", 1.0), ("a quarter", 0.25), ("a tenth", 0.1), ("a fortieth", 0.025)]
_FITS = {
    "start": ("ready", "stopped", "finished"),
    "pause": ("running",),
    "resume": ("paused",),
    "stop": ("running", "paused"),
    "reset": ("ready", "running", "paused", "stopped", "finished", "failed"),
}
_PALE = "cb-pale"


class RaceLive:
    """Widgets and pump of one race.

    Parameters
    ----------
    race : Race
    rate_hz : float
        Updates a second.

    Attributes
    ----------
    box : the widget that holds all others.
    pump : what keeps them up to date.
    """

    def __init__(self, race: Race, rate_hz: float) -> None:
        self._race, self._lanes = race, list(race.lanes.values())
        self._actions, self._trouble = Actions(), ""
        self._window = Accuracy.window if race.target is None else race.target.window
        self._colours = race_feed.lane_colours(self._lanes)
        self._table_s, self._shown = 0.0, ""
        plots = race_feed.plots(self._lanes, has_target=race.target is not None)
        self.board = Board(race_feed.tables(len(self._lanes)), plots, x_axis="elapsed_s")
        self._controls = [
            LaneControls(lane, colour, self._actions) for lane, colour in zip(self._lanes, self._colours, strict=True)
        ]
        self._status, self._table = ipywidgets.HTML(), ipywidgets.HTML()
        self._buttons = self._make_buttons()
        self.pace = self._make_pace()
        buttons = ipywidgets.HBox([*self._buttons.values(), self.pace]).add_class("cb-buttons")
        lanes = ipywidgets.Box([controls.box for controls in self._controls]).add_class("cb-lanes")
        parts = (style(), self._status, buttons, self._table, self.board, lanes)
        self.box = ipywidgets.VBox(parts).add_class("cb-dashboard").add_class("cb-race")
        self._begin()
        self.pump = Pump(self._tick, rate_hz, self._fail)
        self.pump.tick()
        self.pump.start()

    def _begin(self) -> None:
        """Read all lanes from their beginning."""
        self._feed = race_feed.RaceFeed(self._lanes, self._window)
        self.board.target(None if self._race.target is None else self._race.target.target)

    def _make_buttons(self) -> dict[str, ipywidgets.Button]:
        """Return the buttons of the whole race; one that makes no sense at present is pale, and says why not."""
        race, actions = self._race, self._actions

        def stop() -> str:
            race.stop()
            return ""

        def reset() -> str:
            race.reset()
            return "back at the start, with the same seeds; adjustments are dropped"

        does: dict[str, tuple[str, str, Callable[[], None]]] = {
            "start": ("start", "Race until the target, or until you stop", lambda: actions.at_once(race.start)),
            "pause": ("pause all", "Pause all lanes", lambda: actions.at_once(race.pause)),
            "resume": ("resume all", "Go on after a pause", lambda: actions.at_once(race.resume)),
            "stop": ("stop all", "Stop, and evaluate", lambda: actions.later("stopping", stop)),
            "reset": ("again", "Begin again with the same seeds", lambda: actions.later("resetting", reset)),
        }
        made = {}
        for name, (label, tooltip, act) in does.items():
            made[name] = ipywidgets.Button(description=label, tooltip=tooltip).add_class(f"cb-race-{name}")
            made[name].on_click(lambda _, act=act: act())
        return made

    def _make_pace(self) -> ipywidgets.Dropdown:
        """Return the choice of how fast to watch."""
        known = [pace for _, pace in _PACES]
        options = _PACES if self._race.pace in known else [(f"× {self._race.pace:g}", self._race.pace), *_PACES]
        field = ipywidgets.Dropdown(
            options=options,
            value=self._race.pace,
            description="speed",
            tooltip="Slow motion to watch: rests between turns, which no lane's clock counts",
            style={"description_width": "initial"},
        )
        field.observe(lambda change: setattr(self._race, "pace", change["new"]), "value")
        return field.add_class("cb-pace")

    def _tick(self) -> None:
        """Show what is new."""
        if any(lane.session.record is not before for lane, before in zip(self._lanes, self._feed.records, strict=True)):
            self.board.clear()  # the race was reset
            self._begin()
        rows, marks = self._feed.take()
        for mark in marks:
            self.board.mark(mark.key, mark.x, mark.text, mark.kind)
        self.board.append(rows)
        for controls, refusals in zip(self._controls, self._feed.refusals, strict=True):
            controls.show(refusals)
        self._write()

    def _write(self) -> None:
        """Write state and table; the table a few times a second only, but at once where a state is another."""
        race, actions = self._race, self._actions
        message = self._trouble or actions.message or race.error or ""
        is_refusal = bool(self._trouble) or actions.is_refusal or race.error is not None
        put(self._status, "value", status(race.state, message, is_refusal=is_refusal))
        for name, button in self._buttons.items():
            if (_PALE in button._dom_classes) == (race.state in _FITS[name]):
                (button.remove_class if race.state in _FITS[name] else button.add_class)(_PALE)
        states, now_s = " ".join([race.state, *(lane.state for lane in self._lanes)]), time.monotonic()
        if states != self._shown or now_s >= self._table_s:
            self._shown, self._table_s = states, now_s + _TABLE_EVERY_S
            put(self._table, "value", table(self._lanes, self._colours, race.target))

    def _fail(self, error: BaseException) -> None:
        """Say that the pump has ended; the race goes on without it."""
        self._trouble = (
            f"this dashboard has stopped ({type(error).__name__}: {reason(error)}), the race has not; "
            "race.dashboard() opens another"
        )
        self._write()

    def close(self) -> None:
        """Stop the pump, and take the widgets from all pages."""
        self._actions.close(_ACTIONS_S)
        self.pump.stop()
        close_all(self.box)
