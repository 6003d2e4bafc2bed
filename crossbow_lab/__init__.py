"""An interactive workbench for small-batch, many-learner training with synchronous model averaging (SMA).

It makes CROSSBOW (Koliousis et al., PVLDB 12(11), 2019, arXiv 1901.02244) something a person can hold. Public names
load on first use, so that ``import crossbow_lab`` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "SMA": "averaging",
    "EASGD": "averaging",
    "SSGD": "averaging",
    "Accuracy": "session",
    "GoodputRule": "tuning",
    "PaperRule": "tuning",
    "Recipe": "session",
    "Run": "runs",
    "Session": "session",
    "load_run": "runs",
    "record": "runs",
    "replay": "dashboard",
    "run_notebook": "runs",
    "scan": "session",
}
_PARTS = (
    "averaging",
    "kernels",
    "learners",
    "workloads",
    "session",
    "dashboard",
    "landscape",
    "runs",
    "errors",
    "tuning",
)

__all__ = [
    "EASGD",
    "SMA",
    "SSGD",
    "Accuracy",
    "GoodputRule",
    "PaperRule",
    "Recipe",
    "Run",
    "Session",
    "averaging",
    "dashboard",
    "errors",
    "kernels",
    "landscape",
    "learners",
    "load_run",
    "record",
    "replay",
    "run_notebook",
    "runs",
    "scan",
    "session",
    "tuning",
    "workloads",
]

if TYPE_CHECKING:
    from crossbow_lab.averaging import EASGD, SMA, SSGD
    from crossbow_lab.dashboard import replay
    from crossbow_lab.runs import Run, load_run, record, run_notebook
    from crossbow_lab.session import Accuracy, Recipe, Session, scan
    from crossbow_lab.tuning import GoodputRule, PaperRule


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name in _PARTS:
        return importlib.import_module(f"crossbow_lab.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(f"crossbow_lab.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"crossbow_lab has no {name!r}; public names: {', '.join(__all__)}")


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
