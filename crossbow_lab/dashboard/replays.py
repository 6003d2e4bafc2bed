"""Replays: a recorded session's plots and numbers, scrubbed by a slider. Nothing trains, no GPU is needed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from crossbow_lab.dashboard import page, recorded
from crossbow_lab.dashboard.headless import Report, report
from crossbow_lab.dashboard.recorded import Recorded
from crossbow_lab.errors import ConfigurationError, RunError
from crossbow_lab.session import Accuracy, Session

if TYPE_CHECKING:
    from crossbow_lab.dashboard.scrub import Scrub


def replay(record: "str | Path | Session | pd.DataFrame | Any", *, session: str | None = None) -> "Replay":
    """Take a recorded session, to be looked at again.

    Parameters
    ----------
    record : path, Run, Session or DataFrame
        A run's folder or the run itself, such as "save run" published; the ``folder`` of a session; a session; or a
        history alone, as ``session.history``, which has no learners and no events.
    session : str, optional
        Which of a run's sessions, where there are several.

    Returns
    -------
    Replay
        Its `Replay.dashboard` shows it.

    Raises
    ------
    RunError
        If there is no record, none with an evaluation, or it is damaged.
    """
    if isinstance(record, Session):
        taken = recorded.of_session(record)
    elif isinstance(record, pd.DataFrame):
        taken = recorded.of_history(record)
    else:
        folder = getattr(record, "folder", record)
        if not isinstance(folder, str | Path):
            raise ConfigurationError(f"record is {record!r}; give a folder, a Run, a Session or its history")
        taken = recorded.read(Path(folder), session)
    if not taken.rows:
        raise RunError(f"the record {taken.name!r} has no evaluation, so there is nothing to replay")
    return Replay(taken)


class Replay:
    """A recorded session.

    Parameters
    ----------
    record : Recorded

    Attributes
    ----------
    recorded : its entries.
    """

    def __init__(self, record: Recorded) -> None:
        self.recorded = record

    def __repr__(self) -> str:
        last = self.recorded.rows[-1]
        return f"<replay of {self.recorded.name}: {len(self.recorded.rows)} evaluations, {last.epoch:.2f} epochs>"

    def dashboard(self, target: Accuracy | float | None = None, ui: str = "auto") -> "ReplayDashboard":
        """Show plots and numbers with a slider through time under this cell; see `Session.dashboard`."""
        goal = target if isinstance(target, Accuracy | None) else Accuracy(target)
        shown = ReplayDashboard(self, goal, is_live=page.is_live(ui))
        shown.display()
        return shown


class ReplayDashboard:
    """What `Replay.dashboard` returns.

    Parameters
    ----------
    of : Replay
    goal : Accuracy or None
        The target.
    is_live : bool
        Whether it has widgets.

    Attributes
    ----------
    live : the widgets and their pump; None where nothing is live, and after `close`.
    """

    def __init__(self, of: Replay, goal: Accuracy | None, *, is_live: bool) -> None:
        self._of, self._goal = of, goal
        self._is_closed = False
        self._places = page.Places(self)
        self._still = page.Replaceable(lambda: (of, lambda: self.report().bundles()))
        self.live = self._open() if is_live else None

    def _open(self) -> "Scrub":
        """Return the live part."""
        from crossbow_lab.dashboard.scrub import Scrub  # widgets are imported where there are any

        return Scrub(self._of.recorded, self._goal)

    def __repr__(self) -> str:
        return repr(self._of)

    def _ipython_display_(self) -> None:
        """Show it as a cell's last value."""
        self.display()

    def display(self) -> None:
        """Show a view of it under the present cell, unless one is there already."""
        if self._is_closed or not self._places.take():
            return
        if self.live is not None:
            page.show({**self.live.box._repr_mimebundle_(), "text/plain": repr(self)})
        else:
            self._still.show()

    def report(self) -> Report:
        """Return the static report of the whole record."""
        record = self._of.recorded
        recipe = record.recipe
        about: dict[str, Any] = {"replay_of": record.name}
        if recipe is not None:
            about |= {"model": recipe.model, "dataset": recipe.dataset, "seed": recipe.seed}
        return report(record.rows, record.events, goal=self._goal, about=about)

    def close(self) -> None:
        """Take it from all pages, and leave nothing behind: no thread, no widget."""
        self._is_closed = True
        live, self.live = self.live, None
        if live is not None:
            live.close()
        self._places.leave()
