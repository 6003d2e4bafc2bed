"""All live plots of a dashboard in one widget, drawn by the plotly.js that comes with the installed plotly package.

A page that opens, or is loaded again, finds the whole history in the widget's state: it needs no message to the
kernel. From then on one message per update brings what is new in all plots (`crossbow_lab.dashboard.wire`). The
JavaScript under ``assets`` keeps the history per widget and draws it in each view of it.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets

from crossbow_lab.dashboard.columns import X_AXES as X_AXES
from crossbow_lab.dashboard.columns import Floats
from crossbow_lab.dashboard.plotly_js import PlotlyJs
from crossbow_lab.dashboard.plots import Line as Line
from crossbow_lab.dashboard.plots import MarkKind, check_point, checked_mark, spec
from crossbow_lab.dashboard.plots import Plot as Plot
from crossbow_lab.dashboard.plots import Point as Point
from crossbow_lab.dashboard.scripts import packed
from crossbow_lab.dashboard.wire import Wire, now
from crossbow_lab.errors import ConfigurationError, nearest

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("page", "table", "history", "look", "figure", "overlay", "plot", "points", "board")  # one module, in order


def script() -> str:
    """Return the board's JavaScript."""
    return packed([_ASSETS / f"{name}.js" for name in _SCRIPTS])


class Board(anywidget.AnyWidget):
    """All live plots of a dashboard.

    Every method may be called on any thread. What `mark`, `points`, `target`, `until` and `clear` set is shown with
    the next `append`.

    Parameters
    ----------
    tables : mapping of str to sequence of str
        Columns of each table, without the x axes (`X_AXES`), which every row of every table starts with.
    plots : sequence of Plot
        From left to right and top to bottom.
    x_axis : str
        One of `X_AXES`, to begin with. The switch of the x axis is the browser's own.

    Raises
    ------
    ConfigurationError
        If plots and tables don't fit together.
    """

    _esm = script()
    _css = (_ASSETS / "board.css").read_text(encoding="utf-8")
    _spec = traitlets.Unicode().tag(sync=True)  # JSON: as a dict it would be saved with a line for each word
    _library = traitlets.Instance(PlotlyJs).tag(sync=True, **ipywidgets.widget_serialization)
    # Both stay empty here: they are filled only in a state that a page asked for.
    _about = traitlets.Dict().tag(sync=True)
    _snapshot = traitlets.Bytes(b"").tag(sync=True)

    def __init__(
        self, tables: Mapping[str, Sequence[str]], plots: Sequence[Plot], *, x_axis: str = "iteration"
    ) -> None:
        self._is_open = False
        self._lock = threading.RLock()
        self._wire = Wire(tables, now())
        self._point_plots = [plot.title for plot in plots if plot.kind == "points"]
        told = json.dumps({**spec(tables, plots, x_axis), "plotly": version("plotly")}, separators=(",", ":"))
        super().__init__(_spec=told, _library=PlotlyJs.shared())
        self._is_open = True
        self.on_msg(self._answer)

    def __repr__(self) -> str:
        return "<live plots>"

    def append(self, rows: Mapping[str, Floats] | None = None) -> None:
        """Append rows to tables, and tell the pages everything that is new in one message.

        To be called about ten times a second, also with nothing: pages that opened meanwhile are brought up to
        date then, also while nothing is trained.

        Parameters
        ----------
        rows : mapping of str to float32 array of shape (4 + columns, m)
            New rows of each table; NaN is no value. The x axes never fall.

        Raises
        ------
        ConfigurationError
            If there is no such table, or the shape is another. Nothing is appended then.
        """
        with self._lock:
            message = self._wire.append(rows or {}, now())
            if message is not None:
                self.send(*message)

    def mark(self, key: str, x: Sequence[float], text: str, kind: MarkKind = "adjustment") -> None:
        """Set a vertical line with a label on every plot over the x axis; the same key again moves it.

        Parameters
        ----------
        key : str
            A drag of a slider is one mark if all its steps have one key.
        x : sequence of float
            Where, on each of `X_AXES`.
        text : str
            The label.
        kind : str
            "adjustment", "restart", "tuner", "checkpoint", "target" or "failure".

        Raises
        ------
        ConfigurationError
            If there is no such kind, or ``x`` isn't four finite numbers.
        """
        mark = checked_mark(key, x, text, kind)
        with self._lock:
            self._wire.mark(mark, now())

    def points(self, plot_title: str, points: Sequence[Point], samples_per_epoch: float | None = None) -> None:
        """Replace the points of a plot of kind "points".

        Parameters
        ----------
        plot_title : str
            The plot's title.
        points : sequence of Point
            All of them.
        samples_per_epoch : float, optional
            Where x is samples/s and y is epochs: draws the lines along which the time, y samples_per_epoch / x, is
            the same.

        Raises
        ------
        ConfigurationError
            If no plot of points has this title, or a point isn't at finite numbers.
        """
        if plot_title not in self._point_plots:
            raise ConfigurationError(
                f"no plot of points is called {plot_title!r}; {nearest(plot_title, self._point_plots)}"
            )
        for point in points:
            check_point(point)
        with self._lock:
            self._wire.points(plot_title, points, samples_per_epoch)

    def target(self, accuracy: float | None) -> None:
        """Set the target accuracy (0..1) of the plots that have a target line; None removes it."""
        with self._lock:
            self._wire.target(accuracy)

    def until(self, iteration: float | None) -> None:
        """Show only what happened until an iteration, on axes that have room for all; None shows all."""
        with self._lock:
            self._wire.until(iteration)

    def clear(self) -> None:
        """Forget all rows, marks, points and the target, here and on all pages."""
        with self._lock:
            self._wire.clear(now())

    def length(self, table: str) -> int:
        """Return how many rows were ever appended to a table, those thinned since included."""
        with self._lock:
            return self._wire.columns[table].n_rows

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """Return the widget's state; with the whole history where a page asks for all of it."""
        state: dict[str, Any] = super().get_state(key, drop_defaults)
        if key is None:
            with self._lock:
                state["_about"], state["_snapshot"] = self._wire.snapshot(now())
        return state

    def close(self) -> None:
        """Take the plots from all pages."""
        super().close()
        if self._is_open:
            self._is_open = False
            self.layout.close()  # a widget of its own, which ipywidgets leaves open
            self._library.release()

    def _answer(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        """Tell the whole history where a page says that it misses rows: sooner than without its asking."""
        if content.get("type") == "whole":
            with self._lock:
                self.send(*self._wire.whole(now()))
