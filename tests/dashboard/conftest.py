"""Small sessions, dashboards that are closed after each test, a stand-in for a notebook, and patience with threads."""

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import ipywidgets
import pytest

from crossbow_lab.dashboard import dashboard as dashboards
from crossbow_lab.dashboard import page
from crossbow_lab.session import Session


@pytest.fixture
def make() -> Iterator[Callable[..., Session]]:
    """Give a maker of small sessions (logistic regression on digits unless told otherwise); closes them all."""
    made: list[Session] = []

    def make(model: Any = "logreg", dataset: Any = None, **settings: Any) -> Session:
        settings = {"executor": "loop", "threads": 1, "learners": 2, "batch_size": 8, "max_learners": 8, **settings}
        made.append(Session(model, dataset, **settings))
        return made[-1]

    yield make
    for session in made:
        session.close()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Close the dashboards that a test opened, and see that no thread and no widget is left."""
    before = set(ipywidgets.widgets.widget._instances)
    yield
    for opened in list(dashboards._OPEN.values()):
        opened.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("crossbow-dashboard")] == []
    left = {key: widget for key, widget in ipywidgets.widgets.widget._instances.items() if key not in before}
    assert left == {}


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], object]], None]:
    """Give a function that waits until something holds, for twenty seconds at most."""

    def wait_for(holds: Callable[[], object]) -> None:
        end_s = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < end_s, "waited for twenty seconds in vain"
            time.sleep(0.002)

    return wait_for


class Notebook:
    """Stands in for IPython: cells are executed one after the other, and what they show is kept."""

    def __init__(self) -> None:
        self.execution_count = 1
        self.cell_id: str | None = "first"
        self.shown: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.after: list[Callable[[object], None]] = []
        self.events = SimpleNamespace(
            register=lambda _, function: self.after.append(function),
            unregister=lambda _, function: self.after.remove(function),
        )

    def get_parent(self) -> dict[str, Any]:
        """Return what JupyterLab sends along with a cell."""
        return {"metadata": {} if self.cell_id is None else {"cellId": self.cell_id}}

    def end_cell(self, next_id: str | None = "another") -> None:
        """End the cell, and begin the next."""
        for function in list(self.after):
            function(None)
        self.execution_count += 1
        self.cell_id = next_id

    def display(self, bundle: dict[str, Any], metadata: dict[str, Any], raw: bool, **options: Any) -> None:
        """Keep what is shown."""
        assert raw
        self.shown.append((bundle, {"metadata": metadata, **options}))


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    """Give a stand-in for the notebook in which everything happens."""
    made = Notebook()
    monkeypatch.setattr(page, "shell", lambda: made)
    monkeypatch.setattr("IPython.display.display", made.display)
    return made
