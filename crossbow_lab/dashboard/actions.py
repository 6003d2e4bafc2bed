"""What buttons ask for and takes a while: done one after the other on a thread that lives no longer than that.

A button's observer may run on the kernel's main thread or beside it; neither may wait until training has stopped.
"""

import queue
import threading
from collections.abc import Callable

THREAD_NAME = "crossbow-dashboard-actions"


class Actions:
    """Does what it is given, in order, and remembers what came of the last.

    Attributes
    ----------
    message : what is being done, or what came of it.
    is_refusal : whether the message says why something was not done.
    """

    def __init__(self) -> None:
        self.message, self.is_refusal = "", False
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[str, Callable[[], str]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def say(self, message: str, *, is_refusal: bool = False) -> None:
        """Leave a message, in the place of the last."""
        self.message, self.is_refusal = message, is_refusal

    def at_once(self, action: Callable[[], object]) -> None:
        """Do what takes no time, on this thread; a refusal is a message."""
        try:
            action()
        except Exception as error:  # in an observer nobody would see it
            self.say(reason(error), is_refusal=True)
        else:
            self.say("")

    def later(self, doing: str, action: Callable[[], str]) -> None:
        """Do what takes a while after what waits already; ``action`` returns what to say when it is done."""
        with self._lock:
            self._waiting.put((doing, action))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=THREAD_NAME, daemon=True)
                self._thread.start()

    def _work(self) -> None:
        """Do all that waits."""
        while True:
            with self._lock:
                if self._waiting.empty():
                    self._thread = None
                    return
                doing, action = self._waiting.get()
            self.say(f"{doing} …")
            try:
                self.say(action())
            except Exception as error:  # nobody would see it on this thread
                self.say(reason(error), is_refusal=True)

    def close(self, timeout_s: float) -> None:
        """Wait for what is being done, not longer than this; forget what waits."""
        with self._lock:
            while not self._waiting.empty():
                self._waiting.get()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)


def reason(error: BaseException) -> str:
    """Return why something failed, for people."""
    return str(error) or type(error).__name__
