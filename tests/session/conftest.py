"""Small sessions, closed after each test, and patience with threads."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from crossbow_lab.session import Session

Data = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


@pytest.fixture
def make() -> Iterator[Callable[..., Session]]:
    """Give a maker of small sessions (logistic regression on digits unless told otherwise); closes them all."""
    made: list[Session] = []

    def make(model: Any = "logreg", dataset: Any = None, **settings: Any) -> Session:
        if not hasattr(model, "setting"):  # a recipe says everything itself
            settings = {"executor": "loop", "threads": 1, "learners": 2, "batch_size": 8, **settings}
        made.append(Session(model, dataset, **settings))
        return made[-1]

    yield make
    for session in made:
        session.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "crossbow-training"]


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], bool]], None]:
    """Give a function that waits until something holds, for ten seconds at most."""

    def wait_for(holds: Callable[[], bool]) -> None:
        end_s = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < end_s, "waited for ten seconds in vain"
            time.sleep(0.001)

    return wait_for


@pytest.fixture(scope="session")
def blobs() -> Data:
    """Give three classes of 60 + 30 samples of 5 features: as train and test pairs."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    inputs = torch.randn(90, 5, generator=generator) + 2.0 * torch.nn.functional.one_hot(labels, 5)
    return (inputs[:60], labels[:60]), (inputs[60:], labels[60:])
