"""The dashboard of a landscape under a cell: live widgets, or where nobody looks a static report."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from crossbow_lab.averaging import algorithm_name
from crossbow_lab.dashboard import page, static
from crossbow_lab.dashboard.headless import Report
from crossbow_lab.landscape.figures import figure

if TYPE_CHECKING:
    from crossbow_lab.landscape.landscape import Landscape
    from crossbow_lab.landscape.live import Live


class LandscapeDashboard:
    """What `Landscape.dashboard` returns: shown once under each cell that asks for it.

    Parameters
    ----------
    landscape : Landscape
    is_live : bool
        Whether it has widgets.

    Attributes
    ----------
    live : the widgets and their pump; None where nothing is live, and after `close`.
    is_closed : whether it was closed.
    """

    def __init__(self, landscape: "Landscape", *, is_live: bool) -> None:
        self._landscape = landscape
        self.is_closed = False
        self._places = page.Places(self)
        self._still = page.Replaceable(self._what)
        self.live = self._open() if is_live else None
        self._forget = page.after_each_cell(self.refresh)

    def _open(self) -> "Live":
        """Return the live part."""
        from crossbow_lab.landscape.live import Live  # widgets are imported where there are any

        return Live(self._landscape)

    def __repr__(self) -> str:
        return repr(self._landscape)

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
        """Replace a static report under the cell where it is, if learners have moved meanwhile."""
        if self.live is None:
            self._still.replace()

    def _what(self) -> tuple[object, Callable[[], page.Bundles]]:
        """Return what a static report would show, as something to compare and as a function that makes it."""
        landscape = self._landscape
        done = len(landscape.course.changes)
        return (landscape.generation, landscape.iteration, landscape.head, done), lambda: self.report().bundles()

    def report(self) -> Report:
        """Return the static report of what there is until the iteration that is looked at."""
        shown, metadata = static(figure(self._landscape), dots_per_px=1.0)._repr_mimebundle_()
        result = facts(self._landscape)
        told = [
            (name.replace("_", " "), f"{value:.5g}" if isinstance(value, float) else str(value))
            for name, value in result.items()
        ]
        return Report(shown, metadata, pd.DataFrame(told, columns=["measure", "value"]), result)

    def close(self) -> None:
        """Take it from all pages, and leave nothing behind: no thread, no widget. The landscape stays as it is."""
        self.is_closed = True
        self._forget()
        live, self.live = self.live, None
        if live is not None:
            live.close()
        self._places.leave()


def open_dashboard(landscape: "Landscape", opened: LandscapeDashboard | None, ui: str) -> LandscapeDashboard:
    """Show a landscape's dashboard under the present cell: the one that is open, or a new one."""
    is_live = page.is_live(ui)
    if opened is not None and not opened.is_closed:
        is_other = ui != "auto" and is_live != (opened.live is not None)
        if is_other or (opened.live is not None and not opened.live.pump.is_alive):
            opened.close()
    if opened is None or opened.is_closed:
        opened = LandscapeDashboard(landscape, is_live=is_live)
    opened.display()
    return opened


def facts(landscape: "Landscape") -> dict[str, Any]:
    """Return what a report says in numbers; JSON values."""
    settings, state = landscape.settings, landscape.state
    loss = float(landscape.surface.loss(*state.centre))
    return {
        "surface": landscape.surface.name,
        "algorithm": algorithm_name(settings.algorithm),
        "learners": landscape.learners,
        "batch_size": settings.batch_size,
        "noise": settings.noise,
        "learning_rate": settings.learning_rate,
        "alpha": landscape.alpha,
        "alpha_bound": landscape.alpha_bound,
        "seed": landscape.seed,
        "iteration": landscape.iteration,
        "has_diverged": landscape.has_diverged,
        "z": None if landscape.has_diverged else [float(part) for part in state.centre],
        "loss_at_z": None if landscape.has_diverged else loss,
    }
