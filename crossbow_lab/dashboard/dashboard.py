"""The dashboard of a session: live widgets, or where nobody looks a static report; one for each session."""

from collections.abc import Callable
from typing import Any

from crossbow_lab.dashboard import page
from crossbow_lab.dashboard.headless import Report, report
from crossbow_lab.errors import ConfigurationError, RunError
from crossbow_lab.session import Accuracy, Session

_RATE_HZ = 10.0
_MOST_HZ = 30.0


class Dashboard:
    """What `Session.dashboard` returns: shown under the cell that asks for it, once for each cell.

    Parameters
    ----------
    session : Session
    target : Accuracy, float or None
        Test accuracy that is drawn, and to which time is taken.
    ui : str
        "live"; "off" for a static report; "auto": off where ``CROSSBOW_HEADLESS`` is set, and not to 0.
    rate_hz : float
        Updates a second, greater than 0 and at most 30.

    Attributes
    ----------
    session : what it shows.
    target : an Accuracy, or None.
    live : the widgets and their pump; None where nothing is live, and after `close`.

    Raises
    ------
    ConfigurationError
        If an argument is outside its range.
    """

    def __init__(
        self,
        session: Session,
        target: Accuracy | float | None = None,
        ui: str = "auto",
        rate_hz: float | None = None,
    ) -> None:
        self.session = session
        self.is_closed = False
        self.target = _goal(target)
        self._rate_hz = checked_rate(_RATE_HZ if rate_hz is None else rate_hz)
        self.places = page.Places(self)
        self._still = page.Replaceable(self._what)
        self.live = self._open() if page.is_live(ui) else None
        self._forget = page.after_each_cell(self.refresh) if self.live is None else _nothing

    def _open(self) -> Any:
        """Return the live part."""
        from crossbow_lab.dashboard.live import Live  # widgets are imported where there are any

        return Live(self.session, self.target, self._rate_hz)

    def __repr__(self) -> str:
        recipe, kind = self.session.recipe, "live dashboard" if self.live else "report"
        return f"<{kind} of {recipe.model or 'a model'} on {recipe.dataset or 'data'}, seed {recipe.seed}>"

    def _ipython_display_(self) -> None:
        """Show it as a cell's last value."""
        self.display()

    def change(self, target: Accuracy | float | None = None, rate_hz: float | None = None) -> None:
        """Take another target, or another rate; None leaves what is."""
        if rate_hz is not None:
            self._rate_hz = checked_rate(rate_hz)
        if target is not None:
            self.target = _goal(target)
        if self.live is not None:
            self.live.pump.period_s = 1.0 / self._rate_hz
            if target is not None:
                self.live.aim(self.target)

    def display(self) -> None:
        """Show a view of it under the present cell, unless one is there already."""
        if self.is_closed or not self.places.take():
            return
        if self.live is not None:
            page.show({**self.live.box._repr_mimebundle_(), "text/plain": repr(self)})
        else:
            self._still.show()

    def refresh(self) -> None:
        """Replace a static report under the cell where it is, if training has gone on and isn't going on now."""
        if self.live is None and self.session.state != "running":
            self._still.replace()

    def _what(self) -> tuple[object, Callable[[], page.Bundles]]:
        """Return what a static report would show, as something to compare and as a function that makes it."""
        session = self.session
        return (session.record, session.snapshot.iteration, session.state), lambda: self.report().bundles()

    def report(self) -> Report:
        """Return the static report of what there is so far."""
        session, now, recipe = self.session, self.session.snapshot, self.session.recipe
        about: dict[str, Any] = {"state": now.state, "error": now.error, "executor": now.executor}
        about |= {"model": recipe.model, "dataset": recipe.dataset, "seed": recipe.seed}
        if now.state != "failed":
            about["fingerprint"] = session.fingerprint()
        record = session.record
        return report(list(record.rows.entries), list(record.events.entries), goal=self.target, about=about)

    def close(self) -> None:
        """Take it from all pages, and leave nothing behind: no thread, no widget. Training goes on."""
        self.is_closed = True
        self._forget()
        live, self.live = self.live, None
        if live is not None:
            live.close()
        self.places.leave()
        if _OPEN.get(self.session) is self:
            del _OPEN[self.session]


def open_dashboard(
    session: Session, *, target: Accuracy | float | None = None, ui: str = "auto", rate_hz: float | None = None
) -> Dashboard:
    """Show a session's dashboard under the present cell, and return it; a session has one at a time.

    Parameters
    ----------
    target, rate_hz : as for `Dashboard`; None leaves them as they are.
    ui : as for `Dashboard`; "auto" leaves it as it is.
    """
    opened = _OPEN.get(session)
    if opened is not None and _is_other(opened, ui):
        opened.close()
        opened = None
    if opened is None:
        opened = _OPEN[session] = Dashboard(session, target, ui, rate_hz)
    else:
        opened.change(target, rate_hz)
    opened.display()
    return opened


def _is_other(opened: Dashboard, ui: str) -> bool:
    """Tell whether what is open isn't what is asked for, or has stopped."""
    is_live = opened.live is not None
    return (ui != "auto" and page.is_live(ui) != is_live) or (opened.live is not None and not opened.live.pump.is_alive)


def run_live(session: Session, *, ui: str = "auto", **limits: Any) -> None:
    """Show a session's dashboard, and train in the foreground; see `Session.run_live`.

    Raises
    ------
    RunError
        If training fails while it is shown live. Otherwise as `Session.run`.
    """
    opened = open_dashboard(session, target=limits.get("until"), ui=ui)
    if opened.live is None:
        try:
            session.run(progress=True, **limits)
        finally:
            opened.refresh()
        return
    pump = opened.live.pump
    with pump.driven():
        session.start(**limits)
        try:
            while session.wait(pump.period_s) in ("running", "paused"):
                pump.tick()
        except KeyboardInterrupt:
            session.stop()
            raise
        finally:
            pump.tick()
    if session.state == "failed":
        raise RunError(f"training failed: {session.error}. session.traceback says where")


def _nothing() -> None:
    """Do nothing."""


def checked_rate(rate_hz: float) -> float:
    """Return a rate that is possible."""
    if not isinstance(rate_hz, int | float) or not 0 < rate_hz <= _MOST_HZ:
        raise ConfigurationError(f"rate_hz is {rate_hz!r}; give updates a second, up to {_MOST_HZ:g}")
    return float(rate_hz)


def _goal(target: Accuracy | float | None) -> Accuracy | None:
    """Return a target as what it means."""
    return target if isinstance(target, Accuracy | None) else Accuracy(target)


_OPEN: dict[Session, Dashboard] = {}
