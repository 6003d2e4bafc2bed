"""The dashboard of a race: live widgets, or where nobody looks a static report; one for each race."""

import math
from typing import Any

import pandas as pd

from crossbow_lab.dashboard import figures, page
from crossbow_lab.dashboard.dashboard import checked_rate
from crossbow_lab.dashboard.headless import RESULT_SCHEMA, Report
from crossbow_lab.dashboard.still import Still, static
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.racing import Lane, Race

_RATE_HZ = 10.0


class RaceDashboard:
    """What `Race.dashboard` returns: shown under the cell that asks for it, once for each cell.

    Parameters
    ----------
    race : Race
    ui, rate_hz : as for `crossbow_lab.dashboard.Dashboard`.

    Attributes
    ----------
    race : what it shows.
    live : the widgets and their pump; None where nothing is live, and after `close`.
    """

    def __init__(self, race: Race, ui: str = "auto", rate_hz: float | None = None) -> None:
        self.race, self.is_closed = race, False
        self._rate_hz = checked_rate(_RATE_HZ if rate_hz is None else rate_hz)
        self._places = page.Places(self)
        self._still = page.Replaceable(lambda: (self._seen(), lambda: self.report().bundles()))
        self.live = self._open() if page.is_live(ui) else None
        self._forget = page.after_each_cell(self.refresh) if self.live is None else lambda: None

    def _open(self) -> Any:
        """Return the live part."""
        from crossbow_lab.dashboard.race_live import RaceLive  # widgets are imported where there are any

        return RaceLive(self.race, self._rate_hz)

    def __repr__(self) -> str:
        return f"<{'live dashboard' if self.live else 'report'} of a race: {', '.join(self.race.lanes)}>"

    def _ipython_display_(self) -> None:
        """Show it as a cell's last value."""
        self.display()

    def display(self) -> None:
        """Show a view of it under the present cell, unless one is there already."""
        if self.is_closed or not self._places.take():
            return
        if self.live is not None:
            page.show({**self.live.box._repr_mimebundle_(), "text/plain": repr(self)})
        else:
            self._still.show()

    def refresh(self) -> None:
        """Replace a static report under the cell where it is, if the race has gone on and isn't going on now."""
        if self.live is None and self.race.state not in ("running", "paused"):
            self._still.replace()

    def _seen(self) -> tuple[object, ...]:
        """Return what is another when there is more to show."""
        return tuple((lane.state, lane.session.snapshot.iteration) for lane in self.race.lanes.values())

    def report(self) -> Report:
        """Return the static report of what there is so far: figure, table, and the numbers for programs."""
        race = self.race
        shown = pd.DataFrame([_in_words(lane, place) for place, lane in enumerate(_by_place(race), start=1)])
        figure: dict[str, Any] = {}
        metadata: dict[str, Any] = {}
        if any(lane.session.record.rows.entries for lane in race.lanes.values()):
            figure, metadata = race_figure(race, dots_per_px=1.0)._repr_mimebundle_()
        result: dict[str, Any] = {"schema": RESULT_SCHEMA, "state": race.state, "lanes": {}}
        if race.target is not None:
            result["target"] = {"accuracy": race.target.target, "window": race.target.window}
        for row in race.table.to_dict("records"):
            result["lanes"][row["lane"]] = {str(name): _json(value) for name, value in row.items() if name != "lane"}
        return Report(figure, metadata, shown, result)

    def close(self) -> None:
        """Take it from all pages, and leave nothing behind: no thread, no widget. The race goes on."""
        self.is_closed = True
        self._forget()
        live, self.live = self.live, None
        if live is not None:
            live.close()
        self._places.leave()
        if _OPEN.get(self.race) is self:
            del _OPEN[self.race]


def open_race(race: Race, *, ui: str = "auto", rate_hz: float | None = None) -> RaceDashboard:
    """Show a race's dashboard under the present cell, and return it; a race has one at a time."""
    opened = _OPEN.get(race)
    if opened is not None and _is_other(opened, ui, rate_hz):
        opened.close()
        opened = None
    if opened is None:
        opened = _OPEN[race] = RaceDashboard(race, ui, rate_hz)
    opened.display()
    return opened


def _is_other(opened: RaceDashboard, ui: str, rate_hz: float | None) -> bool:
    """Tell whether what is open isn't what is asked for, or has stopped."""
    is_live = opened.live is not None
    return (
        (ui != "auto" and page.is_live(ui) != is_live)
        or (opened.live is not None and not opened.live.pump.is_alive)
        or rate_hz is not None
    )


def race_figure(race: Race, *, dots_per_px: float | None = None) -> Still:
    """Return test accuracy of all lanes by time, epochs and samples; a dot marks where a lane reached the target.

    Raises
    ------
    ConfigurationError
        Before the first evaluation.
    """
    histories = {name: history for name, history in race.histories.items() if not history.empty}
    if not histories:
        raise ConfigurationError("there is nothing to draw before the first evaluation; start the race first")
    goal = race.target
    aim: dict[str, Any] = {} if goal is None else {"target": goal.target, "window": goal.window}
    drawn = figures.accuracy(histories, by=("elapsed_s", "epoch", "samples"), **aim)
    return static(drawn) if dots_per_px is None else static(drawn, dots_per_px=dots_per_px)


def _by_place(race: Race) -> list[Lane]:
    """Return the lanes as the table has them."""
    return [race.lanes[name] for name in race.table["lane"]]


def _in_words(lane: Lane, place: int) -> dict[str, object]:
    """Return a lane as a row of words."""
    now, reached = lane.session.snapshot, lane.reached
    return {
        "place": place if reached is not None else "",
        "lane": lane.name,
        "setting": f"{now.algorithm}, {now.learners} × {now.batch_size}, γ {now.learning_rate:.3g}",
        "target reached after": "" if reached is None else f"{reached.seconds:.2f} s, {reached.epochs:.2f} epochs",
        "test accuracy of z": "" if math.isnan(now.test_accuracy) else f"{now.test_accuracy:.2%}",
        "trained": f"{now.elapsed_s:.2f} s, {now.epoch:.2f} epochs",
        "throughput": f"{now.samples / now.elapsed_s:,.0f} samples/s" if now.elapsed_s > 0 else "",
    }


def _json(value: Any) -> Any:
    """Return a value for JSON, which has no NaN and none of NumPy's numbers."""
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number


_OPEN: dict[Race, RaceDashboard] = {}
