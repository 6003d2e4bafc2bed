"""Ctrl-C: what trains in a cell stops, what trains in the background goes on."""

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session import Session

Make = Callable[..., Session]


def interrupt_after(seconds: float) -> threading.Timer:
    """Press Ctrl-C from another thread, soon."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def test_ctrl_c_stops_between_two_iterations(make: Make) -> None:
    """KeyboardInterrupt is raised, the session is whole and goes on, and the handler is the one of before."""
    before = signal.getsignal(signal.SIGINT)
    session = make()
    timer = interrupt_after(0.1)
    with pytest.raises(KeyboardInterrupt):
        session.run(epochs=1e6)
    timer.join()
    assert signal.getsignal(signal.SIGINT) is before
    assert session.state == "stopped"
    assert session.history.iteration.iloc[-1] == session.snapshot.iteration
    other = make(session.recipe).run()
    assert other.fingerprint() == session.fingerprint()
    session.run(iterations=2)
    other.run(iterations=2)
    assert other.fingerprint() == session.fingerprint()


def test_ctrl_c_after_the_last_iteration_is_forgotten(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised, for it came before run returned, but doesn't stop what is run next."""
    session = make()
    release = session._driver._release

    def interrupted() -> None:
        release()
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(session._driver, "_release", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.run(iterations=2)
    assert session.state == "finished"
    monkeypatch.undo()
    assert session.run(iterations=3).snapshot.iteration == 5


def test_ctrl_c_reaches_a_foreground_session_that_is_paused(make: Make, wait_for: Any) -> None:
    """Another thread paused it; the interrupt still ends it."""
    session = make()

    def pause_then_interrupt() -> None:
        wait_for(lambda: session.snapshot.iteration > 3)
        session.pause()
        wait_for(lambda: session.state == "paused")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=pause_then_interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        session.run(epochs=1e6)
    thread.join()
    assert session.state == "stopped"


def test_ctrl_c_does_not_end_background_training(make: Make, wait_for: Any) -> None:
    """It interrupts whoever waits, and training goes on."""
    session = make().start()
    timer = interrupt_after(0.05)
    with pytest.raises(KeyboardInterrupt):
        session.wait()
    timer.join()
    before = session.snapshot.iteration
    wait_for(lambda: session.snapshot.iteration > before)
    assert session.state == "running"


class Slow(nn.Module):
    """A model that tells when its first forward pass in training has begun, and takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)
        self.hold_s = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Wait, then compute."""
        time.sleep(self.hold_s)
        return self.layer(x)


def test_a_second_ctrl_c_stops_at_once_and_fails_the_session(make: Make, blobs: Any) -> None:
    """In the middle of an iteration the weights can't be trusted, and it says so."""
    slow = Slow()
    slow.hold_s = 0.3
    session = make(slow, blobs, learners=4)
    timers = interrupt_after(0.2), interrupt_after(0.5)
    with pytest.raises(KeyboardInterrupt):
        session.run(epochs=100)
    for timer in timers:
        timer.join()
    assert session.state == "failed"
    assert session.error == "KeyboardInterrupt"
    with pytest.raises(ConfigurationError, match=r"run\(\) while the session is failed \(KeyboardInterrupt\)"):
        session.run(epochs=1)
