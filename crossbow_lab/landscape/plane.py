"""The picture of a live landscape: one widget with contours or the surface in 3-D, learners, arrows and the time bar.

Every message holds all that is to be seen of one moment, so that a page which missed some needs nothing but the next.
A page that opens, or is loaded again, finds the present moment in the widget's state. The JavaScript is under
``assets``; it draws what moves on a canvas over plotly's contours, and the surface in 3-D on a canvas too: plotly's
own 3-D would need WebGL, which many a school's machine hasn't, and redraws 10,000 points too slowly to be played.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import traitlets

from crossbow_lab.dashboard.plotly_js import PlotlyJs
from crossbow_lab.dashboard.scripts import ASSETS, packed
from crossbow_lab.landscape.grids import Grid
from crossbow_lab.landscape.surfaces import Array

_OURS = Path(__file__).parent / "assets"
_SCRIPTS = (
    *(ASSETS / f"{name}.js" for name in ("page", "look", "names")),
    *(_OURS / f"{name}.js" for name in ("grid", "flat", "solid", "arrows", "timebar", "plane")),
)
_AFTER_OPENING_S = (0.4, 1.2, 3.0)  # a page that asked for the state misses messages until its JavaScript runs

Wish = Callable[[dict[str, Any]], None]


class Plane(anywidget.AnyWidget):
    """The picture.

    Parameters
    ----------
    wish : called with what a person does on it: {"type": "seek", "iteration"}, {"type": "start", "x", "y"},
        {"type": "window", "x", "y"}; on any thread.
    """

    _esm = packed(_SCRIPTS)
    _css = (_OURS / "plane.css").read_text(encoding="utf-8")
    _spec = traitlets.Unicode().tag(sync=True)
    _library = traitlets.Instance(PlotlyJs).tag(sync=True, **ipywidgets.widget_serialization)
    # Both stay empty here: they are filled only in a state that a page asked for.
    _about = traitlets.Dict().tag(sync=True)
    _snapshot = traitlets.Bytes(b"").tag(sync=True)

    def __init__(self, wish: Wish) -> None:
        self._is_open = False
        self._lock = threading.RLock()
        self._wish = wish
        self._openings: list[float] = []
        self._messages: dict[str, tuple[dict[str, Any], list[bytes]]] = {}  # the last of each type
        super().__init__(_spec=json.dumps({"plotly": version("plotly")}), _library=PlotlyJs.shared())
        self._is_open = True
        self.on_msg(lambda _widget, content, _buffers: self._wish(content))

    def __repr__(self) -> str:
        return "<learners on a surface>"

    def scene(self, name: str, grid: Grid, minima: tuple[tuple[float, float], ...], number: int) -> None:
        """Show a surface.

        Parameters
        ----------
        name : str
        grid : Grid
            All of it.
        minima : points
        number : int
            Another for another surface.
        """
        about = {"name": name, "minima": minima, "scene": number}
        self._tell("scene", {**about, "grid": _about(grid)}, [_bytes(grid.shade)])

    def window(self, grid: Grid, number: int) -> None:
        """Show a part of the surface in detail, to pages that look at that."""
        self.send({"type": "window", "scene": number, "grid": _about(grid)}, [_bytes(grid.shade)])

    def frame(self, about: dict[str, Any], parts: Mapping[str, Array]) -> None:
        """Show a moment.

        Parameters
        ----------
        about : dict of JSON values
        parts : mapping of str to array
            Sent as float32.
        """
        shapes = [[name, list(part.shape)] for name, part in parts.items()]
        self._tell("frame", {**about, "parts": shapes}, [_bytes(part) for part in parts.values()])

    def tell_again(self) -> None:
        """Tell pages that opened lately what they may have missed; to be called some times a second."""
        with self._lock:
            now_s = time.monotonic()
            due = [at_s for at_s in self._openings if at_s <= now_s]
            self._openings = self._openings[len(due) :]
            if due:
                for message in self._messages.values():
                    self.send(*message)

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """Return the widget's state; with the present moment where a page asks for all of it."""
        state: dict[str, Any] = super().get_state(key, drop_defaults)
        if key is None:
            with self._lock:
                buffers = [part for _, parts in self._messages.values() for part in parts]
                told = [(message, [len(part) for part in parts]) for message, parts in self._messages.values()]
                state["_about"], state["_snapshot"] = {"messages": told}, b"".join(buffers)
                self._openings = [time.monotonic() + wait_s for wait_s in _AFTER_OPENING_S]
        return state

    def close(self) -> None:
        """Take the picture from all pages."""
        super().close()
        if self._is_open:
            self._is_open = False
            self.layout.close()  # a widget of its own, which ipywidgets leaves open
            self._library.release()

    def _tell(self, kind: str, message: dict[str, Any], buffers: list[bytes]) -> None:
        """Send a message, and remember it for pages that open."""
        with self._lock:
            self._messages[kind] = {"type": kind, **message}, buffers
            self.send(*self._messages[kind])


def _about(grid: Grid) -> dict[str, Any]:
    """Return what isn't in a grid's buffer."""
    return {
        "x": [float(grid.x[0]), float(grid.x[-1])],
        "y": [float(grid.y[0]), float(grid.y[-1])],
        "n": len(grid.x),
        "low": grid.low,
        "scale": grid.scale,
    }


def _bytes(values: Array) -> bytes:
    """Return numbers as a page takes them."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, "<f4").tobytes()
