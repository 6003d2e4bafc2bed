"""Turns: who trains when, with runners that only count."""

import threading
import time
from typing import Any

import pytest

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.racing.turns import Turns


class Counting:
    """A runner that has so many turns, and notes who had them."""

    def __init__(self, name: str, log: list[str], n_turns: int) -> None:
        self.name, self.log, self.left, self.is_held = name, log, n_turns, False

    @property
    def can_go(self) -> bool:
        """Whether turns are left."""
        return self.left > 0

    @property
    def takes_turns(self) -> bool:
        """Whether it is to have the next."""
        return self.can_go and not self.is_held

    def train(self, slice_s: float) -> None:
        """Have a turn."""
        assert slice_s > 0
        self.log.append(self.name)
        self.left -= 1


def test_turns_go_round_until_all_are_at_their_end() -> None:
    """Whoever is at its end is left out."""
    log: list[str] = []
    Turns(0.1).take([Counting("a", log, 3), Counting("b", log, 1), Counting("c", log, 2)])
    assert log == ["a", "b", "c", "a", "c", "a"]


def test_what_is_asked_for_is_done_between_turns_and_all_may_pause(wait_for: Any) -> None:
    """While all are paused nobody trains and the thread waits; a change wakes it."""
    log: list[str] = []
    runners = [Counting("a", log, 10**9), Counting("b", log, 10**9)]
    turns = Turns(0.1)
    turns.start(runners)
    for runner in runners:
        turns.change(lambda runner=runner: setattr(runner, "is_held", True))
    wait_for(lambda: runners[0].is_held and runners[1].is_held)
    time.sleep(0.02)
    stands = len(log)
    time.sleep(0.05)
    assert len(log) == stands
    turns.change(lambda: setattr(runners[1], "is_held", False))
    wait_for(lambda: len(log) > stands + 10)
    turns.end()
    assert set(log[stands:]) == {"b"}
    assert not turns.are_taken
    assert [thread.name for thread in threading.enumerate() if thread.name == "crossbow-race"] == []


def test_slow_motion_rests_after_each_turn() -> None:
    """A runner that takes 5 ms at a pace of a fifth leaves 20 ms after each."""

    class Slow(Counting):
        def train(self, slice_s: float) -> None:
            time.sleep(0.005)
            super().train(slice_s)

    turns = Turns(0.1)
    turns.pace = 0.2
    began_s = time.perf_counter()
    turns.take([Slow("a", [], 4)])
    assert time.perf_counter() - began_s > 4 * 0.025


def test_only_one_can_let_turns_be_taken_and_an_error_is_kept(wait_for: Any) -> None:
    """A second start is refused; what ends the thread can be read."""

    class Failing(Counting):
        def train(self, slice_s: float) -> None:
            time.sleep(slice_s / 2)
            raise MemoryError("full")

    turns = Turns(0.1)
    turns.start([Failing("a", [], 1)])
    with pytest.raises(ConfigurationError, match="under way"):
        turns.take([])
    turns.wait(5)
    wait_for(lambda: turns.error is not None)
    assert str(turns.error) == "full"
