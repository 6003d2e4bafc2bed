"""The dashboard in a real browser: how soon, how much, and what it costs; JupyterLab on loopback, Debian's Chromium."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from crossbow_lab.bench.browser import dashboard_page as seen
from crossbow_lab.bench.browser.cells import make_session
from crossbow_lab.bench.browser.load import measure_memory_growth, measure_updates, open_long_session
from crossbow_lab.bench.browser.notebook import PATIENCE_MS, NotebookPage, open_notebook, write_notebook
from crossbow_lab.bench.browser.page import open_browser
from crossbow_lab.bench.browser.reloads import measure_reloads
from crossbow_lab.bench.browser.server import serve
from crossbow_lab.bench.browser.speed import measure_presses, measure_slow_down, measure_start
from crossbow_lab.bench.report import spread, table

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

Say = Callable[[str], None]
Open = Callable[..., NotebookPage]

GOALS: dict[str, float] = {
    "press_s": 0.05,
    "reload_s": 5.0,
    "bytes_per_update": 9_000,
    "percent_slower": 3.0,
    "start_s": 5.0,
    "notebook_bytes": 100_000,
    "fast_ms": 15.0,
    "full_per_plot_s": 0.5,
    "growth_bytes": 10e6,
}
_MODES = {True: "callbacks on subshells", False: "without subshells"}
# Tall enough that all plots are in sight: others aren't drawn.
_WIDTH, _HEIGHT = 1300, 1900
_LEFT = """
import threading, ipywidgets
from comm import get_comm_manager
def left():
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("crossbow")]
    return [len(threads), len(ipywidgets.widgets.widget._instances), len(get_comm_manager().comms)]
before = left()
"""


@dataclass(frozen=True)
class Sizes:
    """How often and how long is measured; the numbers of an hour are those at 10 Hz."""

    reloads: int = 20
    starts: int = 5
    presses: int = 30
    rounds: int = 9
    slow_down_window_s: float = 10.0
    histories: tuple[int, ...] = (5_000, 10_000, 20_000)
    update_window_s: float = 60.0
    updates: int = 36_000
    blocks: int = 6


QUICK_SIZES = Sizes(1, 1, 2, 1, 1.0, (100,), 2.0, 60, 1)


def measure_dashboard(sizes: Sizes, say: Say) -> dict[str, Any]:
    """Measure everything about live dashboards that has a goal.

    Parameters
    ----------
    sizes : Sizes
        How often and how long.
    say : callable
        Gets a line of progress now and then.

    Returns
    -------
    dict
        Plain JSON values.

    Raises
    ------
    CrossbowError
        If there is no browser, or a server doesn't answer; with what to do.
    """
    result: dict[str, Any] = {"goals": GOALS, "reloads": {}}
    tidy: dict[str, list[str]] = {"errors": [], "strangers": []}
    with tempfile.TemporaryDirectory(prefix="crossbow-bench-") as folder, open_browser(_WIDTH, _HEIGHT) as browser:
        browser.set_default_timeout(PATIENCE_MS)
        for uses_subshells, mode in _MODES.items():
            with _lab(browser, Path(folder) / mode.split()[0], uses_subshells, tidy) as open_cells:
                say(f"dashboard: {sizes.reloads} reloads in each state, {mode}")
                result["reloads"][mode] = _reloads(open_cells, sizes, say)
                if uses_subshells:
                    result |= _once(open_cells, sizes, say)
    return {**result, **tidy}


def _reloads(open_cells: Open, sizes: Sizes, say: Say) -> dict[str, Any]:
    """Measure reloads of one small session's page."""
    notebook = open_cells(make_session(), "session.dashboard(); session.start();")
    notebook.run_all()
    seen.wait_for_rows(notebook, 20)
    found = measure_reloads(notebook, sizes.reloads, say)
    notebook.close()
    return found


def _once(open_cells: Open, sizes: Sizes, say: Say) -> dict[str, Any]:
    """Measure what doesn't depend on subshells."""
    say(f"dashboard: {sizes.starts} starts")
    started = measure_start(open_cells, sizes.starts)
    say(f"dashboard: {sizes.presses} presses, and what is left after close()")
    pressed = _presses_and_leaks(open_cells, sizes)
    say(f"dashboard: {sizes.rounds} rounds with and without")
    slow_down = measure_slow_down(open_cells, sizes.rounds, sizes.slow_down_window_s)
    say(f"dashboard: updates on top of {', '.join(f'{rows:,}' for rows in sizes.histories)} rows")
    notebook = open_long_session(open_cells)
    updates = measure_updates(notebook, sizes.histories, sizes.update_window_s)
    say(f"dashboard: memory over {sizes.updates:,} updates")
    memory = measure_memory_growth(notebook, sizes.updates, sizes.blocks)
    notebook.close()
    return {**started, **pressed, "slow_down": slow_down, "updates": updates, "memory": memory}


def _presses_and_leaks(open_cells: Open, sizes: Sizes) -> dict[str, Any]:
    """Measure presses; then close dashboard and session, and count threads, widgets and comms that are left."""
    notebook = open_cells(_LEFT, make_session(), "session.dashboard(); session.start();")
    notebook.run_all()
    seen.wait_for_rows(notebook, 20)
    pressed = measure_presses(notebook, sizes.presses)
    notebook.execute("session.dashboard().close()\nsession.close()")
    notebook.page.wait_for_timeout(500)
    left = notebook.ask("[now - then for now, then in zip(left(), before)]")
    notebook.close()
    return {**pressed, "left": dict(zip(("threads", "widgets", "comms"), left, strict=True))}


@contextmanager
def _lab(browser: "BrowserContext", folder: Path, uses_subshells: bool, tidy: dict[str, list[str]]) -> Iterator[Open]:
    """Run JupyterLab; gives what opens a notebook of the cells given, whose errors and strangers are collected."""
    folder.mkdir()
    pages: list[NotebookPage] = []
    with serve("lab", folder, uses_subshells=uses_subshells) as server:

        def open_cells(*cells: str) -> NotebookPage:
            opened = open_notebook(browser, server, write_notebook(folder / f"{len(pages)}.ipynb", cells))
            pages.append(opened)
            return opened

        yield open_cells
    for notebook in pages:
        tidy["errors"] += notebook.wire.errors
        tidy["strangers"] += notebook.wire.strangers


def dashboard_tables(result: dict[str, Any]) -> list[Table]:
    """Show the numbers beside their goals.

    Parameters
    ----------
    result : dict
        What `measure_dashboard` gave.

    Returns
    -------
    list of Table
        Medians, with [least..greatest].
    """
    goals = result["goals"]
    rows = [*_speed_rows(result, goals), *_load_rows(result, goals), *_tidy_rows(result)]
    reloads = [
        [
            f"{state}, {mode}",
            f"{found['restored']} of {found['of']}",
            str(sum(second <= goals["reload_s"] for second in found["seconds"])),
            spread(found["summary_s"], digits=1) if found["summary_s"] else "",
            spread(found["shell_s"], digits=1),
        ]
        for mode, states in result["reloads"].items()
        for state, found in states.items()
    ]
    columns = ("page loaded again", "restored", f"within {goals['reload_s']:g} s", "s", "of which JupyterLab's own")
    return [
        table("dashboard in a real browser", ("what", "measured", "goal"), rows),
        table("reloads", columns, reloads),
    ]


def _speed_rows(result: dict[str, Any], goals: dict[str, float]) -> list[list[str]]:
    """Return the rows about time."""
    slow_down = result["slow_down"]
    return [
        [
            "key on a slider to its use in training (ms)",
            spread(result["press_s"], scale=1e3, digits=0),
            _most(1e3 * goals["press_s"]),
        ],
        ["all plots live after the cell runs (s)", spread(result["start_s"], digits=1), _most(goals["start_s"])],
        ["training slower with it open (%)", spread(slow_down["percent_slower"]), _most(goals["percent_slower"])],
        ["its own thread (% of a core)", f"{100 * slow_down['cost_share']:.1f}", ""],
    ]


def _load_rows(result: dict[str, Any], goals: dict[str, float]) -> list[list[str]]:
    """Return the rows about bytes, drawings and memory."""
    rows = [["notebook on disk (kB)", f"{result['notebook_bytes'] / 1e3:.0f}", _most(goals["notebook_bytes"] / 1e3)]]
    for found in result["updates"]:
        after = f", {found['history_rows']:,} rows"
        full = f"{found['full_ms']:.1f}, at most {found['full_most_ms']:.0f}"
        rows += [
            [f"kB an update{after}", f"{found['bytes_per_update'] / 1e3:.1f}", _most(goals["bytes_per_update"] / 1e3)],
            [f"ordinary drawing (ms){after}", f"{found['fast_ms']:.1f}", _most(goals["fast_ms"])],
            [f"full drawing (ms){after}", full, ""],
            [
                f"full drawings a second and plot{after}",
                f"{found['full_per_plot_s']:.2f}",
                _most(goals["full_per_plot_s"]),
            ],
        ]
    memory = result["memory"]
    for name in ("kernel", "browser"):
        grown = f"{memory[f'{name}_growth_bytes'] / 1e6:.1f}"
        rows.append([f"{name} memory, {memory['updates']:,} updates (MB)", grown, _most(goals["growth_bytes"] / 1e6)])
    return rows


def _tidy_rows(result: dict[str, Any]) -> list[list[str]]:
    """Return the rows about what there must be none of."""
    left = ", ".join(f"{count} {name}" for name, count in result["left"].items())
    return [
        ["console errors", str(len(result["errors"])), "none"],
        ["other hosts asked", str(len(result["strangers"])), "none"],
        ["left after close()", left, "none"],
    ]


def _most(goal: float) -> str:
    """Write a goal."""
    return f"at most {goal:g}"
