"""The button that copies a session's recipe, and the names that screen readers read on sliders.

ipywidgets gives a slider's handle no name; the script of this one widget gives it the text of its label.
"""

from collections.abc import Callable
from typing import Any

import anywidget

from crossbow_lab.dashboard.scripts import ASSETS, packed

_SCRIPTS = [ASSETS / f"{name}.js" for name in ("names", "recipe")]


class RecipeButton(anywidget.AnyWidget):
    """A button "copy recipe", and below it the recipe as a text once it was asked for.

    Parameters
    ----------
    recipe : returns the text.
    """

    _esm = packed(_SCRIPTS)

    def __init__(self, recipe: Callable[[], str]) -> None:
        super().__init__()
        self._recipe = recipe
        self.on_msg(self._answer)

    def __repr__(self) -> str:
        return "<copy recipe>"

    def _answer(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        """Send the recipe as it is now to the page that asks."""
        if content.get("type") == "recipe":
            self.send({"recipe": self._recipe(), "asked": content.get("asked")})
