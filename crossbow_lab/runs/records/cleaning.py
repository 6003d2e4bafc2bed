"""What is left of runs whose process was killed: made into records, never thrown away while they hold anything."""

import contextlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossbow_lab.errors import RunError
from crossbow_lab.runs.records.collect import ASKED, LOG, finish, outcome_of, read_object, session_folders
from crossbow_lab.runs.records.leases import drop_stale, holder_from_json, lease, processes_of
from crossbow_lab.runs.records.manifest import MANIFEST, Run, load_run
from crossbow_lab.runs.records.publish import BUILDING, finish_publishing
from crossbow_lab.runs.records.store import missing_outputs

_STARTING_S = 120.0  # by when a run that is being started has said who it is


@dataclass(frozen=True)
class Cleaned:
    """What `gc` did.

    Attributes
    ----------
    recovered : tuple of Run
        Runs whose process was killed, now published with what they had.
    removed : tuple of str
        Folders that held nothing yet.
    running : tuple of str
        Runs whose process is alive; left alone.
    leases : tuple of str
        Keys whose holder is gone, free again.
    kept : tuple of str
        Folders that can't be made a run, and why; left alone.
    """

    recovered: tuple[Run, ...] = ()
    removed: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    leases: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def gc(runs_dir: str | Path) -> Cleaned:
    """Make records of what killed runs left, and free what they held.

    A run that was killed becomes a run with status ``interrupted`` (or the status that it had reached), with its log,
    its notebook as far as it got, and the histories of its sessions. Published runs are never touched.

    Raises
    ------
    RunError
        If the store can't be written to, or another process is cleaning it.
    """
    store = Path(runs_dir).resolve()
    recovered: list[Run] = []
    removed, running, kept = [], [], []
    leases = drop_stale(store) if store.is_dir() else []
    if not (store / BUILDING).is_dir():
        return Cleaned(leases=tuple(leases))
    with lease(store, "gc"):
        for building in sorted(path for path in (store / BUILDING).iterdir() if path.is_dir()):
            state = _state_of(building)
            if state == "running":
                running.append(building.name)
            elif state == "empty":
                shutil.rmtree(building)
                removed.append(building.name)
            else:
                try:
                    recovered.append(_recover(building))
                except (RunError, OSError, ValueError, KeyError, TypeError) as error:
                    kept.append(f"{building}: {error}")
    return Cleaned(tuple(recovered), tuple(removed), tuple(running), tuple(leases), tuple(kept))


def read_asked(building: Path) -> dict[str, Any]:
    """Return what an unfinished run was asked; empty as long as it hasn't said so."""
    return read_object(building / ASKED)


def is_running(building: Path) -> bool:
    """Whether the process that builds a run is alive, or one that writes into it."""
    try:
        return holder_from_json(read_asked(building)["holder"]).is_alive or bool(processes_of(building.resolve()))
    except (KeyError, TypeError, ValueError):
        with contextlib.suppress(OSError):
            return time.time() - building.stat().st_mtime < _STARTING_S
        return False


def _state_of(building: Path) -> str:
    """Tell ``running``, ``empty`` and ``left`` apart."""
    if is_running(building):
        return "running"
    holds = (building / MANIFEST).exists() or read_asked(building) or (building / LOG).exists()
    return "left" if holds or session_folders(building) or any((building / "files").glob("*")) else "empty"


def _recover(building: Path) -> Run:
    """Publish what a killed run left."""
    try:
        is_complete = not missing_outputs(load_run(building))
    except RunError:
        is_complete = False
    if is_complete:  # all but its name
        return load_run(finish_publishing(building))
    if (building / "outcome.json").exists():
        happened = outcome_of(building, None)
        happened.pop("cpu_s", None)
    else:
        message = "the process that ran it was killed; what it had recorded until then is here"
        happened = {
            "status": "interrupted",
            "exception": {"name": "RunnerDied", "message": message, "cell": None},
            "timing_s": {},
        }
    return finish(building, {"load": {"is_contended": None}, **happened})
