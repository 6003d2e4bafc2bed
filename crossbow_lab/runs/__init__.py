"""Notebooks as runs: strict parameters, one process and one published folder per run.

Names load on first use: every run starts two processes that need only a few of these modules.
"""

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Comparison": "comparing.comparison",
    "Run": "records.manifest",
    "Sweep": "sweeps.sweeping",
    "compare": "comparing.comparison",
    "gc": "records.cleaning",
    "list_runs": "records.store",
    "load_run": "records.manifest",
    "record": "recording",
    "replay": "replaying",
    "run_notebook": "runner",
    "save_session": "saving",
    "summarise": "summary",
    "sweep": "sweeps.sweeping",
    "verdict": "summary",
    "verify": "records.verifying",
    "watch": "records.watching",
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
    from crossbow_lab.runs.comparing.comparison import Comparison, compare
    from crossbow_lab.runs.recording import record
    from crossbow_lab.runs.records.cleaning import gc
    from crossbow_lab.runs.records.manifest import Run, load_run
    from crossbow_lab.runs.records.store import list_runs
    from crossbow_lab.runs.records.verifying import verify
    from crossbow_lab.runs.records.watching import watch
    from crossbow_lab.runs.replaying import replay
    from crossbow_lab.runs.runner import run_notebook
    from crossbow_lab.runs.saving import save_session
    from crossbow_lab.runs.summary import summarise, verdict
    from crossbow_lab.runs.sweeps.sweeping import Sweep, sweep


def __getattr__(name: str) -> Any:
    """Load a name on first use."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"crossbow_lab.runs.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"crossbow_lab.runs has no {name!r}; public names: {', '.join(__all__)}")
