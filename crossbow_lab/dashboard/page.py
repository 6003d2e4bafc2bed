"""Where dashboards appear in a notebook: one view for each cell, and nothing where there is no notebook."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.surroundings import is_headless

UIS = ("auto", "live", "off")


def is_live(ui: str) -> bool:
    """Tell whether widgets are wanted: as ``ui`` says, else as the environment says.

    Raises
    ------
    ConfigurationError
        If ``ui`` isn't "auto", "live" or "off".
    """
    if ui not in UIS:
        raise ConfigurationError(f'ui is {ui!r}; give "live", "off" or "auto"')
    return ui == "live" or (ui == "auto" and not is_headless())


def shell() -> Any:
    """Return IPython's shell, None outside of it."""
    from IPython.core.getipython import get_ipython

    return get_ipython()


def show(bundle: dict[str, Any], metadata: dict[str, Any] | None = None, **options: Any) -> None:
    """Show something under the present cell; nothing happens outside of IPython."""
    if shell() is not None:
        from IPython.display import display

        display(bundle, metadata=metadata or {}, raw=True, **options)  # type: ignore[no-untyped-call]


class Closable(Protocol):
    """What can be shown in a notebook and closed."""

    def close(self) -> None:
        """Take it from all pages."""


class Places:
    """The cells under which something is shown: once under each.

    A cell that is executed again shows something else instead of what it showed; what is shown nowhere any more is
    closed, or every "run all" would leave a dashboard at work that nobody can see.

    Parameters
    ----------
    owner : what is shown.
    """

    _at: ClassVar[dict[str, tuple[int, list["Places"]]]] = {}  # by cell: its execution, and what that showed

    def __init__(self, owner: Closable) -> None:
        self._owner = owner
        self._executions: set[int] = set()
        self._ids: set[str] = set()

    def take(self) -> bool:
        """Tell whether something is to be shown under the present cell, and note that it is."""
        ipython = shell()
        if ipython is None or ipython.execution_count in self._executions:
            return False
        self._executions.add(ipython.execution_count)
        # JupyterLab says which cell is executed, others may not.
        parent: dict[str, Any] = getattr(ipython, "get_parent", dict)() or {}
        cell = parent.get("metadata", {}).get("cellId")
        if cell is not None:
            execution, shown = Places._at.get(cell, (0, []))
            if execution != ipython.execution_count:
                for before in shown:
                    before._lose(cell)
                shown = []
            Places._at[cell] = ipython.execution_count, [*shown, self]
            self._ids.add(cell)
        return True

    def _lose(self, cell: str) -> None:
        """Close the owner if this was the last cell that showed it."""
        self._ids.discard(cell)
        if not self._ids:
            self._owner.close()

    def leave(self) -> None:
        """Forget all cells."""
        for cell in self._ids:
            execution, shown = Places._at[cell]
            Places._at[cell] = execution, [places for places in shown if places is not self]
        self._ids.clear()


Bundles = Sequence[tuple[dict[str, Any], dict[str, Any]]]


class Replaceable:
    """Outputs under cells that are replaced when there is more to show.

    Parameters
    ----------
    what : returns something that is another when there is more to show, and a function that makes the outputs: as
        many each time, each with metadata.
    """

    def __init__(self, what: Callable[[], tuple[object, Callable[[], Bundles]]]) -> None:
        self._what = what
        self._shown: object = None
        self._name = f"crossbow-{secrets.token_hex(4)}"
        self._is_shown = False

    def show(self) -> None:
        """Show it under the present cell; it replaces what is shown under others, too."""
        self._shown, make = self._what()
        for part, (bundle, metadata) in enumerate(make()):
            show(bundle, metadata, display_id=f"{self._name}-{part}")
        self._is_shown = True

    def replace(self) -> None:
        """Replace it wherever it is shown, if there is more to show."""
        what, make = self._what()
        if self._is_shown and what != self._shown:
            self._shown = what
            for part, (bundle, metadata) in enumerate(make()):
                show(bundle, metadata, display_id=f"{self._name}-{part}", update=True)


def after_each_cell(function: Callable[[], None]) -> Callable[[], None]:
    """Have a function called after each cell; return what ends that."""
    ipython = shell()
    if ipython is None:
        return lambda: None

    def called(_result: object) -> None:
        function()

    ipython.events.register("post_run_cell", called)
    return lambda: ipython.events.unregister("post_run_cell", called)
