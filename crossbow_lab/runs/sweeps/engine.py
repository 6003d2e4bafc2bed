"""Places a sweep's jobs on the workers of a Dask cluster, as many at a time as there are, and follows them to the end.

The driver keeps the order: it hands a job to a worker when the worker is free, so that jobs begin in the order of the
plan. Dask does the rest: it sends jobs again whose worker was killed, and knows which workers there are.
"""

import contextlib
import queue
import secrets
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from distributed import CancelledError, Future, KilledWorker

from crossbow_lab.errors import RunError
from crossbow_lab.runs.sweeps.cluster import Connected, joined
from crossbow_lab.runs.sweeps.dask_worker import perform_on_worker, stop_on_worker
from crossbow_lab.runs.sweeps.jobs import COMPLETED, HELD, LOST, SKIPPED, Ending, Job
from crossbow_lab.runs.sweeps.progress import Progress, seconds_left

_TICK_S = 1.0
_RETRIES = 1


@dataclass
class _State:
    """What the driver keeps in mind while a sweep runs; only its own thread touches it."""

    sweep: str
    waiting: deque[Job]
    n_total: int
    events: "queue.SimpleQueue[Any]" = field(default_factory=queue.SimpleQueue)
    flying: dict["Future[Ending]", tuple[Job, str]] = field(default_factory=dict)
    running: dict[str, tuple[float, str]] = field(default_factory=dict)
    ended: list[Ending] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    n_workers: int = 1
    n_handed_out: int = 0
    is_stopping: bool = False
    is_interrupted: bool = False


def run_jobs(
    cluster: Connected,
    jobs: Sequence[Job],
    *,
    fails_fast: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> tuple[tuple[Ending, ...], bool]:
    """Run jobs on a cluster to their end.

    Ctrl-C interrupts what runs, which is recorded as interrupted, and begins nothing more; a second Ctrl-C doesn't
    wait for that.

    Parameters
    ----------
    cluster : Connected
    jobs : sequence of Job
        Begun in this order.
    fails_fast : bool
        Whether the first run that doesn't complete keeps others from being begun. Those that run go on to their end.
    on_progress : callable
        Gets a `Progress` whenever something has changed, and every second; called on this thread.

    Returns
    -------
    endings : tuple of Ending
        One per job, in the order in which they ended; those that were never begun are ``skipped``.
    is_interrupted : bool
        Whether Ctrl-C ended it.

    Raises
    ------
    RunError
        If the cluster goes away. What had ended by then is recorded.
    """
    state = _State(f"crossbow-{secrets.token_hex(4)}", deque(jobs), len(jobs))
    client = cluster.client
    try:
        with joined(cluster, state.sweep), _on_interrupt(state):
            client.subscribe_topic(state.sweep, lambda event: state.events.put(event[1]))
            while state.flying or (state.waiting and not state.is_stopping):
                _hand_out(cluster, state)
                _take_notice(state)
                _take_in(state, fails_fast)
                on_progress(_progress_of(state))
                if state.is_stopping:  # every time: a worker may have come back meanwhile
                    client.run(stop_on_worker, state.sweep, state.is_interrupted, on_error="ignore")
            client.unsubscribe_topic(state.sweep)
    except (OSError, CancelledError, TimeoutError) as error:
        raise RunError(
            f"the scheduler at {cluster.address} went away after {len(state.ended)} of {state.n_total} runs "
            f"({error}); run the same again to do the rest"
        ) from error
    skipped = [Ending(job.label, SKIPPED) for job in state.waiting]
    return (*state.ended, *skipped), state.is_interrupted


@contextlib.contextmanager
def _on_interrupt(state: _State) -> Iterator[None]:
    """Make the first Ctrl-C end the sweep in order, where this thread may decide that; a second one raises."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        if state.is_interrupted:
            raise KeyboardInterrupt
        state.is_stopping = state.is_interrupted = True
        state.events.put(None)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def _hand_out(cluster: Connected, state: _State) -> None:
    """Hand the next jobs to the workers that are free."""
    workers = cluster.client.nthreads()
    state.n_workers = len(workers) or state.n_workers
    busy = {address for _, address in state.flying.values()}
    free = [address for address in workers if address not in busy]
    for address in free[: max(0, len(workers) - len(state.flying))]:
        if not state.waiting or state.is_stopping:
            return
        job = state.waiting.popleft()
        state.n_handed_out += 1
        future = cluster.client.submit(
            perform_on_worker,
            job,
            state.sweep,
            key=f"{state.sweep}-{state.n_handed_out}",
            workers=[address],
            allow_other_workers=True,  # a worker that dies comes back under another address
            retries=_RETRIES,
            pure=False,
        )
        state.flying[future] = (job, address)
        future.add_done_callback(state.events.put)


def _take_notice(state: _State) -> None:
    """Wait for something to happen, but no longer than a moment; remember the line if a run has printed one."""
    try:
        event = state.events.get(timeout=_TICK_S)
    except queue.Empty:
        return
    flying = {job.label for job, _ in state.flying.values()}
    if isinstance(event, dict) and event["label"] in flying:
        began, _ = state.running.get(event["label"], (time.monotonic(), ""))
        state.running[event["label"]] = (began, event["line"])


def _take_in(state: _State, fails_fast: bool) -> None:
    """Take in the runs that have ended."""
    for future in [future for future in state.flying if future.done()]:
        job, _ = state.flying[future]
        ending = _ending_of(future, job)
        del state.flying[future]
        state.running.pop(job.label, None)
        if ending.status == HELD:
            # Something else first; when there is nothing else, it is waited for where it would be run.
            state.waiting.append(replace(job, is_patient=True))
            continue
        state.ended.append(ending)
        if fails_fast and ending.status != COMPLETED:
            state.is_stopping = True


def _ending_of(future: "Future[Ending]", job: Job) -> Ending:
    """Return how a job ended, also where its process or its worker didn't live to tell."""
    if future.status == "finished":
        return future.result()
    if future.status == "cancelled":
        raise CancelledError("the connection to it was lost")
    error = future.exception()
    if isinstance(error, KilledWorker):
        message = f"its worker was killed {error.allowed_failures + 1} times: out of memory, or ended from outside"
        return Ending(job.label, LOST, message=message)
    return Ending(job.label, LOST, message=str(error))


def _progress_of(state: _State) -> Progress:
    """Say how far it is."""
    now = time.monotonic()
    running_s = {label: now - began for label, (began, _) in state.running.items()}
    n_waiting = state.n_total - len(state.ended) - len(running_s)
    return Progress(
        state.n_total,
        tuple(state.ended),
        {label: line for label, (_, line) in state.running.items()},
        now - state.started,
        seconds_left(state.ended, running_s, n_waiting, state.n_workers),
    )
