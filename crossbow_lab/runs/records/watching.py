"""What is running in a store at this moment, read from what the runs leave on disk while they run."""

import contextlib
import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossbow_lab.runs.records.cleaning import is_running, read_asked
from crossbow_lab.runs.records.collect import LOG, read_lines, session_folders
from crossbow_lab.runs.records.publish import BUILDING

_TAIL_BYTES = 65536


@dataclass(frozen=True)
class Running:
    """A run that isn't over.

    Attributes
    ----------
    folder : Path
        Where it is being built; everything in it can be read.
    is_alive : bool
        Whether its process is there. If not, `crossbow_lab.runs.gc` makes a record of it.
    seconds : float
        Since its start.
    cell, line : str
        The cell that it is at, and the last line that it printed.
    sessions : tuple of str
        How the sessions that are training stand, one line each.
    """

    folder: Path
    is_alive: bool
    seconds: float
    cell: str
    line: str
    sessions: tuple[str, ...]


def running(runs_dir: str | Path) -> list[Running]:
    """List the runs that aren't over, the oldest first."""
    found = []
    for path in (Path(runs_dir) / BUILDING).glob("*/"):
        with contextlib.suppress(FileNotFoundError):  # published between two looks
            found.append(_describe(path))
    return sorted(found, key=lambda one: (-one.seconds, one.folder.name))


def watch(runs_dir: str | Path, *, every_s: float = 2.0) -> Iterator[str]:
    """Yield a line for each run and session whenever it has changed, until nothing is running any more.

    Parameters
    ----------
    every_s : float
        Seconds between two looks, greater than 0.
    """
    shown: dict[str, tuple[str, ...]] = {}
    while True:
        now = [one for one in running(runs_dir) if one.is_alive]
        for one in now:
            lines = (f"{one.folder.name}  {one.cell}", *(f"  {line}" for line in one.sessions or (one.line,)))
            if lines != shown.get(one.folder.name):
                fresh = [line for line in lines if line not in shown.get(one.folder.name, ())]
                yield from fresh
                shown[one.folder.name] = lines
        for name in set(shown) - {one.folder.name for one in now}:
            yield f"{name}  is over"
            del shown[name]
        if not now:
            return
        time.sleep(every_s)


def _describe(building: Path) -> Running:
    """Read how an unfinished run stands."""
    lines = _last_lines(building / LOG)
    cells = [line for line in lines if line.startswith("[cell ")]
    started = read_asked(building).get("started_utc")
    began = datetime.fromisoformat(started) if started else datetime.fromtimestamp(building.stat().st_mtime, UTC)
    return Running(
        folder=building,
        is_alive=is_running(building),
        seconds=(datetime.now(UTC) - began).total_seconds(),
        cell=cells[-1] if cells else "the kernel is starting",
        line=lines[-1] if lines else "",
        sessions=tuple(_session_line(folder) for folder in session_folders(building)),
    )


def _last_lines(path: Path) -> list[str]:
    """Return the last lines of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _session_line(folder: Path) -> str:
    """Return one line on a session, from its last evaluation."""
    last = deque(read_lines(folder / "history.jsonl"), maxlen=1)
    if not last:
        return f"{folder.name}: not evaluated yet"
    row = last[0]
    accuracy = _number(row.get("test_accuracy"))
    shown = "" if math.isnan(accuracy) else f", test accuracy {accuracy:.2%}"
    return (
        f"{folder.name}: {row.get('algorithm')}, epoch {_number(row.get('epoch')):.2f}, iteration "
        f"{row.get('iteration')}, {_number(row.get('samples_per_s')):,.0f} samples/s{shown}"
    )


def _number(value: Any) -> float:
    """Return a number of a record, NaN for null."""
    return math.nan if value is None else float(value)
