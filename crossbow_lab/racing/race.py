"""The race: who is in it, whether they can be compared, and what came of it."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from crossbow_lab.errors import ConfigurationError, CrossbowError, nearest
from crossbow_lab.racing.entering import enter
from crossbow_lab.racing.lane import Lane
from crossbow_lab.racing.turns import Turns
from crossbow_lab.session import Accuracy, Recipe, Session
from crossbow_lab.session.checks import check_positive
from crossbow_lab.surroundings import is_headless

if TYPE_CHECKING:
    from crossbow_lab.dashboard import Still
    from crossbow_lab.dashboard.races import RaceDashboard

_SLICE_S = 0.2
_LINE_EVERY_S = 2.0


class Race(AbstractContextManager["Race"]):
    """Two to six recipes side by side: on one device, which one of them has at a time, and on one clock.

    They take turns of ``slice_s`` seconds of training. Each lane's clock counts its own training alone: not others'
    turns, not pauses, not evaluations, which are on a clock of their own. So at equal readings all have had the device
    equally long, and a lane's time is the time it would have taken alone. Lanes end at the target, or at a limit.

    Parameters
    ----------
    entrants : mapping of name to Recipe or Session
        Two to six. Sessions must not have trained yet; what the race makes of recipes it also closes.
    target : Accuracy or float, optional
        Test accuracy to reach: where a lane ends.
    slice_s : float
        Seconds of training in a turn, 0.01 to 10. Shorter is smoother to watch; a turn costs about a millisecond.
    data_dir : path, optional
        Folder with data sets, as for `Session`.

    Attributes
    ----------
    lanes : mapping of name to Lane; ``race["SMA"]`` is one of them
    target : Accuracy or None

    Raises
    ------
    ConfigurationError
        If there are too few or too many, two have one name, or they train on other devices, data or test data, which
        can't be compared. Otherwise as `Session`, with the lane's name.

    Examples
    --------
    >>> import crossbow_lab as cb
    >>> common = {"learners": 2, "batch_size": 8, "learning_rate": 0.1, "executor": "loop", "evaluate_every": 0.5}
    >>> with Race(
    ...     {
    ...         "SMA": cb.Recipe("logreg", "digits", cb.SMA(), **common),
    ...         "S-SGD": cb.Recipe("logreg", "digits", cb.SSGD(), **common),
    ...     },
    ...     target=0.8,
    ... ) as race:
    ...     table = race.run(epochs=10).table
    >>> table["state"].to_list()
    ['finished', 'finished']
    """

    def __init__(
        self,
        entrants: Mapping[str, Recipe | Session],
        target: Accuracy | float | None = None,
        *,
        slice_s: float = _SLICE_S,
        data_dir: str | Path | None = None,
    ) -> None:
        self.target = target if isinstance(target, Accuracy | None) else Accuracy(target)
        if not 0.01 <= check_positive("slice_s", slice_s) <= 10:
            raise ConfigurationError(f"slice_s is {slice_s}; give 0.01 to 10 seconds")
        self._turns = Turns(slice_s)
        sessions, self._made = enter(entrants, data_dir)
        self.lanes = {name: Lane(name, session, self._turns, self.target) for name, session in sessions.items()}
        try:
            for lane in self.lanes.values():
                lane.prepare(None, None, is_needed=False)  # says now if the target can't be reached
        except CrossbowError:
            self.close()
            raise

    def __getitem__(self, name: str) -> Lane:
        """Return a lane.

        Raises
        ------
        ConfigurationError
            If there is none of this name.
        """
        if name not in self.lanes:
            raise ConfigurationError(f"no lane is called {name!r}; {nearest(str(name), self.lanes)}")
        return self.lanes[name]

    def __repr__(self) -> str:
        return f"<Race {self.state}: {', '.join(f'{name} {lane.state}' for name, lane in self.lanes.items())}>"

    # ---- training -------------------------------------------------------------------------------------------

    def run(self, epochs: float | None = None, seconds: float | None = None, *, progress: bool | None = None) -> "Race":
        """Race in the foreground until every lane has reached the target, or a limit; return the race itself.

        Parameters
        ----------
        epochs, seconds : of each lane, counted from now; seconds of its own training time.
        progress : print a line at most every two seconds; by default where nobody looks (``CROSSBOW_HEADLESS``).

        Raises
        ------
        ConfigurationError
            If nothing says where to end, nobody is left to race, or the race is under way already.
        """
        self._line_up(epochs, seconds, is_needed=True)
        speaks = is_headless() if progress is None else progress
        try:
            self._turns.take(list(self.lanes.values()), _speaker(self) if speaks else lambda: None)
        except KeyboardInterrupt:
            self.stop()
            raise
        return self

    def start(self, epochs: float | None = None, seconds: float | None = None) -> "Race":
        """Race in the background, until the target, a limit, `stop`, or without end; return at once."""
        self._line_up(epochs, seconds, is_needed=False)
        self._turns.start(list(self.lanes.values()))
        return self

    def _line_up(self, epochs: float | None, seconds: float | None, *, is_needed: bool) -> None:
        """Get all lanes ready."""
        if self._turns.are_taken:
            raise ConfigurationError("the race is under way; stop() it first")
        limits = {name: lane.prepare(epochs, seconds, is_needed=is_needed) for name, lane in self.lanes.items()}
        for name, lane in self.lanes.items():
            lane.line_up(limits[name])
        if not any(lane.can_go for lane in self.lanes.values()):
            raise ConfigurationError("every lane has reached the target, or failed; reset() begins again")

    def pause(self) -> None:
        """Pause all lanes at the end of the present turn; returns at once."""
        for lane in self._going():
            lane.pause()

    def resume(self) -> None:
        """Go on after a pause."""
        for lane in self._going():
            lane.resume()

    def stop(self) -> None:
        """Stop all lanes after the present turn, and wait until every z has been evaluated."""
        self._turns.end()
        for lane in self._going():
            if lane.session.snapshot.iteration:
                lane.end("stopped")

    def wait(self, timeout_s: float | None = None) -> str:
        """Wait until the race has ended, or ``timeout_s`` passes; return the state. A paused race doesn't end."""
        self._turns.wait(timeout_s)
        return self.state

    def reset(self) -> "Race":
        """Begin again: the same recipes and seeds from the start, without the adjustments made since."""
        self.stop()
        for lane in self.lanes.values():
            lane.reset()
        return self

    def close(self) -> None:
        """Stop, and close the sessions that were made of recipes; what was recorded stays readable."""
        self.stop()
        for session in self._made:
            session.close()

    def __exit__(self, *exception: object) -> None:
        """Close the race."""
        self.close()

    @property
    def pace(self) -> float:
        """Share of the time in which somebody trains: 1, or less for slow motion to watch. No clock counts the rests.

        Setting it raises ConfigurationError outside of 0.01 to 1.
        """
        return self._turns.pace

    @pace.setter
    def pace(self, pace: float) -> None:
        if not 0.01 <= check_positive("pace", pace) <= 1:
            raise ConfigurationError(f"pace is {pace}; give 0.01 (a hundred times slower) to 1")
        self._turns.pace = float(pace)

    def _going(self) -> list[Lane]:
        """Return the lanes that haven't ended."""
        return [lane for lane in self.lanes.values() if lane.can_go]

    # ---- looking --------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """One of "ready", "running", "paused", "finished", "stopped", "failed" (of itself, not a lane)."""
        states = {lane.state for lane in self.lanes.values()}
        if self._turns.error is not None:
            return "failed"
        if self._turns.are_taken:
            return "running" if "running" in states else "paused"
        if "ready" in states or "paused" in states:
            return "ready" if not any(lane.slices for lane in self.lanes.values()) else "stopped"
        return "stopped" if "stopped" in states else "finished"

    @property
    def error(self) -> str | None:
        """What ended the race itself, in one message; None if nothing did. A lane that fails has its own."""
        return None if self._turns.error is None else str(self._turns.error)

    @property
    def table(self) -> pd.DataFrame:
        """One row per lane, the first to reach the target first.

        Columns: place, lane, state, seconds_to_target and epochs_to_target and samples_to_target (NaN where it wasn't
        reached), test_accuracy (of z, the last), elapsed_s, epoch, samples_per_s (over all of its time), algorithm,
        learners, batch_size, learning_rate.
        """
        from crossbow_lab.racing.standings import standings

        return standings(list(self.lanes.values()))

    @property
    def histories(self) -> dict[str, pd.DataFrame]:
        """Each lane's `Session.history`, by name."""
        return {name: lane.session.history for name, lane in self.lanes.items()}

    @property
    def recipes(self) -> dict[str, Recipe]:
        """Each lane's recipe, adjustments included: each can be run again by itself, to the same bits."""
        return {name: lane.session.recipe for name, lane in self.lanes.items()}

    @property
    def figure(self) -> "Still":
        """Test accuracy of all lanes by time, epochs and samples: a figure that shows everywhere.

        Raises ConfigurationError before the first evaluation.
        """
        from crossbow_lab.dashboard.races import race_figure  # upwards in the layers, as a session shows itself

        return race_figure(self)

    def dashboard(self, ui: str = "auto", rate_hz: float | None = None) -> "RaceDashboard":
        """Show live plots, the table and controls under this cell; called again, another view of the same ones.

        Parameters
        ----------
        ui : "live"; "off" for a static report of what there is; "auto": off where ``CROSSBOW_HEADLESS`` is 1.
        rate_hz : updates a second; None: as before, at first 10.
        """
        from crossbow_lab.dashboard.races import open_race  # upwards, as above

        return open_race(self, ui=ui, rate_hz=rate_hz)


def _speaker(race: Race) -> Callable[[], None]:
    """Return what prints how a race stands, at most every two seconds."""
    next_s = time.perf_counter() + _LINE_EVERY_S

    def speak() -> None:
        nonlocal next_s
        if time.perf_counter() >= next_s:
            next_s = time.perf_counter() + _LINE_EVERY_S
            print("; ".join(_in_words(lane) for lane in race.lanes.values()), flush=True)  # noqa: T201  (asked for)

    return speak


def _in_words(lane: Lane) -> str:
    """Say how a lane stands."""
    now, reached = lane.session.snapshot, lane.reached
    if reached is not None:
        return f"{lane.name}: target in {reached.seconds:.2f} s"
    return f"{lane.name}: {now.test_accuracy:.1%} after {now.elapsed_s:.1f} s"
