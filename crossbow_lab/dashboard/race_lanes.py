"""The controls of one lane of a race: pause, stop, and what every algorithm can be adjusted in."""

from collections.abc import Mapping

import ipywidgets

from crossbow_lab.dashboard.actions import Actions
from crossbow_lab.dashboard.control import put
from crossbow_lab.dashboard.race_readouts import heading
from crossbow_lab.dashboard.settings import after, usual
from crossbow_lab.racing import Lane

_PALE = "cb-pale"


class LaneControls:
    """One lane's widgets.

    Parameters
    ----------
    lane : what they act on.
    colour : of its lines.
    actions : says what came of a button.

    Attributes
    ----------
    box : the widget that holds them.
    """

    def __init__(self, lane: Lane, colour: str, actions: Actions) -> None:
        self._lane, self._colour, self._actions = lane, colour, actions
        self._head = ipywidgets.HTML()
        self._controls = usual(lane.session)
        self._pause = ipywidgets.Button(description="pause", tooltip="Sit out; the others go on")
        self._stop = ipywidgets.Button(description="stop", tooltip="Leave the race, with an evaluation of z")
        self._pause.on_click(lambda _: actions.at_once(self._pause_or_resume))
        self._stop.on_click(lambda _: actions.at_once(lane.stop))
        buttons = ipywidgets.HBox([self._pause.add_class("cb-lane-pause"), self._stop.add_class("cb-lane-stop")])
        head = ipywidgets.HBox([self._head, buttons.add_class("cb-buttons")]).add_class("cb-lane-top")
        self.box = ipywidgets.VBox([head, *(control.box for control in self._controls)]).add_class("cb-lane")

    def _pause_or_resume(self) -> None:
        """Sit out, or take turns again."""
        if self._lane.state == "paused":
            self._lane.resume()
        else:
            self._lane.pause()

    def show(self, refusals: Mapping[tuple[str, ...], str]) -> None:
        """Show how the lane stands, and what it refused."""
        lane = self._lane
        for names, why in refusals.items():
            for control in self._controls:
                if set(control.names) & set(names):
                    control.refuse(why)
        now = lane.session.snapshot
        wanted = after(now)
        for control in self._controls:
            control.show(now.setting, wanted)
        put(self._head, "value", heading(lane, self._colour))
        put(self._pause, "description", "resume" if lane.state == "paused" else "pause")
        for button in (self._pause, self._stop):
            change = button.remove_class if lane.can_go else button.add_class
            if (_PALE in button._dom_classes) == lane.can_go:
                change(_PALE)
