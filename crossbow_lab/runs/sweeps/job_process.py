"""The process that one run of a sweep takes place in: ``python -m crossbow_lab.runs.sweeps.job_process``.

A run gets a fresh process because threads and GPUs are confined by environment variables that are read once, and
because its owner can then end it without harm to anything else. Standard input brings the job as one line of JSON.
After it, a byte interrupts the run, which is then published as interrupted; the end of the input means that the owner
is gone, and ends this process, and with it the run's own processes. Standard output carries JSON lines: what the
notebook prints, and at last how the run ended.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from crossbow_lab.errors import CrossbowError
from crossbow_lab.runs.identity import request_for
from crossbow_lab.runs.records.leases import LeaseHeldError, lease
from crossbow_lab.runs.records.manifest import Run
from crossbow_lab.runs.runner import run_request
from crossbow_lab.runs.sweeps.jobs import HELD, REFUSED, Ending, Job
from crossbow_lab.runs.sweeps.places import confine_to, gpu_to_oneself
from crossbow_lab.runs.sweeps.plan import with_threads


def main() -> None:
    """Run the job that standard input asks for."""
    orders = sys.stdin.fileno()
    job = Job(**json.loads(_read_line(orders)))
    threading.Thread(target=_obey, args=(orders,), daemon=True).start()
    confine_to(job.cores)
    ending = perform(job, lambda line: _send({"line": line}))
    _send({"ending": asdict(ending)})


def perform(job: Job, say: Callable[[str], None]) -> Ending:
    """Run a job in this process, on its main thread.

    Parameters
    ----------
    job : Job
    say : callable
        Gets the lines that the notebook prints.
    """
    started = time.monotonic()

    def ending(status: str, **more: Any) -> Ending:
        return Ending(job.label, status, time.monotonic() - started, **more)

    try:
        with contextlib.ExitStack() as stack:
            for uuid in sorted(job.gpu_uuids):  # in one order everywhere: two jobs can't wait for each other
                stack.enter_context(gpu_to_oneself(uuid, say))
            started = time.monotonic()
            run = _run(job, say)
    except LeaseHeldError as error:
        return ending(HELD, message=str(error))
    except KeyboardInterrupt:
        return ending("interrupted", message="interrupted before the notebook began")
    except CrossbowError as error:
        return ending(REFUSED, message=str(error))
    exception = run.manifest.get("exception")
    message = f"{exception['name']}: {exception['message']}" if exception else ""
    return ending(run.status, folder=str(run.folder), is_cached=run.is_cached, message=message)


def _run(job: Job, say: Callable[[str], None]) -> Run:
    """Run the job's notebook."""
    request = request_for(job.notebook, job.parameters, recipe=job.recipe, timeout_s=job.timeout_s)
    request = with_threads(request, job.threads)
    if not job.is_patient and not job.is_forced:
        with lease(job.runs_dir, request.key):
            pass  # nobody else runs it: else this raises, and the sweep does something else first
    return run_request(request, runs_dir=job.runs_dir, force=job.is_forced, provenance=job.provenance, on_line=say)


def _obey(orders: int) -> None:
    """Interrupt the run at a byte, and end with the owner."""
    while os.read(orders, 1):
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(1)


def _read_line(descriptor: int) -> bytes:
    """Read one line and not a byte more: a buffered reader would swallow the orders behind it."""
    line = bytearray()
    while (byte := os.read(descriptor, 1)) not in (b"", b"\n"):
        line += byte
    return bytes(line)


def _send(message: dict[str, Any]) -> None:
    """Print one JSON line at once."""
    print(json.dumps(message), flush=True)  # noqa: T201 (standard output is this process's channel to its owner)


if __name__ == "__main__":
    main()
