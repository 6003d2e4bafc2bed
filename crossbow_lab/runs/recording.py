"""How a notebook hands its results to the record of its run."""

import json
import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossbow_lab.errors import RunError
from crossbow_lab.surroundings import RUN_FOLDER_VARIABLE

if TYPE_CHECKING:
    import pandas as pd

    from crossbow_lab.session import Session

RESULT_SCHEMA = 2


def record(
    sessions: "Mapping[str, Session | Sequence[Session]]", table: "pd.DataFrame | None" = None
) -> "pd.DataFrame | None":
    """Hand sessions and a result table to the record of the run that this notebook is executed as.

    Under ``crossbow-lab run`` each session leaves ``sessions/NAME/history.parquet``, ``events.parquet`` and
    ``recipe.json`` in the run's folder, and ``result.json`` holds the table and the fingerprints. Anywhere
    else nothing is written, so the same last cell serves an interactive notebook and plain papermill.

    Parameters
    ----------
    sessions : mapping of str to Session or sequence of Session
        By label: letters, digits, dot, hyphen and underscore. One session is recorded under its label, several
        under ``LABEL-seedSEED``.
    table : DataFrame, optional
        The notebook's result, one row per thing compared. Units belong in the column names.

    Returns
    -------
    DataFrame or None
        The table as it was given, so that the call can be a cell's last line.

    Raises
    ------
    RunError
        If a label can't be a folder's name, two sessions would share one, or the notebook has already recorded
        its results.
    """
    named: dict[str, Session] = {}
    for label, given in sessions.items():
        for name, session in _names(label, given):
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
                raise RunError(
                    f"session name {name!r} can't name a folder; use letters, digits, '.', '-' and '_', "
                    "starting with a letter or digit"
                )
            if name in named:
                raise RunError(f"two sessions would be recorded as {name!r}; give them labels of their own")
            named[name] = session
    run_folder = os.environ.get(RUN_FOLDER_VARIABLE)
    if run_folder:
        _write(Path(run_folder), named, table)
    return table


def _names(label: str, given: "Session | Sequence[Session]") -> list[tuple[str, "Session"]]:
    """Name the sessions of one label."""
    if isinstance(given, Sequence):
        return [(f"{label}-seed{session.recipe.seed}", session) for session in given]
    return [(label, given)]


def _write(run_folder: Path, sessions: Mapping[str, "Session"], table: "pd.DataFrame | None") -> None:
    """Write everything, the result last, so that a result speaks of sessions that are all there."""
    result = run_folder / "result.json"
    if result.exists():
        raise RunError("this notebook has already recorded its results; call cb.record once, with all its sessions")
    content: dict[str, Any] = {"schema": RESULT_SCHEMA, "fingerprints": {}, "sessions": {}, "table": None}
    for name, session in sessions.items():
        write_session(run_folder / "sessions" / name, session)
        content["fingerprints"][name] = session.fingerprint()
        content["sessions"][name] = measures(session)
    if table is not None:
        # pandas writes what isn't finite as null, and NumPy's numbers as plain ones.
        content["table"] = json.loads(table.to_json(orient="records", double_precision=15))
    write_result(result, content)
    for session in sessions.values():
        # What was written while it trained is in the tables now.
        live = session.record.folder
        if live is not None and live.resolve().parent == (run_folder / "sessions").resolve():
            session.record.release()
            shutil.rmtree(live)


def write_session(folder: Path, session: "Session") -> None:
    """Write a session's tables and its recipe into a new folder."""
    from crossbow_lab.session.history import write_table  # here, because it loads torch

    folder.mkdir(parents=True)
    for name, frame in (
        ("history", session.history),
        ("events", session.events),
        ("learners", session.learner_history),
    ):
        write_table(frame, folder / f"{name}.parquet")
    (folder / "recipe.json").write_text(session.recipe.to_json(), encoding="utf-8")


def measures(session: "Session") -> dict[str, Any]:
    """Return how far a session came and what it took; None for what isn't known."""
    now = session.snapshot
    found = {
        "state": now.state,
        "epochs": now.epoch,
        "samples": now.samples,
        "train_s": now.elapsed_s,
        "evaluation_s": now.evaluation_s,
        "test_accuracy": now.test_accuracy,
    }
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in found.items()
    }


def write_result(path: Path, content: dict[str, Any]) -> None:
    """Write ``result.json``, all of it or none."""
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)
