"""The one thread of a dashboard: ten times a second it asks what is new, and shows it."""

import atexit
import contextlib
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator

THREAD_NAME = "crossbow-dashboard"
_JOIN_S = 2.0
_SMOOTHING_S = 5.0


class Pump:
    """Calls a function until it is stopped, one call at a time, and measures what that costs.

    Parameters
    ----------
    tick : what it calls.
    rate_hz : calls a second, at most.
    failed : is told an error of ``tick``, which ends the pump.

    Attributes
    ----------
    cost_share : time that ticks take of one core, smoothed over five seconds; NaN before the first.
    """

    def __init__(self, tick: Callable[[], None], rate_hz: float, failed: Callable[[BaseException], None]) -> None:
        self.cost_share = math.nan
        self.period_s = 1.0 / rate_hz
        self._tick, self._failed = tick, failed
        self._quit = threading.Event()
        self._ticking = threading.Lock()
        self._is_driven = False
        self._last_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        _PUMPS.add(self)

    @property
    def is_alive(self) -> bool:
        """Whether it goes on."""
        return not self._quit.is_set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def tick(self) -> None:
        """Call the function now, on this thread."""
        with self._ticking:
            before_s = time.thread_time()
            try:
                self._tick()
            except Exception as error:  # nobody would see it on the pump's thread
                self._quit.set()
                self._failed(error)
            cost_s = time.thread_time() - before_s
            now_s = time.monotonic()
            span_s, self._last_s = max(now_s - self._last_s, cost_s, 1e-6), now_s
            share, weight = cost_s / span_s, min(1.0, span_s / _SMOOTHING_S)
            if math.isnan(self.cost_share):
                self.cost_share = 0.0  # the first tick also opens everything, which comes once
            else:
                self.cost_share += weight * (share - self.cost_share)

    @contextlib.contextmanager
    def driven(self) -> Iterator[None]:
        """Let whoever calls `tick` meanwhile be the only one who does."""
        self._is_driven = True
        try:
            yield
        finally:
            self._is_driven = False

    def stop(self) -> None:
        """Stop, and call the function a last time, so that the end is shown."""
        if self._quit.is_set():
            return
        self._quit.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)
        self.tick()

    def _run(self) -> None:
        """Go on until it is stopped."""
        next_s = time.monotonic()
        while not self._quit.wait(max(0.0, next_s - time.monotonic())):
            next_s = max(next_s + self.period_s, time.monotonic())
            if not self._is_driven:
                self.tick()


_PUMPS: "weakref.WeakSet[Pump]" = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Stop all pumps before the kernel closes its sockets, into which they would go on sending."""
    for pump in list(_PUMPS):
        pump.stop()
