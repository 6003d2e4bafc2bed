"""What is seen of dashboards in a page: states, plots, controls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crossbow_lab.bench.browser.notebook import NotebookPage

PLOTS = """() => [...document.querySelectorAll(".cb-board .cb-plot")]
  .filter(({ dataset }) => dataset.kind !== "points")
  .map((plot) => {
    const traces = plot.querySelector(".js-plotly-plot")?.data ?? [];
    const starts = traces.filter(({ x }) => x?.length).map(({ x }) => x[0]);
    return [plot.dataset.title, +plot.dataset.rows, starts.length ? Math.min(...starts) : null];
  })"""
_HAVE_ROWS = f"([n, rows]) => {{ const all = ({PLOTS})(); return all.length === n && all.every((p) => p[1] >= rows); }}"
RECEIVED = '() => [...document.querySelectorAll(".cb-board")].map(({ dataset }) => +dataset.rows)'
_STATES = '() => [...document.querySelectorAll(".cb-status")].map(({ dataset }) => dataset.state)'
PAGE = 'globalThis[Symbol.for("crossbow_lab.page")]'
_DRAWS = f"() => {PAGE}.draws"
_FORGET_DRAWS = (
    f"() => {{ for (const draw of Object.values({PAGE}.draws)) Object.assign(draw, {{ n: 0, ms: 0, max: 0 }}); }}"
)

GAPS = """() => {
  const { x } = document.querySelector(".cb-plot[data-title=Loss] .js-plotly-plot").data[0];
  return x.slice(1).map((value, index) => value - x[index]);
}"""
"""Steps of x between the points of the training loss."""

N_PLOTS = 5
"""Plots over the x axis in the dashboard of a session with test accuracy; the sixth holds points."""


@dataclass(frozen=True)
class Seen:
    """A plot as it is drawn: its title, the rows that it has, and the first x of its lines (None without any)."""

    title: str
    rows: int
    first_x: float | None


def plots(notebook: NotebookPage) -> list[Seen]:
    """Return the plots over the x axis, as they are drawn; those out of sight are as they were in sight."""
    return [Seen(*plot) for plot in notebook.page.evaluate(PLOTS)]


def wait_for_rows(notebook: NotebookPage, rows: int, *, n_plots: int = N_PLOTS) -> None:
    """Wait until so many plots are there, and each has been drawn with so many rows or more."""
    notebook.wait_for(_HAVE_ROWS, [n_plots, rows])


def received(notebook: NotebookPage) -> list[int]:
    """Return how many rows of its first table each board has, drawn or not."""
    return [int(rows) for rows in notebook.page.evaluate(RECEIVED)]


def states(notebook: NotebookPage) -> list[str]:
    """Return the state that each dashboard shows."""
    return [str(state) for state in notebook.page.evaluate(_STATES)]


def wait_for_states(notebook: NotebookPage, *expected: str) -> None:
    """Wait until the dashboards show these states, from top to bottom."""
    notebook.wait_for(f"(states) => ({_STATES})().join() === states.join()", list(expected))


def draws(notebook: NotebookPage) -> dict[str, dict[str, float]]:
    """Return how many fast and full drawings there were, and their milliseconds in all and at most."""
    found: dict[str, dict[str, float]] = notebook.page.evaluate(_DRAWS)
    return found


def forget_draws(notebook: NotebookPage) -> None:
    """Count drawings from 0 again."""
    notebook.page.evaluate(_FORGET_DRAWS)


def handle(notebook: NotebookPage, name: str) -> Any:
    """Return Playwright's locator of a slider's handle; the slider is called as in the dashboard's class names."""
    return notebook.page.locator(f".cb-{name} .noUi-handle").first


def drag(notebook: NotebookPage, name: str, pixels: Sequence[float]) -> None:
    """Drag a slider's handle by the mouse, over so many pixels from where it was, one move after the other."""
    box = handle(notebook, name).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse = notebook.page.mouse
    mouse.move(x, y)
    mouse.down()
    for distance in pixels:
        mouse.move(x + distance, y)
        notebook.page.wait_for_timeout(30)
    mouse.up()
