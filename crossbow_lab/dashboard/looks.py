"""How dashboards look, and how all widgets of one are closed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets

_STYLE = Path(__file__).parent / "assets" / "dashboard.css"


def style() -> ipywidgets.HTML:
    """Return the widget that brings the looks."""
    return ipywidgets.HTML(f"<style>{_STYLE.read_text(encoding='utf-8')}</style>").add_class("cb-style")


def close_all(widget: Any) -> None:
    """Close a widget with all that it holds; ipywidgets would leave those open."""
    for part in dict.fromkeys(_parts(widget)):
        part.close()


def _parts(widget: Any) -> Iterator[ipywidgets.Widget]:
    """Return a widget, what is inside it, and what says how they look."""
    for child in getattr(widget, "children", ()):
        yield from _parts(child)
    yield widget
    for name in ("layout", "style"):
        look = getattr(widget, name, None)
        if isinstance(look, ipywidgets.Widget):
            yield look
