"""How soon a dashboard is there, how soon a slider's new value trains, and what training loses by being watched."""

import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from crossbow_lab.bench.browser import dashboard_page as seen
from crossbow_lab.bench.browser.cells import IMPORTS, make_session
from crossbow_lab.bench.browser.notebook import NotebookPage
from crossbow_lab.bench.measure import summarise

Open = Callable[..., NotebookPage]

# The training thread itself notes when it begins the first iteration with another number of learners.
_WATCH = """
import time
def watch(trainer, used):
    step = trainer.step
    def watched(*arguments):
        if not used or used[-1][1] != trainer.setting.learners:
            used.append((time.time(), trainer.setting.learners))
        return step(*arguments)
    trainer.step = watched
used = []
watch(session._loop.trainer, used)
"""
_NOTE_KEYS = """() => {
  window.pressed = [];
  window.addEventListener("keydown", () => window.pressed.push(performance.timeOrigin + performance.now()), true);
}"""
_RATE = """
import time
def rate(seconds):
    first = session.snapshot
    time.sleep(seconds)
    last = session.snapshot
    return (last.iteration - first.iteration) / (last.elapsed_s - first.elapsed_s)
"""
_SETTLE_MS = 2500


def measure_start(open_cells: Open, repeats: int) -> dict[str, Any]:
    """Time from running a cell with ``session.dashboard()`` until all plots are drawn, each on a page of its own.

    Returns
    -------
    dict
        The summary in seconds; and the bytes of the notebook when it is saved after the last, with its widgets' state.
    """
    seconds, size = [], 0
    for _ in range(repeats):
        notebook = open_cells("session.dashboard(); session.start();")
        notebook.execute(f"{IMPORTS}\n{make_session(max_learners=None)}")
        started_s = perf_counter()
        notebook.run_all()
        seen.wait_for_rows(notebook, 1)
        seconds.append(perf_counter() - started_s)
        seen.wait_for_rows(notebook, 30)
        notebook.save()
        size = _size(notebook.path)
        notebook.close()
    return {"start_s": asdict(summarise(seconds)), "notebook_bytes": size}


def _size(path: Path) -> int:
    """Return a file's size in bytes."""
    return path.stat().st_size


def measure_presses(notebook: NotebookPage, presses: int) -> dict[str, Any]:
    """Time from a key on the slider of learners to the first iteration that trains with the new number.

    Parameters
    ----------
    notebook : NotebookPage
        Shows the dashboard of a session that runs.
    presses : int
        At least 1.

    Returns
    -------
    dict
        The summary in seconds, and all values.
    """
    notebook.execute(_WATCH)
    notebook.page.evaluate(_NOTE_KEYS)
    seen.handle(notebook, "n-learners").focus()
    for number in range(presses):
        notebook.page.keyboard.press("ArrowLeft" if number % 2 else "ArrowRight")
        notebook.page.wait_for_timeout(random.uniform(300, 500))  # noqa: S311 (not in step with the pump)
    pressed = [milliseconds / 1e3 for milliseconds in notebook.page.evaluate("() => window.pressed")]
    used = [at_s for at_s, _ in notebook.ask("used")][1:]
    latencies = [at_s - pressed_s for pressed_s, at_s in zip(pressed, used, strict=True)]
    return {"press_s": asdict(summarise(latencies)), "presses_s": latencies}


def measure_slow_down(open_cells: Open, rounds: int, window_s: float) -> dict[str, Any]:
    """Compare iterations a second with the dashboard open and without one, in turns on one running session.

    Returns
    -------
    dict
        By how many per cent an iteration takes longer, formed in each round; the iterations a second; and the share of
        a core that the dashboard's own thread takes.
    """
    session = make_session(model="digits-cnn", learners=8, batch_size=16, executor="fused", max_learners=None)
    notebook = open_cells("session.dashboard();")
    notebook.execute(f"{session}\n{_RATE}\nsession.start()")
    rates: dict[str, list[float]] = {"open": [], "none": []}
    cost_share = 0.0
    for _ in range(rounds):
        for kind in random.sample(("open", "none"), 2):
            if kind == "open":
                notebook.run_all()
                seen.wait_for_rows(notebook, 1)
            notebook.page.wait_for_timeout(_SETTLE_MS)
            rates[kind].append(notebook.ask(f"rate({window_s})"))
            if kind == "open":
                cost_share = notebook.ask("session.dashboard().live.pump.cost_share")
                notebook.execute("session.dashboard().close()")
    notebook.close()
    slower = [100 * (none / shown - 1) for none, shown in zip(rates["none"], rates["open"], strict=True)]
    summaries = {kind: asdict(summarise(values)) for kind, values in rates.items()}
    return {"percent_slower": asdict(summarise(slower)), "iterations_per_s": summaries, "cost_share": cost_share}
