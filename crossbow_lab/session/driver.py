"""Who trains, and in which thread: one at a time, and everybody else asks for things to be done in between.

No lock is held while training. What others ask for goes into the loop's queue, which it empties between two
iterations; where nobody trains, it is done at once by whoever asks.
"""

import atexit
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from crossbow_lab.errors import ConfigurationError, CrossbowError
from crossbow_lab.session.checks import check_whole
from crossbow_lab.session.limits import Limits, make_limits
from crossbow_lab.session.loop import Loop
from crossbow_lab.surroundings import is_headless

Result = TypeVar("Result")


_ADVICE = {
    "ready": "start() or run() it first",
    "running": "pause() or stop() it first",
    "paused": "resume() or stop() it first",
    "finished": "start() or run() goes on",
    "stopped": "start() or run() goes on",
    "failed": "make a new one, or restore a checkpoint",
}


class Driver:
    """Lets one thread at a time train a loop.

    Attributes
    ----------
    lock : held while it is decided who does something, never while training in the background.
    is_closed : whether it is closed, for good.
    """

    def __init__(self, loop: Loop) -> None:
        self.lock = threading.RLock()
        self._loop = loop
        self._is_active = self.is_closed = False
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None
        self._training_thread: int | None = None

    @property
    def takes_at_once(self) -> bool:
        """Whether what is asked for is done at once: nobody trains, or whoever does is paused."""
        return not self._is_active or self._loop.state == "paused"

    def begin(self, what: str, *, is_needed: bool = True, **limits: Any) -> Limits:
        """Become the one who trains; return where training stops.

        Parameters
        ----------
        what : the method that was called.
        is_needed, limits : as in `crossbow_lab.session.limits.make_limits`.

        Raises
        ------
        ConfigurationError
            If somebody trains already, the session has failed or is closed, or the limits are wrong.
        """
        with self.lock:
            self._require_idle(what)
            made = make_limits(self._loop.origin, is_needed=is_needed, **limits)
            if what in ("run", "start"):  # steps may be as short as their owner likes
                self._loop.tuner.check(made)
            self._take()
            return made

    def _require_idle(self, what: str) -> None:
        """Refuse to train where somebody does already, or nobody can; the lock must be held."""
        self.require_usable(what)
        if self._is_active:
            raise self._refusal(what)

    def _take(self) -> None:
        """Become the one who trains; the lock must be held."""
        self._is_active = True
        self._idle.clear()
        self._loop.observer.state = "running"

    def require_usable(self, what: str) -> None:
        """Refuse what makes no sense once a session has failed or is closed."""
        if self.is_closed:
            raise ConfigurationError(f"{what}() on a closed session; make a new one, or restore a checkpoint")
        if self._loop.state == "failed":
            raise self._refusal(what)

    def _refusal(self, what: str) -> ConfigurationError:
        """Return the error of a call that makes no sense in the present state."""
        state, error = self._loop.state, self._loop.error
        because = f" ({error})" if error else ""
        return ConfigurationError(f"{what}() while the session is {state}{because}; {_ADVICE[state]}")

    # ---- training -------------------------------------------------------------------------------------------

    def run(self, what: str, *, progress: bool | None = False, at_end: str = "finished", **limits: Any) -> None:
        """Begin, and train in this thread; raise what ends it early.

        Ctrl-C stops before the next iteration, a second one at once. Progress that is None is printed where nobody
        looks.
        """
        progress = is_headless() if progress is None else progress
        with self._stopped_by_interrupt() as interrupts:
            error = self._train(self.begin(what, **limits), progress=progress, at_end=at_end)
        if interrupts:
            raise KeyboardInterrupt
        if error is not None:
            raise error

    def spell(self, limits: Limits) -> BaseException | None:
        """Train in this thread up to limits that count from the session's start, then pause; nothing is evaluated.

        A pause that is asked for meanwhile ends the spell. Ctrl-C stops as in `run`.

        Returns
        -------
        BaseException or None
            What made the session fail.

        Raises
        ------
        ConfigurationError
            If somebody trains already, or the session has failed or is closed.
        """
        with self._stopped_by_interrupt() as interrupts:
            with self.lock:
                self._require_idle("train")
                self._take()
            error = self._train(limits, at_end="paused")
        if interrupts:
            raise KeyboardInterrupt
        return error

    def _train(self, limits: Limits, *, progress: bool = False, at_end: str = "finished") -> BaseException | None:
        """Train in this thread, once begun; return what went wrong, or None."""
        self._training_thread = threading.get_ident()
        try:
            self._loop.run(limits, progress, at_end)
        except BaseException as error:  # even SystemExit must not leave the session looking alive
            self._loop.fail(error)
            return error
        finally:
            self._release()
        return None

    def start(self, limits: Limits) -> None:
        """Train in a thread of its own, once begun."""
        stop = _stopper(weakref.ref(self))
        # Daemonic, or the interpreter would wait for it before it stops it at exit.
        thread = threading.Thread(
            target=self._train_in_background, args=(limits, stop), name="crossbow-training", daemon=True
        )
        atexit.register(stop)
        thread.start()
        self._thread = thread

    def _train_in_background(self, limits: Limits, stop: Callable[[], None]) -> None:
        """Train; what goes wrong is kept by the loop."""
        try:
            self._train(limits)
        finally:
            atexit.unregister(stop)

    def _release(self) -> None:
        """Let others train, and do what was asked for too late."""
        with self.lock:
            try:
                while not self._loop.commands.empty():
                    self._loop.commands.get()()
            finally:
                self._training_thread = None
                self._is_active = False
                self._idle.set()

    def ask(self, function: Callable[[], Result], *, is_vital: bool = False) -> Future[Result]:
        """Have ``function`` called before the next iteration, or at once where nobody trains.

        Parameters
        ----------
        is_vital : whether an error in it that isn't a refusal may have left training half changed, so that
            training must not go on.

        Returns
        -------
        Future that gets the function's result or error.
        """
        future: Future[Result] = Future()

        def command() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
                if is_vital and not isinstance(error, CrossbowError):
                    raise

        with self.lock:
            if self._is_active:
                self._loop.commands.put(command)
            else:
                command()
        return future

    def ask_and_wait(self, function: Callable[[], Result], *, is_vital: bool = False) -> Result:
        """Return what ``function`` returns before the next iteration, and raise what it raises."""
        self._refuse_training_thread()
        return self.ask(function, is_vital=is_vital).result()

    def pause(self) -> None:
        """Ask to pause before the next iteration."""
        with self.lock:
            if self._is_active:
                self.ask(self._loop.pause)
            elif self._loop.state != "paused":
                raise self._refusal("pause")

    def resume(self) -> None:
        """Go on after a pause, in the background."""
        with self.lock:
            if self._is_active:
                self.ask(self._loop.resume)
            elif self._loop.state == "paused":
                self.start(self.begin("resume", is_needed=False))
            else:
                raise self._refusal("resume")

    def step(self, n: int) -> None:
        """Train ``n`` iterations, then pause; return when they are done."""
        n, done = check_whole("n", n), Future[None]()
        self._refuse_training_thread()
        with self.lock:
            asked = self.ask(lambda: self._loop.step(n, done)) if self._is_active else None
        if asked is None:
            self.run("step", at_end="paused", iterations=n)
        else:
            asked.result()
            done.result()

    def stop(self) -> None:
        """Stop before the next iteration, and wait until training has stopped; nothing where it isn't on."""
        self._refuse_training_thread()
        with self.lock:
            if self._is_active:
                self.ask(self._loop.stop)
            elif self._loop.state == "paused":  # after a step, or restored: end as any other session does
                limits = self.begin("stop", is_needed=False)
                self.ask(self._loop.stop)
                self.start(limits)
        self.wait()

    def close(self) -> None:
        """Stop, for good, and close the record's files."""
        self.stop()
        self.is_closed = True
        self._loop.trainer.together.release()
        self._loop.record.close()

    def lose(self, loss: CrossbowError) -> None:
        """Fail, for one of several devices is lost; whoever trains does it before the next iteration."""

        def fail() -> None:
            if self._loop.state != "failed":
                raise loss

        with self.lock:
            if self._is_active:
                self._loop.commands.put(fail)
            elif self._loop.state != "failed" and not self.is_closed:
                self._loop.fail(loss)

    def wait(self, timeout_s: float | None = None) -> str:
        """Wait until nobody trains, or ``timeout_s`` passes; return the state."""
        self._refuse_training_thread()
        thread = self._thread
        if self._idle.wait(timeout_s) and thread is not None:
            thread.join(timeout_s)  # it has nothing left to do
        return self._loop.state

    def _refuse_training_thread(self) -> None:
        """Refuse to let the training thread wait for itself: for ever."""
        if self._training_thread == threading.get_ident():
            raise ConfigurationError(
                "the session was asked for something from inside its own model, loss or data, and would wait for "
                "itself for ever; ask from outside, or from another thread"
            )

    @contextmanager
    def _stopped_by_interrupt(self) -> Iterator[list[int]]:
        """Let Ctrl-C stop training before the next iteration, a second one at once; yields those that came."""
        interrupts: list[int] = []

        def handle(number: int, _: FrameType | None) -> None:
            if interrupts:
                raise KeyboardInterrupt
            interrupts.append(number)
            self._loop.commands.put(self._loop.stop)  # takes no lock: this may be in the middle of anything

        if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
            yield interrupts
            return
        before = signal.signal(signal.SIGINT, handle)
        try:
            yield interrupts
        finally:
            signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
            if interrupts:
                self._forget_commands()

    def _forget_commands(self) -> None:
        """Empty the queue, where nobody trains, of a Ctrl-C that came when training had just ended."""
        with self.lock:
            while not self._is_active and not self._loop.commands.empty():
                self._loop.commands.get()


def _stopper(driver: "weakref.ref[Driver]") -> Callable[[], None]:
    """Return what stops training before the interpreter goes, which would abort the process otherwise."""

    def stop() -> None:
        alive = driver()
        if alive is not None:
            alive.stop()

    return stop
