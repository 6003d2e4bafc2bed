"""Starts the processes of the other devices, watches them, and knows which one was lost and why."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from crossbow_lab.devices.lifeline import sent
from crossbow_lab.errors import DeviceLost

_START_S = 120.0  # from nothing to the first sign of life: imports from a slow disk
_VERDICT_S = 3.0
_GRACE_S = 1.0
_LOOK_EVERY_S = 0.1
_TAIL = 600


@dataclass(frozen=True)
class Worker:
    """One process.

    Attributes
    ----------
    rank, device : the member that it is.
    process : subprocess.Popen
    log : what it has printed.
    """

    rank: int
    device: str
    process: "subprocess.Popen[bytes]"
    log: IO[bytes]


class Workers:
    """The processes of ranks 1, 2, …; ended when this object, or this process, is.

    Parameters
    ----------
    module : str
        Run with ``python -P -m``; calls `crossbow_lab.devices.lifeline.live`.
    devices : sequence of str
        Of all ranks; 0 is this process's own.
    jobs : sequence
        What each worker is sent, pickled; from rank 1 on.
    lost_after_s : float
        A worker that shows no sign of life for so long is taken for lost.

    Attributes
    ----------
    loss : DeviceLost or None
        Which worker was lost, and why, once one is; all others have been ended then.
    let_go : callable
        Called when one is lost, before anything else: ends sums that would wait for it for ever.
    """

    def __init__(self, module: str, devices: Sequence[str], jobs: Sequence[Any], lost_after_s: float) -> None:
        self.loss: DeviceLost | None = None
        self._known = threading.Event()
        self._on_loss: Callable[[DeviceLost], None] = _ignore
        self.let_go: Callable[[], None] = lambda: None
        self._workers: list[Worker] = []
        self._closed = threading.Event()
        watches: list[threading.Thread] = []
        self._finalizer = weakref.finalize(self, _end, self._workers, self._closed, watches)
        for rank, job in enumerate(jobs, start=1):
            self._workers.append(_started(module, rank, devices[rank]))
            _send(self._workers[-1], sent(job))
        watch = threading.Thread(
            target=_watch, args=(weakref.ref(self), tuple(self._workers), self._closed, lost_after_s), daemon=True
        )
        watches.append(watch)
        watch.start()

    @property
    def pids(self) -> list[int]:
        """The processes' numbers, by rank from 1 on."""
        return [worker.process.pid for worker in self._workers]

    def when_lost(self, do: Callable[[DeviceLost], None]) -> None:
        """Have ``do`` called, on a thread of its own, when a worker is lost; in place of what was."""
        self._on_loss = do
        if self.loss is not None:
            do(self.loss)

    def why(self, error: str) -> DeviceLost:
        """Return which worker was lost and why, where a member can't be reached; waits a little for it to be known."""
        if self._closed.is_set() and self.loss is None:
            return DeviceLost(f"the devices have been let go ({error}); make a new session, or restore a checkpoint")
        self._known.wait(_VERDICT_S)
        return self.loss or DeviceLost(f"another device can't be reached any more ({error})")

    def close(self) -> None:
        """End all processes, and wait until they are gone."""
        self._finalizer()

    def lose(self, worker: Worker, why: str) -> None:
        """Note that a worker is lost, and end all others: a group that lacks one can do nothing more."""
        if self._closed.is_set() or self.loss is not None:
            return
        self.loss = DeviceLost(
            f"rank {worker.rank} ({worker.device}, process {worker.process.pid}) {why}. The other devices have been "
            "stopped; the record and the last checkpoint are kept: Session.restore(path) goes on from there"
        )
        self._known.set()
        self.let_go()
        for other in self._workers:
            with contextlib.suppress(OSError):
                other.process.kill()
        self._on_loss(self.loss)


def _ignore(loss: DeviceLost) -> None:
    """Do nothing yet."""
    del loss


def _started(module: str, rank: int, device: str) -> Worker:
    """Start a worker, in a session of its own: Ctrl-C is for whoever leads."""
    log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
    # Together with -P it finds the modules that this process finds, and no others.
    places = os.pathsep.join(str(Path(place or ".").resolve()) for place in sys.path)
    process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": places},
    )
    return Worker(rank, device, process, log)


def _send(worker: Worker, content: bytes) -> None:
    """Write the job into the worker's pipe; one that is gone already is found by the watch."""
    assert worker.process.stdin is not None  # noqa: S101 (it is a pipe)
    with contextlib.suppress(OSError):
        worker.process.stdin.write(content)
        worker.process.stdin.flush()


def _end(workers: list[Worker], closed: threading.Event, watches: list[threading.Thread]) -> None:
    """Close the workers' pipes, which ends them, and kill those that don't end."""
    closed.set()
    for worker in workers:
        with contextlib.suppress(OSError):
            if worker.process.stdin is not None:
                worker.process.stdin.close()
    end_s = time.monotonic() + _GRACE_S
    for worker in workers:
        try:
            worker.process.wait(max(0.0, end_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        worker.log.close()
    for watch in watches:
        if watch is not threading.current_thread():
            watch.join(_GRACE_S)


def _watch(
    owner: "weakref.ref[Workers]", workers: Sequence[Worker], closed: threading.Event, lost_after_s: float
) -> None:
    """Look for signs of life, last words and silence, until the workers are closed or one is lost."""
    heard_s = {worker.rank: time.monotonic() + _START_S for worker in workers}
    rest = {worker.rank: b"" for worker in workers}
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as pipes:
        for worker in workers:
            assert worker.process.stdout is not None  # noqa: S101 (it is a pipe)
            selector.register(pipes.enter_context(worker.process.stdout), selectors.EVENT_READ, worker)
        while not closed.is_set():
            lost: tuple[Worker, str] | None = None
            for key, _ in selector.select(timeout=_LOOK_EVERY_S):
                worker, content = key.data, os.read(key.fd, 1 << 16)
                heard_s[worker.rank] = time.monotonic()
                *lines, rest[worker.rank] = (rest[worker.rank] + content).split(b"\n")
                words = next((line for line in lines if line), b"")
                if words or not content:
                    lost = lost or (worker, _last_words(words) if words else _exit_of(worker))
            lost = lost or _silent(workers, heard_s, lost_after_s)
            watched = owner()
            if watched is None:
                return
            if lost is not None:
                watched.lose(*lost)
                return
            del watched  # or it would never be let go


def _silent(workers: Sequence[Worker], heard_s: dict[int, float], lost_after_s: float) -> tuple[Worker, str] | None:
    """Return a worker that has been silent for too long, and how to say it."""
    now_s = time.monotonic()
    for worker in workers:
        if now_s - heard_s[worker.rank] > lost_after_s:
            return worker, f"has shown no sign of life for {lost_after_s:g} s: it hangs, or has been stopped"
    return None


def _last_words(line: bytes) -> str:
    """Say in words what a worker reports before it ends."""
    told = json.loads(line)
    return f"failed: {told['error']}"


def _exit_of(worker: Worker) -> str:
    """Say in words how a process ended that said nothing."""
    status = worker.process.wait()
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    worker.log.seek(0)
    tail = worker.log.read()[-_TAIL:].decode(errors="replace").strip()
    return f"ended with status {status}{': ' + tail if tail else ''}"
