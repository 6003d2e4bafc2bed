"""The dashboard's thread, and the one that does what buttons ask for."""

import threading
import time
from typing import Any

from crossbow_lab.dashboard.actions import Actions
from crossbow_lab.dashboard.pump import THREAD_NAME, Pump


def _names() -> list[str]:
    """Return the names of all threads."""
    return [thread.name for thread in threading.enumerate()]


def test_it_ticks_until_it_is_stopped_and_once_more() -> None:
    """So that the end is shown; stopping again does nothing."""
    ticks: list[float] = []
    pump = Pump(lambda: ticks.append(time.monotonic()), 50.0, lambda _: None)
    pump.start()
    while len(ticks) < 5:
        time.sleep(0.01)
    assert THREAD_NAME in _names()
    pump.stop()
    count = len(ticks)
    assert THREAD_NAME not in _names()
    pump.stop()
    time.sleep(0.1)
    assert len(ticks) == count
    assert not pump.is_alive


def test_whoever_drives_it_is_the_only_one() -> None:
    """The pump's own thread waits meanwhile."""
    threads = []
    pump = Pump(lambda: threads.append(threading.current_thread()), 100.0, lambda _: None)
    pump.start()
    with pump.driven():
        pump.tick()  # which waits for one that is under way
        threads.clear()
        time.sleep(0.1)
        pump.tick()
        assert threads == [threading.main_thread()]
    while len(threads) < 2:
        time.sleep(0.01)
    pump.stop()


def test_an_error_ends_it_and_is_told() -> None:
    """A tick that fails would fail ten times a second."""
    told: list[BaseException] = []
    pump = Pump(lambda: 1 / 0, 100.0, told.append)
    pump.start()
    while not told:
        time.sleep(0.01)
    pump._thread.join()
    assert [type(error) for error in told] == [ZeroDivisionError]
    assert not pump.is_alive


def test_its_cost_is_the_share_of_time_that_ticks_compute() -> None:
    """Waiting costs nothing."""

    def compute() -> None:
        end_s = time.thread_time() + 0.01
        while time.thread_time() < end_s:
            pass

    busy, idle = Pump(compute, 10.0, lambda _: None), Pump(lambda: time.sleep(0.01), 10.0, lambda _: None)
    for pump in (busy, idle):
        pump.tick()
        assert pump.cost_share == 0.0
        for _ in range(3):
            time.sleep(0.09)
            pump.tick()
    assert busy.cost_share > 5 * idle.cost_share
    busy.stop()
    idle.stop()


def test_actions_are_done_in_order_on_a_thread_that_ends_with_them(wait_for: Any) -> None:
    """The message says what is being done, then what came of it."""
    actions, may_end, done = Actions(), threading.Event(), []

    def first() -> str:
        may_end.wait()
        done.append("first")
        return ""

    actions.later("stopping", first)
    actions.later("saving", lambda: done.append("second") or "saved")  # type: ignore[func-returns-value]
    wait_for(lambda: actions.message == "stopping …")
    may_end.set()
    wait_for(lambda: actions.message == "saved")
    assert done == ["first", "second"]
    actions.close(1.0)
    assert "crossbow-dashboard-actions" not in _names()


def test_what_goes_wrong_is_a_message(wait_for: Any) -> None:
    """In an observer nobody would see it."""
    actions = Actions()
    actions.at_once(lambda: 1 / 0)
    assert (actions.message, actions.is_refusal) == ("division by zero", True)
    actions.at_once(lambda: None)
    assert (actions.message, actions.is_refusal) == ("", False)
    actions.later("dividing", lambda: str(1 / 0))
    wait_for(lambda: actions.is_refusal)
    assert actions.message == "division by zero"
    actions.close(1.0)


def test_closing_forgets_what_waits(wait_for: Any) -> None:
    """But what is being done is waited for."""
    actions, began, done = Actions(), threading.Event(), []

    def slow() -> str:
        began.set()
        time.sleep(0.1)
        done.append("slow")
        return ""

    actions.later("slowly", slow)
    actions.later("never", lambda: done.append("never") or "")  # type: ignore[func-returns-value]
    began.wait()
    actions.close(5.0)
    assert done == ["slow"]
