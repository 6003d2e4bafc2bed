"""Notebooks as runs: strict parameters, one process and one published folder per run.

Names load on first use: every run starts two processes that need only a few of these modules.
"""

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Comparison": "comparison",
    "Run": "manifest",
    "Sweep": "sweeping",
    "compare": "comparison",
    "gc": "cleaning",
    "list_runs": "store",
    "load_run": "manifest",
    "record": "recording",
    "replay": "replaying",
    "run_notebook": "runner",
    "save_session": "saving",
    "summarise": "summary",
    "sweep": "sweeping",
    "verdict": "summary",
    "verify": "verifying",
    "watch": "watching",
}

__all__ = [
    "Comparison",
    "Run",
    "Sweep",
    "compare",
    "gc",
    "list_runs",
    "load_run",
    "record",
    "replay",
    "run_notebook",
    "save_session",
    "summarise",
    "sweep",
    "verdict",
    "verify",
    "watch",
]

if TYPE_CHECKING:
    from crossbow_lab.runs.cleaning import gc
    from crossbow_lab.runs.comparison import Comparison, compare
    from crossbow_lab.runs.manifest import Run, load_run
    from crossbow_lab.runs.recording import record
    from crossbow_lab.runs.replaying import replay
    from crossbow_lab.runs.runner import run_notebook
    from crossbow_lab.runs.saving import save_session
    from crossbow_lab.runs.store import list_runs
    from crossbow_lab.runs.summary import summarise, verdict
    from crossbow_lab.runs.sweeping import Sweep, sweep
    from crossbow_lab.runs.verifying import verify
    from crossbow_lab.runs.watching import watch


def __getattr__(name: str) -> Any:
    """Load a name on first use."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"crossbow_lab.runs.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"crossbow_lab.runs has no {name!r}; public names: {', '.join(__all__)}")
