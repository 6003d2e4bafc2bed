"""The runner's side of a run's process: starts it, passes on its lines, and ends it when it must end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from crossbow_lab.runs.environment import python_path
from crossbow_lab.runs.records.collect import LOG, outcome_of
from crossbow_lab.runs.records.leases import processes_of
from crossbow_lab.runs.records.publish import recording
from crossbow_lab.surroundings import RUN_FOLDER_VARIABLE

_GRACE_S = 10.0
_LAST_RESORT_S = 30.0


@dataclass(frozen=True)
class Job:
    """What the process is to execute.

    Attributes
    ----------
    building : Path
        The folder that the run is built in.
    notebook : Path
        What is executed.
    imports_from : Path
        The folder of the notebook's own modules.
    parameters : dict
        Injected after the parameters cell.
    n_cells : int
        Cells of the notebook, for the progress lines.
    timeout_s : float or None
    """

    building: Path
    notebook: Path
    imports_from: Path
    parameters: dict[str, Any]
    n_cells: int
    timeout_s: float | None


def execute(job: Job, on_line: Callable[[str], None], meanwhile: Callable[[], None]) -> dict[str, Any]:
    """Run a job to its end.

    Parameters
    ----------
    job : Job
    on_line : callable
        Gets every line as it comes.
    meanwhile : callable
        Called once, when the process has been started.

    Returns
    -------
    dict
        ``status``, ``exception``, ``timing_s`` and, where known, ``cpu_s``.
    """
    request = {
        "notebook": str(job.notebook),
        "parameters": job.parameters,
        "n_cells": job.n_cells + bool(job.parameters),
        "grace_s": _GRACE_S,
    }
    with recording(job.building):
        (job.building / "request.json").write_text(json.dumps(request), encoding="utf-8")
    worker = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
        [sys.executable, "-P", "-m", "crossbow_lab.runs.worker", str(job.building)],
        cwd=job.building / "files",
        env=_environment(job),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    stopped: list[str] = []
    limit = threading.Timer(job.timeout_s or 0.0, _stop, [worker, stopped, "timeout"])
    assert worker.stdin is not None  # noqa: S101 (both are pipes)
    assert worker.stdout is not None  # noqa: S101
    try:
        with _on_interrupt(lambda: _stop(worker, stopped, "interrupted")):
            if job.timeout_s is not None:
                limit.start()
            meanwhile()
            _pass_on(worker.stdout, job.building / LOG, on_line, lambda why: _stop(worker, stopped, why))
    finally:
        limit.cancel()
        worker.stdin.close()  # left early, this ends the worker and its kernel
        worker.wait()
        worker.stdout.close()
        if worker.returncode != 0:  # killed: what its notebook has started may outlive it, and write into the record
            _end_all(job.building)
    return outcome_of(job.building, stopped[0] if stopped else None)


def _stop(worker: "subprocess.Popen[str]", stopped: list[str], why: str) -> None:
    """Have the worker interrupt its notebook."""
    stopped.append(why)
    if worker.stdin is not None and worker.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            os.write(worker.stdin.fileno(), b"\n")
    # The worker ends the kernel when its grace is over; this is for a worker that can't.
    last_resort = threading.Timer(_LAST_RESORT_S, worker.kill)
    last_resort.daemon = True
    last_resort.start()


def _end_all(building: Path) -> None:
    """End what is left of a run's processes, so that nothing writes into the record any more."""
    end_s = time.monotonic() + _GRACE_S
    while (left := processes_of(building)) and time.monotonic() < end_s:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _pass_on(lines: IO[str], log_path: Path, on_line: Callable[[str], None], stop: Callable[[str], None]) -> None:
    """Write every line to the log and pass it on; a log that can't be written ends the run, not its record."""
    log = None
    try:
        log = log_path.open("w", encoding="utf-8")
    except OSError as error:
        stop(f"{log_path} can't be written: {error}")
    try:
        for line in lines:
            if log is not None:
                try:
                    log.write(line)
                    log.flush()  # `crossbow-lab watch` reads it, and a kill must not cost it
                except OSError as error:
                    log = None
                    stop(f"{log_path} can't be written: {error}")
            on_line(line.rstrip("\n"))
    finally:
        if log is not None:
            log.close()


@contextlib.contextmanager
def _on_interrupt(action: Callable[[], None]) -> Iterator[None]:
    """Make Ctrl-C call the action, where this thread may decide that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def _environment(job: Job) -> dict[str, str]:
    """Return the environment of the worker and its kernel: ours, with relative places made absolute."""
    environment = dict(os.environ)
    environment[RUN_FOLDER_VARIABLE] = str(job.building)
    environment["CROSSBOW_HEADLESS"] = "1"
    environment["PYTHONUNBUFFERED"] = "1"
    # A kernel named python3 in the user's home may belong to another Python; ours is beside this one.
    environment["JUPYTER_PREFER_ENV_PATH"] = "1"
    if environment.get("CROSSBOW_DATA"):
        environment["CROSSBOW_DATA"] = str(Path(environment["CROSSBOW_DATA"]).resolve())
    environment["PYTHONPATH"] = python_path(str(job.imports_from))
    return environment
