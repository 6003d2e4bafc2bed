"""Who has the device: one thread lets lanes take turns, and does between turns what others ask for."""

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Protocol

from crossbow_lab.errors import ConfigurationError

THREAD_NAME = "crossbow-race"
_SHORTEST_S = 0.005  # of a turn: a dozen iterations of a small model


class Runner(Protocol):
    """What takes turns."""

    @property
    def can_go(self) -> bool:
        """Whether it isn't at its end."""

    @property
    def takes_turns(self) -> bool:
        """Whether it is to train now."""

    def train(self, slice_s: float) -> None:
        """Have a turn."""


class Turns:
    """Round robin: each turn is a slice of the runner's own training time, so equal turns are equal shares.

    Parameters
    ----------
    slice_s : seconds of training in a turn.

    Attributes
    ----------
    pace : share of the time in which somebody trains, 0 < pace <= 1; below 1 turns are shorter, with rests between.
    are_taken : whether somebody trains, or would if it weren't paused.
    error : what ended the turns; None if nothing did.
    """

    def __init__(self, slice_s: float) -> None:
        self.slice_s, self.pace = slice_s, 1.0
        self.are_taken = False
        self.error: BaseException | None = None
        self._asked: list[Callable[[], None]] = []
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._is_ending = False

    def change(self, function: Callable[[], None]) -> None:
        """Have something done between two turns; at once where none are taken."""
        with self._changed:
            if self.are_taken:
                self._asked.append(function)
                self._changed.notify_all()
            else:
                function()

    def take(self, runners: Sequence[Runner], each: Callable[[], None] = lambda: None) -> None:
        """Let runners take turns in this thread until all are at their end, or `end` is called; ``each`` after each.

        Raises
        ------
        ConfigurationError
            If turns are taken already.
        """
        self._begin()
        self._take(runners, each)

    def start(self, runners: Sequence[Runner]) -> None:
        """Do the same in a thread of its own.

        Raises
        ------
        ConfigurationError
            If turns are taken already.
        """
        self._begin()
        ender = _ender(weakref.ref(self))
        atexit.register(ender)  # else the interpreter would go while torch computes, and abort

        def work() -> None:
            try:
                self._take(runners, lambda: None)
            except BaseException as error:  # nobody would see it on this thread
                self.error = error
            finally:
                atexit.unregister(ender)

        self._thread = threading.Thread(target=work, name=THREAD_NAME, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End after the present turn, and wait for it."""
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        self.wait(None)

    def wait(self, timeout_s: float | None) -> bool:
        """Wait until no turns are taken, or ``timeout_s`` passes; tell whether none are."""
        if self._thread is threading.current_thread():
            raise ConfigurationError(
                "the race was asked from inside a model, loss or data of its own; ask from outside"
            )
        with self._changed:
            ended = self._changed.wait_for(lambda: not self.are_taken, timeout_s)
        if ended and self._thread is not None:
            self._thread.join(timeout_s)
        return ended

    def _begin(self) -> None:
        """Become the one whose runners take turns."""
        with self._changed:
            if self.are_taken:
                raise ConfigurationError("the race is under way; stop() it first")
            self.are_taken, self._is_ending, self.error = True, False, None

    def _take(self, runners: Sequence[Runner], each: Callable[[], None]) -> None:
        """Let runners take turns."""
        place = 0
        try:
            while self._goes_on(runners):
                runner = runners[place % len(runners)]
                place += 1
                if runner.takes_turns:
                    self._turn(runner)
                    each()
        finally:
            with self._changed:
                self._obey()
                self.are_taken = False
                self._changed.notify_all()

    def _turn(self, runner: Runner) -> None:
        """Let a runner have its turn, and in slow motion rest after it."""
        pace, began_s = self.pace, time.perf_counter()
        runner.train(max(_SHORTEST_S, pace * self.slice_s))
        rest_s = (1 / pace - 1) * (time.perf_counter() - began_s)
        if rest_s > 0:
            with self._changed:
                self._changed.wait_for(lambda: self._is_ending or bool(self._asked), rest_s)

    def _goes_on(self, runners: Sequence[Runner]) -> bool:
        """Do what was asked for, wait while all are paused, and tell whether there is anyone left to train."""
        with self._changed:
            while True:
                self._obey()
                if self._is_ending or not any(runner.can_go for runner in runners):
                    return False
                if any(runner.takes_turns for runner in runners):
                    return True
                self._changed.wait()

    def _obey(self) -> None:
        """Do what was asked for."""
        while self._asked:
            self._asked.pop(0)()


def _ender(turns: "weakref.ref[Turns]") -> Callable[[], None]:
    """Return what ends turns before the interpreter goes."""

    def end() -> None:
        alive = turns()
        if alive is not None:
            alive.end()

    return end
