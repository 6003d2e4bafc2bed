"""Whether a page that is loaded again shows every plot with the full series, and how soon."""

from collections.abc import Callable
from dataclasses import asdict
from time import perf_counter
from typing import Any

from crossbow_lab.bench.browser import dashboard_page as seen
from crossbow_lab.bench.browser.notebook import PATIENCE_MS, NotebookPage
from crossbow_lab.bench.measure import summarise

_STATES = {"running": None, "paused": "pause", "finished": "stop"}
_TOO_LATE_MS = PATIENCE_MS / 2
_AS_BEFORE = f"""([titles, rows, starts, isExact]) => {{
  const now = ({seen.PLOTS})();
  return now.length === titles.length && now.every(([title, n, start], i) =>
    title === titles[i] && start === starts[i] && (isExact ? n === rows[i] : n >= rows[i]));
}}"""


def measure_reloads(notebook: NotebookPage, reloads: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Load a page again and again while its session runs, is paused, and is over.

    Parameters
    ----------
    notebook : NotebookPage
        Shows the dashboard of a session that runs.
    reloads : int
        In each state, at least 1.
    say : callable
        Gets a line of progress for each state.

    Returns
    -------
    dict
        For each state, plain JSON values: how many were restored, all seconds, and their summary: from the reload to
        every plot drawn with every row that it had. Those that weren't restored have no seconds. And the summary of
        the seconds until JupyterLab shows the notebook.
    """
    notebook.save()
    found = {}
    for state, press in _STATES.items():
        if press is not None:
            notebook.page.get_by_role("button", name=press, exact=True).click()
            notebook.page.wait_for_timeout(3000)
        shells, seconds = zip(*(_reload(notebook, is_still=press is not None) for _ in range(reloads)), strict=True)
        restored = [second for second in seconds if second is not None]
        say(f"  {state}: {len(restored)} of {reloads} restored")
        summary = asdict(summarise(restored)) if restored else None
        found[state] = {
            "restored": len(restored),
            "of": reloads,
            "seconds": restored,
            "summary_s": summary,
            "shell_s": asdict(summarise(shells)),
        }
    return found


def _reload(notebook: NotebookPage, *, is_still: bool) -> tuple[float, float | None]:
    """Load the page again; return the seconds until the notebook shows, and until all plots do, None if they don't."""
    from playwright.sync_api import TimeoutError as TooLateError

    before = seen.plots(notebook)
    started_s = perf_counter()
    notebook.page.reload(wait_until="commit")
    columns = [[plot.title for plot in before], [plot.rows for plot in before], [plot.first_x for plot in before]]
    notebook.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=PATIENCE_MS)
    shell_s = perf_counter() - started_s
    try:
        notebook.wait_for(_AS_BEFORE, [*columns, is_still], timeout_ms=_TOO_LATE_MS)
    except TooLateError:
        return shell_s, None
    took_s = perf_counter() - started_s
    notebook.wait_until_open()
    return shell_s, took_s
