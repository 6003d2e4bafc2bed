"""Races of small sessions, closed after each test, and patience with threads."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crossbow_lab.averaging import EASGD, SMA, SSGD
from crossbow_lab.racing import Race
from crossbow_lab.session import Recipe

COMMON = {"learners": 2, "batch_size": 8, "learning_rate": 0.1, "executor": "loop", "threads": 1}


def recipe(algorithm: Any, **settings: Any) -> Recipe:
    """Return a small recipe: logistic regression on the digits."""
    return Recipe("logreg", "digits", algorithm, **{**COMMON, "evaluate_every": 0.5, "max_learners": 8, **settings})


@pytest.fixture
def race() -> Iterator[Callable[..., Race]]:
    """Give a maker of small races; closes them all, and sees that no thread is left."""
    made: list[Race] = []

    def make(entrants: Any = None, **settings: Any) -> Race:
        usual = {"SMA": recipe(SMA()), "S-SGD": recipe(SSGD()), "EA-SGD": recipe(EASGD())}
        made.append(Race(usual if entrants is None else entrants, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("crossbow-")] == []


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], object]], None]:
    """Give a function that waits until something holds, for twenty seconds at most."""

    def wait_for(holds: Callable[[], object]) -> None:
        end_s = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < end_s, "waited for twenty seconds in vain"
            time.sleep(0.002)

    return wait_for
