"""Sessions on two CPU processes, closed after each test with nobody left behind."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crossbow_lab.session import Session

TWO = ["cpu", "cpu"]


def workers_of(session: Session) -> list[int]:
    """Return the process numbers of a session's other devices."""
    group = session._loop.trainer.together.group
    assert group is not None
    assert group.workers is not None
    return group.workers.pids


def is_there(pid: int) -> bool:
    """Tell whether a process is there; one that has ended and is only waited for isn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def make_two() -> Iterator[Callable[..., Session]]:
    """Give a maker of small sessions on two processes; closes them all."""
    made: list[Session] = []

    def make(model: Any = "logreg", dataset: Any = None, **settings: Any) -> Session:
        standard = {"executor": "loop", "threads": 1, "learners": 2, "batch_size": 8, "devices": TWO}
        made.append(Session(model, dataset, **{**standard, **settings}))
        return made[-1]

    yield make
    pids = [pid for session in made for pid in workers_of(session)]
    for session in made:
        session.close()
    assert not [pid for pid in pids if is_there(pid)]


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., float]:
    """Give a function that waits until something holds, and returns how many seconds it took."""

    def wait_until(holds: Callable[[], bool], most_s: float = 20.0) -> float:
        started_s = time.monotonic()
        while not holds():
            assert time.monotonic() < started_s + most_s, f"waited for {most_s:g} s in vain"
            time.sleep(0.01)
        return time.monotonic() - started_s

    return wait_until


@pytest.fixture(autouse=True)
def one_core_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes that tests start use one thread."""
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
