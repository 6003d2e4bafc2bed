"""A session's record, from its folder or its run's, or from the session itself: what replays show."""

import json
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from crossbow_lab.averaging import ALGORITHMS, algorithm_name
from crossbow_lab.errors import RunError, nearest
from crossbow_lab.session import Event, LearnerRow, Recipe, Row, Session, Snapshot
from crossbow_lab.session.history import Entry, from_json
from crossbow_lab.session.limits import Limits
from crossbow_lab.session.setting import Setting

_KINDS: dict[str, type[Entry]] = {"history": Row, "learners": LearnerRow, "events": Event}


@dataclass(frozen=True)
class Recorded:
    """What happened in a session.

    Attributes
    ----------
    name : for people.
    rows, learner_rows, events : entries, oldest first.
    recipe : or None where there is none.
    """

    name: str
    rows: tuple[Row, ...]
    learner_rows: tuple[LearnerRow, ...]
    events: tuple[Event, ...]
    recipe: Recipe | None


def of_session(session: Session) -> Recorded:
    """Return what has happened so far in a session."""
    record = session.record
    logs = (record.rows, record.learner_rows, record.events)
    rows, learner_rows, events = (tuple(log.entries) for log in logs)
    return Recorded(repr(session), rows, learner_rows, events, session.recipe)


def of_history(history: pd.DataFrame) -> Recorded:
    """Return a history alone as a record.

    Raises
    ------
    RunError
        If it lacks columns.
    """
    try:
        return Recorded("history", from_frame(history, Row), (), (), None)
    except (KeyError, TypeError) as error:
        raise RunError(f"this table is no history: {error}; give session.history") from error


def read(folder: Path, session: str | None = None) -> Recorded:
    """Read the record of one session.

    Parameters
    ----------
    folder : Path
        A session's own folder, or a run's, which holds one for each of its sessions.
    session : str, optional
        Which, where there are several.

    Raises
    ------
    RunError
        If there is no record, several to choose from, or one that is damaged.
    """
    folder = _chosen(folder, session)
    try:
        entries = {name: _entries(folder, name, kind) for name, kind in _KINDS.items()}
        path = folder / "recipe.json"
        recipe = Recipe.from_json(path.read_text(encoding="utf-8")) if path.exists() else None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"the record in {folder} can't be read ({error}); take an undamaged copy") from error
    return Recorded(folder.name, entries["history"], entries["learners"], entries["events"], recipe)


def _chosen(folder: Path, session: str | None) -> Path:
    """Return the folder of the one session that is meant."""
    if _has_record(folder):
        return folder
    several = {path.name: path for path in sorted((folder / "sessions").glob("*")) if _has_record(path)}
    if not several:
        raise RunError(f"{folder} holds no record; give a run's folder, or the folder= of a session")
    if session is None and len(several) > 1:
        raise RunError(f"{folder} holds several sessions: {', '.join(several)}; choose one with session=")
    name = next(iter(several)) if session is None else session
    if name not in several:
        raise RunError(f"{folder} holds no session {name!r}; {nearest(name, several)}")
    return several[name]


def _has_record(folder: Path) -> bool:
    """Tell whether a history lies in a folder."""
    return any((folder / f"history.{ending}").exists() for ending in ("parquet", "jsonl"))


def _entries(folder: Path, name: str, kind: type[Entry]) -> tuple[Any, ...]:
    """Read entries of one kind; none where there is no file."""
    table, lines = folder / f"{name}.parquet", folder / f"{name}.jsonl"
    if table.exists():
        return from_frame(pd.read_parquet(table), kind)
    if lines.exists():
        # The last line may be cut short: the session may have been killed while it wrote, or be writing now.
        whole = [line for line in lines.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        return tuple(from_json(kind, json.loads(line)) for line in whole)
    return ()


def from_frame(frame: pd.DataFrame, kind: type[Entry]) -> tuple[Any, ...]:
    """Return a table's rows as entries; numbers that it lacks are NaN.

    Raises
    ------
    KeyError
        If it lacks something else.
    """
    names = [field.name for field in fields(kind)]
    lacking = [field.name for field in fields(kind) if field.name not in frame.columns and field.type is not float]
    if lacking:
        raise KeyError(f"it lacks {', '.join(lacking)}")
    filled = frame.reindex(columns=names, fill_value=math.nan)
    return tuple(kind(**_numbers(names, values)) for values in filled.itertuples(index=False, name=None))


def _numbers(names: list[str], values: tuple[Any, ...]) -> dict[str, Any]:
    """Return an entry's fields; NaN is math.nan itself, so that the entry equals the one that was written."""
    found = zip(names, values, strict=True)
    return {name: math.nan if isinstance(value, float) and math.isnan(value) else value for name, value in found}


def snapshot(recorded: Recorded, count: int) -> Snapshot:
    """Return how a session stood at its evaluation of this number, counted from 1; 0 is before it trained."""
    rows = recorded.rows
    row, last = rows[max(0, count - 1)], rows[-1]
    if count == 0:
        row = replace(row, iteration=0, epoch=0.0, samples=0, elapsed_s=0.0, evaluation_s=0.0)
        row = replace(row, samples_per_s=math.nan, train_loss=math.nan, test_accuracy=math.nan)
    algorithm = next(kind() for kind in ALGORITHMS.values() if algorithm_name(kind()) == row.algorithm)
    executor = recorded.recipe.executor if recorded.recipe else "loop"
    return Snapshot(
        state="replay",
        iteration=row.iteration,
        epoch=row.epoch,
        samples=row.samples,
        elapsed_s=row.elapsed_s,
        evaluation_s=row.evaluation_s,
        samples_per_s=row.samples_per_s,
        train_loss=row.train_loss,
        losses=(),
        distances=(),
        test_accuracy=row.test_accuracy,
        learners=row.learners,
        batch_size=row.batch_size,
        learning_rate=row.learning_rate,
        algorithm=row.algorithm,
        executor=executor,
        setting=Setting(algorithm, row.learners, row.batch_size, row.learning_rate, executor),
        epoch_samples=round(last.samples / last.epoch),
        has_accuracy=any(not math.isnan(row.test_accuracy) for row in rows),
        limits=Limits(iteration=last.iteration),
    )
