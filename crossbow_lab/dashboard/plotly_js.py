"""The plotly.js of the installed plotly package, brought to the browser once per page and kernel.

The compressed bundle is in the state that a page asks for and nowhere else: no request leaves the machine, and no
notebook is saved with it.
"""

import functools
import gzip
from typing import Any, ClassVar

import anywidget
import traitlets


@functools.cache
def bundle() -> bytes:
    """Return plotly.js, compressed: 4.8 MB become 1.5 MB."""
    from plotly.offline import get_plotlyjs

    return gzip.compress(get_plotlyjs().encode(), 6, mtime=0)


class PlotlyJs(anywidget.AnyWidget):
    """Holds the bundle for all boards of a kernel; use `shared`, and `release` when done."""

    _esm = "export default {}"
    gz = traitlets.Bytes(b"").tag(sync=True)  # stays empty here; the page empties its copy once plotly.js is loaded
    living: ClassVar["PlotlyJs | None"] = None

    def __init__(self) -> None:
        self.users = 0
        super().__init__()

    def __repr__(self) -> str:
        return "<plotly.js>"

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """Return the widget's state; with the bundle where a page asks for the whole."""
        state: dict[str, Any] = super().get_state(key, drop_defaults)
        if key is None and "gz" in state:
            state["gz"] = bundle()
        return state

    @classmethod
    def shared(cls) -> "PlotlyJs":
        """Return this kernel's only one, which is made for its first user."""
        library = cls.living = cls.living or cls()
        library.users += 1
        return library

    def release(self) -> None:
        """Count one user less, and close after the last."""
        self.users -= 1
        if self.users == 0:
            PlotlyJs.living = None
            self.layout.close()
            self.close()
