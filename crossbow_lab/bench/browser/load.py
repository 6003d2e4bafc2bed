"""What a long session costs its page: bytes, drawings and memory, with the history of hours made in advance."""

from collections.abc import Callable, Sequence
from typing import Any

from crossbow_lab.bench.browser import dashboard_page as seen
from crossbow_lab.bench.browser.cells import make_session
from crossbow_lab.bench.browser.notebook import NotebookPage

N_LEARNERS = 16
UPDATES_BEFORE = 600
"""Of the growth of memory: a minute, after which everything that is made once is there."""

# Rows of a past before iteration 0, and of a future, in the shapes that a session's have.
_FILL = """
import os, time
import numpy as np
live = session.dashboard().live
noise = np.random.default_rng(0)
def rows(first, count, n_learners):
    x = np.arange(first, first + count, dtype=np.float32)
    level = np.exp(-np.arange(count, dtype=np.float32) / 2000)
    def like(n, scale):
        return level + scale * noise.standard_normal((n, count)).astype(np.float32)
    axes = np.stack([x, x / 100, x * 64, x / 10])
    return {
        "train": np.concatenate([axes, 1e4 * like(2, 0.03), like(2, 0.05)]),
        "learners": np.concatenate([axes, like(n_learners, 0.1), like(n_learners, 0.1)]),
        "test": np.concatenate([axes, 1 - level[None], level[None]])[:, :: 50 if count > 1 else 1],
    }
def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
def update(count, first):
    for number in range(first, first + count):
        new = rows(number, 1, N)
        if number % 50:
            del new["test"]
        live.board.append(new)
        live._write(session.snapshot)
        time.sleep(0.002)
""".replace("N)", f"{N_LEARNERS})")
_HEAP = """() => {
  for (let i = 0; i < 4; i++) globalThis.gc?.();
  return performance.memory.usedJSHeapSize;
}"""


def open_long_session(open_cells: Callable[..., NotebookPage]) -> NotebookPage:
    """Open a dashboard with sixteen learners, whose history can be made."""
    session = make_session(learners=N_LEARNERS, batch_size=4, max_learners=N_LEARNERS, evaluate_every=20.0)
    notebook = open_cells(session, "session.dashboard(); session.start();")
    notebook.run_all()
    seen.wait_for_rows(notebook, 1)
    notebook.execute(_FILL)
    return notebook


def measure_updates(notebook: NotebookPage, histories: Sequence[int], window_s: float) -> list[dict[str, Any]]:
    """Count what an update at 10 Hz sends and draws, on top of histories of several lengths.

    Parameters
    ----------
    notebook : NotebookPage
        From `open_long_session`.
    histories : sequence of int
        Rows that are there before training starts.
    window_s : float
        Seconds to count over; of 60 one keyframe with the whole history is part.

    Returns
    -------
    list of dict
        For each history: bytes and messages an update, milliseconds of fast and full drawings (mean and greatest), and
        full drawings a second of each plot.
    """
    return [_measure_window(notebook, history, window_s) for history in histories]


def _measure_window(notebook: NotebookPage, history: int, window_s: float) -> dict[str, Any]:
    """Begin again on top of a history, and count."""
    n_rows = "live.board.length('train')"
    notebook.execute("session.reset()")
    notebook.page.wait_for_timeout(1000)
    notebook.execute(f"live.board.append(rows({-history}, {history}, {N_LEARNERS}))\nsession.start()")
    notebook.wait_for(f"(least) => ({seen.RECEIVED})()[0] > least", history + 20)
    seen.forget_draws(notebook)
    before, received, received_bytes = notebook.ask(n_rows), notebook.wire.received, notebook.wire.received_bytes
    notebook.page.wait_for_timeout(1e3 * window_s)
    drawn = seen.draws(notebook)
    received, received_bytes = notebook.wire.received - received, notebook.wire.received_bytes - received_bytes
    updates = notebook.ask(n_rows) - before
    return {
        "history_rows": history,
        "updates": updates,
        "bytes_per_update": received_bytes / updates,
        "messages_per_update": received / updates,
        "full_per_plot_s": drawn["full"]["n"] / window_s / seen.N_PLOTS,
        **{f"{kind}_ms": draw["ms"] / max(1, draw["n"]) for kind, draw in drawn.items()},
        **{f"{kind}_most_ms": draw["max"] for kind, draw in drawn.items()},
    }


def measure_memory_growth(notebook: NotebookPage, updates: int, blocks: int) -> dict[str, Any]:
    """Make updates faster than real time, and compare the kernel's and the page's memory before and after.

    Parameters
    ----------
    notebook : NotebookPage
        From `open_long_session`.
    updates : int
        36,000 are an hour.
    blocks : int
        Parts between which the page has time to draw.

    Returns
    -------
    dict
        Bytes of growth of the kernel's resident memory and of the page's JavaScript heap, and what they began with.
    """
    notebook.execute("session.reset()")
    notebook.page.wait_for_timeout(1000)

    def made(count: int, first: int) -> tuple[int, int]:
        notebook.execute(f"update({count}, {first})")
        notebook.wait_for(f"(rows) => ({seen.RECEIVED})()[0] >= rows", first + count)
        notebook.page.wait_for_timeout(3000)
        return notebook.ask("resident_bytes()"), int(notebook.page.evaluate(_HEAP))

    before = made(UPDATES_BEFORE, 0)
    after = before
    for block in range(blocks):
        after = made(updates // blocks, UPDATES_BEFORE + block * (updates // blocks))
    names = ("kernel", "browser")
    grown = {f"{name}_growth_bytes": last - first for name, first, last in zip(names, before, after, strict=True)}
    return {"updates": updates, **grown, **{f"{name}_bytes": n for name, n in zip(names, before, strict=True)}}
