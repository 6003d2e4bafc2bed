"""Cells of the notebooks in which dashboards are tried out."""

from typing import Any

SMALL: dict[str, Any] = {
    "model": "logreg",
    "dataset": "digits",
    "learners": 2,
    "batch_size": 8,
    "executor": "loop",
    "threads": 1,
    "max_learners": 8,
}
"""Settings of a session that trains thousands of iterations a second on one core."""

IMPORTS = "import crossbow_lab as cb\ncb.Session"
"""Pays for the import of torch, so that the cells after it don't."""


def make_session(name: str = "session", **settings: Any) -> str:
    """Return a cell that makes a session: `SMALL`, but for these settings; an algorithm is given as code."""
    values = {setting: repr(value) for setting, value in {**SMALL, **settings}.items()}
    values |= {"algorithm": settings["algorithm"]} if "algorithm" in settings else {}
    given = ", ".join(f"{setting}={value}" for setting, value in values.items())
    return f"import crossbow_lab as cb\n{name} = cb.Session({given})"
