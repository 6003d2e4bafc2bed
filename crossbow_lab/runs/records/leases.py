"""Who is running what: one file per key, made by whoever comes first, taken over when its owner is gone; and processes.

A lease is created with O_EXCL, which is safe on any file system. It is stale when its process is gone (on this host),
or when it hasn't been renewed for three heartbeats (on another). Whoever takes over a stale lease must first create a
file named after that very lease, which only one can; so two can't take it over, and nobody takes over a fresh one.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossbow_lab.errors import RunError
from crossbow_lab.surroundings import RUN_FOLDER_VARIABLE

HEARTBEAT_S = 20.0
_FOLDER = ".leases"
_WRITTEN_WITHIN_S = 2.0


@dataclass(frozen=True)
class Holder:
    """Who holds a lease: a process on a host, and since when (``started``, in the system's own ticks)."""

    host: str
    pid: int
    started: str
    nonce: str

    @property
    def is_alive(self) -> bool:
        """Whether the process is still there; one of another host is taken to be."""
        return self.host != socket.gethostname() or (self.started == process_start(self.pid) != "")


class LeaseHeldError(RunError):
    """Somebody else is running the same request at this moment."""


def me() -> Holder:
    """Return this process as a holder."""
    return Holder(socket.gethostname(), os.getpid(), process_start(os.getpid()), secrets.token_hex(8))


def process_start(pid: int) -> str:
    """Return when a process started, so that a later one with the same number isn't taken for it; empty if gone."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()
        except OSError:
            return ""
        return "" if fields[0] == "Z" else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive"


def processes_of(building: Path) -> list[int]:
    """Return the processes that execute a run, the notebook's own children among them.

    They are those that were started with the run's folder in their environment. The one that publishes it isn't among
    them. Empty where the system doesn't say.
    """
    mark = f"{RUN_FOLDER_VARIABLE}={building}".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # gone, or somebody else's
            if mark in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
    return found


@contextlib.contextmanager
def lease(runs_dir: str | Path, key: str) -> Iterator[None]:
    """Hold the right to run a key in a store while the block lasts.

    Raises
    ------
    LeaseHeldError
        If another process holds it; the message says which.
    RunError
        If the store can't be written to.
    """
    folder = Path(runs_dir) / _FOLDER
    path, mine = folder / f"{key}.json", me()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _acquire(path, mine)
    except OSError as error:
        raise RunError(f"runs can't be written to {runs_dir}: {error}; choose another --runs-dir") from error
    over = threading.Event()
    threading.Thread(target=_renew, args=(path, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()
        if read_holder(path) == mine:
            path.unlink(missing_ok=True)


def read_holder(path: Path) -> Holder | None:
    """Return who holds a lease; None if nobody does, or the file is being written at this moment."""
    try:
        return holder_from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_written(path: Path) -> Holder | None:
    """Return who holds a lease, once it is written: between its creation and that it is empty for a moment."""
    end_s = time.monotonic() + _WRITTEN_WITHIN_S
    while (holder := read_holder(path)) is None and path.exists() and time.monotonic() < end_s:
        time.sleep(0.002)
    return holder


def holder_from_json(values: Any) -> Holder:
    """Read a holder from JSON values; raises KeyError, TypeError or ValueError if they are something else."""
    return Holder(str(values["host"]), int(values["pid"]), str(values["started"]), str(values["nonce"]))


def drop_stale(runs_dir: str | Path) -> list[str]:
    """Remove leases whose owner is gone, and what unfinished take-overs left; return the keys."""
    dropped = []
    for path in (Path(runs_dir) / _FOLDER).glob("*.taken"):
        holder = read_holder(path)
        if holder is None or not holder.is_alive:
            path.unlink(missing_ok=True)
    for path in sorted((Path(runs_dir) / _FOLDER).glob("*.json")):
        if _is_stale(path):
            with contextlib.suppress(LeaseHeldError), lease(runs_dir, path.stem):
                dropped.append(path.stem)
    return dropped


def _acquire(path: Path, mine: Holder) -> None:
    """Create the lease, or take over a stale one."""
    content = json.dumps(vars(mine))
    if _create(path, content):
        return
    holder = _read_written(path)
    if not _is_stale(path):
        who = "another process" if holder is None else f"process {holder.pid} on {holder.host}"
        raise LeaseHeldError(f"{who} is running the same request; wait for it, or give --force to run it beside it")
    # What a crash left half-written has no nonce: its age in nanoseconds names it just as well.
    nonce = holder.nonce if holder else str(path.stat().st_mtime_ns)
    token = path.with_name(f"{path.stem}.{nonce}.taken")
    if not _create(token, content):
        raise LeaseHeldError("another process is taking over the same request, whose owner died; try again in a moment")
    draft = path.with_name(f"{path.stem}.{mine.nonce}.draft")
    try:
        if _is_stale(path) and read_holder(path) == holder:
            _create(draft, content)
            draft.replace(path)
            return
    finally:
        draft.unlink(missing_ok=True)
        token.unlink(missing_ok=True)
    raise LeaseHeldError("another process has just taken the same request; wait for it")


def _create(path: Path, content: str) -> bool:
    """Create a file with a content, unless it is there."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    return True


def _is_stale(path: Path) -> bool:
    """Whether a lease's owner is gone."""
    try:
        silent_s = time.time() - path.stat().st_mtime
    except OSError:
        return False  # it has just been given back
    holder = read_holder(path)
    if holder is not None and holder.host == socket.gethostname():
        return not holder.is_alive
    return silent_s > 3 * HEARTBEAT_S


def _renew(path: Path, over: threading.Event) -> None:
    """Show every now and then that the owner is still there."""
    while not over.wait(HEARTBEAT_S):
        with contextlib.suppress(OSError):
            os.utime(path)
