"""How dashboards look and where: several at once, narrow and wide, light and dark, and nothing left in the end."""

import itertools

import pytest

from crossbow_lab.bench.browser import dashboard_page as seen
from crossbow_lab.bench.browser.cells import make_session

PIECES = ".cb-buttons button, .cb-goal input, .cb-control, .cb-cell dt, .cb-cell dd, .cb-presets > *, .cb-plot, .cb-bar"
BOXES = f"""() => [...document.querySelectorAll("{PIECES}")].filter((piece) => piece.offsetParent).map((piece) => {{
  const {{ left, top, right, bottom }} = piece.getBoundingClientRect();
  return [`${{piece.className}} ${{piece.textContent.slice(0, 20)}}`, left, top, right, bottom];
}})"""

COUNT = """
import threading, ipywidgets
from comm import get_comm_manager
def left():
    names = sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("crossbow"))
    return [names, len(ipywidgets.widgets.widget._instances), len(get_comm_manager().comms)]
before = left()
"""


def overlaps(boxes: list[list]) -> list[tuple[str, str]]:
    """Return the pairs of pieces that lie on each other by more than a hair."""

    def is_over(one, other) -> bool:
        width = min(one[3], other[3]) - max(one[1], other[1])
        height = min(one[4], other[4]) - max(one[2], other[2])
        return width > 2 and height > 2

    return [(one[0], other[0]) for one, other in itertools.combinations(boxes, 2) if is_over(one, other)]


@pytest.mark.parametrize("width", [900, 1300, 1600])
def test_nothing_overlaps_or_sticks_out(running, width):
    """Buttons, controls, numbers and plots lie beside each other at any width, inside the cell."""
    running.page.set_viewport_size({"width": width, "height": 1900})
    running.page.wait_for_timeout(700)

    assert overlaps(running.page.evaluate(BOXES)) == []
    excess = "(root) => root.scrollWidth - root.clientWidth"
    assert running.page.locator(".cb-dashboard").evaluate(excess) <= 1
    columns = len({round(box["x"]) for plot in running.page.locator(".cb-plot").all() if (box := plot.bounding_box())})
    assert columns == (1 if width == 900 else 2)
    running.page.set_viewport_size({"width": 1300, "height": 1900})


def test_nothing_jumps_while_numbers_change(running):
    """The plots stay where they are, however long the numbers become."""
    tops = set()
    for _ in range(8):
        tops.add(
            running.page.evaluate("() => Math.round(document.querySelector('.cb-board').getBoundingClientRect().top)")
        )
        running.page.wait_for_timeout(150)
    assert len(tops) == 1


def test_controls_have_names_for_screen_readers(running):
    """Whatever can be focused says what it is."""
    focusable = "input, select, textarea, button, [role=slider], [role=progressbar], [role=img]"
    unnamed = running.page.locator(".cb-dashboard").evaluate(
        """(root, focusable) => [...root.querySelectorAll(focusable)].filter((piece) => {
          const labels = [...(piece.labels ?? [])].map((label) => label.textContent).join("");
          const by = document.getElementById(piece.getAttribute("aria-labelledby") ?? "")?.textContent;
          const name = piece.getAttribute("aria-label") || by || labels || piece.textContent || piece.title;
          return piece.offsetParent && !name.trim();
        }).map((piece) => piece.outerHTML.slice(0, 120))""",
        focusable,
    )
    assert unnamed == []
    assert "Latest" in running.page.locator(".cb-plot[data-title=Loss] [role=img]").get_attribute("aria-label")


def test_marks_are_on_every_plot_over_the_x_axis(running):
    """An adjustment is a labelled line on each of them."""
    running.execute("session.adjust(learners=5)")
    running.wait_for(
        """(n) => {
          const plots = [...document.querySelectorAll(".cb-plot")].filter(({ dataset }) => dataset.kind !== "points");
          const isMarked = (plot) => [...plot.querySelectorAll(".cb-mark")].some((mark) => /5/.test(mark.textContent));
          return plots.length === n && plots.every(isMarked);
        }""",
        seen.N_PLOTS,
    )


def test_dark_theme_is_followed(running):
    """JupyterLab's dark theme makes the plots' text light, and back."""
    colour = """() => {
      const text = document.querySelector(".cb-plot .xtick text, .cb-plot .ytick text");
      return text && getComputedStyle(text).fill.match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b);
    }"""
    change = "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"

    running.page.evaluate(change, "JupyterLab Dark")
    running.wait_for(f"() => ({colour})() > 450")
    running.page.evaluate(change, "JupyterLab Light")
    running.wait_for(f"() => ({colour})() < 300")


def test_several_dashboards_share_a_page_and_closing_leaves_nothing(open_cells):
    """Two sessions, one with two views: apart, over one plotly.js; closed, no widget, comm or thread is left."""
    cells = (COUNT, make_session("one"), make_session("two", learners=4), "one.dashboard(); one.start();")
    notebook = open_cells(*cells, "two.dashboard(); two.start();", "one.dashboard();")
    notebook.page.set_viewport_size({"width": 1600, "height": 4600})
    notebook.run_all()
    seen.wait_for_rows(notebook, 10, n_plots=3 * seen.N_PLOTS)
    threads = ["crossbow-dashboard", "crossbow-dashboard", "crossbow-training", "crossbow-training"]
    assert notebook.ask("left()[0]") == threads
    assert notebook.page.evaluate(f"() => {seen.PAGE}.loads") == 1
    assert notebook.page.evaluate("() => typeof window.Plotly") == "undefined"

    notebook.page.get_by_role("button", name="pause", exact=True).first.click()
    seen.wait_for_states(notebook, "paused", "running", "paused")
    notebook.page.locator(".cb-n-learners .noUi-handle").last.press("ArrowRight")
    notebook.wait_in_kernel("[one.snapshot.learners, two.snapshot.learners] == [3, 4]")
    readouts = "[...document.querySelectorAll('.cb-n-learners .widget-readout')].map((each) => each.textContent).join()"
    notebook.wait_for(f"() => {readouts} === '3,4,3'")

    notebook.execute("one.dashboard().close()")
    seen.wait_for_states(notebook, "running")
    notebook.execute("two.dashboard().close()")
    notebook.wait_for("() => document.querySelectorAll('.cb-board, .cb-dashboard').length === 0")
    assert notebook.ask("two.state") == "running"
    notebook.execute("one.close(); two.close()")
    assert notebook.ask("left()") == notebook.ask("before")
