"""What a sweep brings to each Dask worker: it starts one run at a time in a process of its own, and can stop it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from crossbow_lab.runs.environment import cpu_model, gpus, python_path, visible_gpus
from crossbow_lab.runs.sweeps.jobs import SKIPPED, Ending, Job
from crossbow_lab.runs.sweeps.places import Place, usable_cores

_SAY_EVERY_S = 0.5
_SHOWN_LINES = 20
_GRACE_S = 10.0


class RunStarter(WorkerPlugin):
    """The part of a sweep that lives in a Dask worker.

    Parameters
    ----------
    name : str
        The sweep's, under which it is found on the worker, and under which progress is told.
    places : mapping of str to Place
        Where runs take place, by the worker's name. A worker that isn't named is taken as its owner started it:
        ``--nthreads`` threads for a run, and all the GPUs that it sees.
    is_shared : bool
        Whether GPUs may be shared with other runs.
    """

    def __init__(self, name: str, places: Mapping[str, Place], *, is_shared: bool) -> None:
        self.name = name
        self.places = dict(places)
        self.is_shared = is_shared

    def setup(self, worker: Worker) -> None:
        """Make what can't be sent: who this is, and what runs here."""
        self.worker = worker
        self.one_at_a_time = threading.Lock()
        self.child: subprocess.Popen[str] | None = None
        self.is_stopping = False
        self.has_interrupted = False

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002 (Dask's signature)
        """End what runs here; what the run has started goes with it."""
        self.is_stopping = True
        if self.child is not None:
            self.child.kill()

    def perform(self, job: Job) -> Ending:
        """Run a job in a fresh process and return how it ended.

        Raises
        ------
        ChildLostError
            If the process was killed; Dask then tries again.
        """
        with self.one_at_a_time:
            if self.is_stopping:
                return Ending(job.label, SKIPPED)
            place = self.places.get(str(self.worker.name)) or _own_place(self.worker)
            job = replace(
                job,
                cores=place.cores,
                gpu_uuids=() if self.is_shared else place.gpu_uuids,
                provenance=job.provenance
                | {"sweep": self.name, "worker": str(self.worker.name), "host": socket.gethostname()},
            )
            return self._follow(job, place)

    def stop(self, *, interrupts: bool) -> None:
        """Begin nothing more; and interrupt what runs, if asked to."""
        self.is_stopping = True
        child = self.child
        if interrupts and not self.has_interrupted and child is not None and child.stdin is not None:
            self.has_interrupted = True  # a second one would hit what the notebook does to end well
            with contextlib.suppress(OSError, ValueError):
                child.stdin.write("\n")
                child.stdin.flush()

    def _follow(self, job: Job, place: Place) -> Ending:
        """Start a job's process, pass on what it says, and return its own account of how it ended."""
        tell = self._teller(job.label)
        ending: Ending | None = None
        said: list[str] = []
        child = _start(place)
        self.child = child
        assert child.stdin is not None  # noqa: S101 (both are pipes)
        assert child.stdout is not None  # noqa: S101
        try:
            child.stdin.write(json.dumps(asdict(job)) + "\n")
            child.stdin.flush()
            tell("")
            for text in child.stdout:
                message = _message(text)
                if "ending" in message:
                    ending = Ending(**message["ending"])
                elif "line" in message:
                    tell(message["line"])
                else:
                    said = [*said[1 - _SHOWN_LINES :], text.rstrip()]
        except OSError:
            said.append("it ended before it had read its job")
        finally:
            self.child = None
            _end(child)
        if ending is not None:
            return ending
        raise ChildLostError("\n".join([f"the process of the run was lost (exit status {child.returncode})", *said]))

    def _teller(self, label: str) -> Callable[[str], None]:
        """Return a function that tells the driver a run's latest line, but not more often than is of use."""
        said_at = -_SAY_EVERY_S

        def tell(line: str) -> None:
            nonlocal said_at
            if time.monotonic() - said_at >= _SAY_EVERY_S:
                said_at = time.monotonic()
                self.worker.log_event(self.name, {"label": label, "line": line[:200]})

        return tell


class ChildLostError(Exception):
    """The process that a run took place in was killed or couldn't start."""


@dataclass(frozen=True)
class Described:
    """A worker, as it describes itself to a sweep: what kind of device it is, and what it can't see."""

    kind: str
    threads: int | None
    missing: tuple[str, ...]


def perform_on_worker(job: Job, sweep: str) -> Ending:
    """Run a job on the Dask worker that this is called on."""
    starter = get_worker().plugins[sweep]
    assert isinstance(starter, RunStarter)  # noqa: S101 (the sweep has put it there)
    return starter.perform(job)


def stop_on_worker(sweep: str, interrupts: bool, dask_worker: Worker) -> None:
    """Have a worker begin no more runs of a sweep; Dask gives it as ``dask_worker``."""
    starter = dask_worker.plugins.get(sweep)
    if isinstance(starter, RunStarter):
        starter.stop(interrupts=interrupts)


def describe_worker(paths: tuple[str, ...], dask_worker: Worker) -> Described:
    """Describe a worker that somebody else has started; Dask gives it as ``dask_worker``."""
    place = _own_place(dask_worker)
    names = sorted({gpu["name"] for gpu in gpus() if gpu["uuid"] in place.gpu_uuids})
    kind = f"{', '.join(names)}" if names else f"{cpu_model()}, {place.threads} threads"
    missing = tuple(path for path in paths if not Path(path).exists())
    return Described(kind, None if names else place.threads, missing)


def _own_place(worker: Worker) -> Place:
    """Return the place that a worker is by how it was started."""
    return Place(min(worker.state.nthreads, len(usable_cores())), (), visible_gpus())


def _start(place: Place) -> "subprocess.Popen[str]":
    """Start a process for a job, confined to a place, out of reach of the terminal's Ctrl-C."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "crossbow_lab.runs.sweeps.job_process"],
        env=os.environ | place.environment | {"PYTHONPATH": python_path()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def _end(child: "subprocess.Popen[str]") -> None:
    """Let a process of a job end, which it does with its input, and forget it."""
    for pipe in filter(None, (child.stdin, child.stdout)):
        with contextlib.suppress(OSError):
            pipe.close()
    try:
        child.wait(timeout=_GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _message(text: str) -> dict[str, Any]:
    """Read a line of a job's process; empty if it isn't one of ours, such as the last words of an interpreter."""
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
