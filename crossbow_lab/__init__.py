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
    "HierarchicalSMA": "averaging",
    "EAMSGD": "averaging",
    "AsyncEAMSGD": "averaging",
    "LocalSGD": "averaging",
    "DiLoCo": "averaging",
    "PolyakRuppert": "averaging",
    "KungFuSMA": "averaging",
    "PairAveraging": "averaging",
    "Downpour": "averaging",
    "Hogwild": "averaging",
    "Accuracy": "session",
    "InverseDecay": "session",
    "ExponentialDecay": "session",
    "StepDecay": "session",
    "MultiStepDecay": "session",
    "Cyclic": "session",
    "Cosine": "session",
    "OneCycle": "session",
    "GoodputRule": "tuning",
    "PaperRule": "tuning",
    "Race": "racing",
    "Recipe": "session",
    "Run": "runs",
    "Session": "session",
    "Landscape": "landscape",
    "compare": "runs",
    "load_run": "runs",
    "memory_plan": "memory",
    "record": "runs",
    "quiz": "dashboard",
    "replay": "dashboard",
    "run_notebook": "runs",
    "schedule_tasks": "scheduling",
    "sweep": "runs",
    "scan": "session",
}
_PARTS = (
    *("averaging", "kernels", "learners", "workloads", "session", "dashboard", "landscape", "runs", "errors"),
    *("devices", "memory", "racing", "scheduling", "tuning"),
)

__all__ = [
    "EAMSGD",
    "EASGD",
    "SMA",
    "SSGD",
    "Accuracy",
    "AsyncEAMSGD",
    "Cosine",
    "Cyclic",
    "DiLoCo",
    "Downpour",
    "ExponentialDecay",
    "GoodputRule",
    "HierarchicalSMA",
    "Hogwild",
    "InverseDecay",
    "KungFuSMA",
    "Landscape",
    "LocalSGD",
    "MultiStepDecay",
    "OneCycle",
    "PairAveraging",
    "PaperRule",
    "PolyakRuppert",
    "Race",
    "Recipe",
    "Run",
    "Session",
    "StepDecay",
    "averaging",
    "compare",
    "dashboard",
    "devices",
    "errors",
    "kernels",
    "landscape",
    "learners",
    "load_run",
    "memory",
    "memory_plan",
    "quiz",
    "racing",
    "record",
    "replay",
    "run_notebook",
    "runs",
    "scan",
    "schedule_tasks",
    "scheduling",
    "session",
    "sweep",
    "tuning",
    "workloads",
]

if TYPE_CHECKING:
    from crossbow_lab.averaging import (
        EAMSGD,
        EASGD,
        SMA,
        SSGD,
        AsyncEAMSGD,
        DiLoCo,
        Downpour,
        HierarchicalSMA,
        Hogwild,
        KungFuSMA,
        LocalSGD,
        PairAveraging,
        PolyakRuppert,
    )
    from crossbow_lab.dashboard import quiz, replay
    from crossbow_lab.landscape import Landscape
    from crossbow_lab.memory import memory_plan
    from crossbow_lab.racing import Race
    from crossbow_lab.runs import Run, compare, load_run, record, run_notebook, sweep
    from crossbow_lab.scheduling import schedule_tasks
    from crossbow_lab.session import (
        Accuracy,
        Cosine,
        Cyclic,
        ExponentialDecay,
        InverseDecay,
        MultiStepDecay,
        OneCycle,
        Recipe,
        Session,
        StepDecay,
        scan,
    )
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
