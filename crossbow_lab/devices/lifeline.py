"""A worker's end of the pipes to the process that started it: a sign of life, the last word, and the end with it.

The parent's pipe is standard input: what it sends first is the job, and when it closes, however the parent came to its
end, the worker ends too. Standard output carries lines of JSON to the parent; what a model prints goes with the errors.
"""

import json
import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

BEAT_S = 0.25
"""Seconds between two signs of life."""


def live(work: Callable[[Any], None]) -> None:
    """Do the job that the parent sends, then end the process; never returns.

    Parameters
    ----------
    work : callable of the job
        Its error is the parent's to tell; the exit status is 1 then.
    """
    messages = os.dup(1)
    os.dup2(2, 1)
    threading.Thread(target=_beat, args=(messages,), daemon=True).start()
    status = 0
    try:
        size = int.from_bytes(_read(8), "big")
        job = pickle.loads(_read(size))  # noqa: S301 (a private pipe from the process that started this one)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        work(job)
    except BaseException as error:
        told = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        os.write(messages, json.dumps(told).encode() + b"\n")
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # at once: threads of gloo may wait for peers that are gone


def sent(job: Any) -> bytes:
    """Return what the parent writes to begin with."""
    content = pickle.dumps(job)
    return len(content).to_bytes(8, "big") + content


def _read(count: int) -> bytes:
    """Read so many bytes of standard input; none of it buffered, so that the end is seen when it comes."""
    parts = bytearray()
    while len(parts) < count:
        part = os.read(0, min(count - len(parts), 1 << 20))
        if not part:
            os._exit(0)  # the parent is gone already
        parts += part
    return bytes(parts)


def _end_with_parent() -> None:
    """Wait for the end of standard input, and end the process."""
    while os.read(0, 1 << 16):
        pass
    os._exit(0)


def _beat(messages: int) -> None:
    """Give a sign of life now and then."""
    while True:
        try:
            os.write(messages, b"\n")
        except OSError:
            os._exit(0)
        time.sleep(BEAT_S)
