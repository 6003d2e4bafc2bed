"""How dashboards look and where: several at once, narrow and wide, light and dark, and nothing left in the end."""

import itertools

import pytest

from crossbow_lab.bench import dashboard_page as seen
from crossbow_lab.bench.browser_notebook import NotebookPage
from crossbow_lab.bench.dashboard_cells import make_session

PIECES = ".cb-buttons button, .cb-goal input, .cb-control, .cb-cell dt, .cb-cell dd, .cb-presets > *, .cb-plot, .cb-bar"
BOXES = f"""() => [...document.querySelectorAll("{PIECES}")].filter((piece) => piece.offsetParent).map((piece) => {{
  const {{ left, top, right, bottom }} = piece.getBoundingClientRect();
  return [`${{piece.className}} ${{piece.textContent.slice(0, 20)}}`, left, top, right, bottom];
}})"""


@pytest.fixture(scope="module")
def shown(open_shared) -> NotebookPage:
    """Open a notebook with a session that trains."""
    notebook = open_shared(make_session(max_learners=16), "dashboard = session.dashboard(target=0.9); session.start();")
    notebook.run_all()
    seen.wait_for_rows(notebook, 20)
    return notebook


def overlaps(boxes: list[list]) -> list[tuple[str, str]]:
    """Return the pairs of pieces that lie on each other by more than a hair."""

    def is_over(one, other) -> bool:
        width = min(one[3], other[3]) - max(one[1], other[1])
        height = min(one[4], other[4]) - max(one[2], other[2])
        return width > 2 and height > 2

    return [(one[0], other[0]) for one, other in itertools.combinations(boxes, 2) if is_over(one, other)]


@pytest.mark.parametrize("width", [900, 1300, 1600])
def test_nothing_overlaps_or_sticks_out(shown, width):
    """Buttons, controls, numbers and plots lie beside each other at any width, inside the cell."""
    shown.page.set_viewport_size({"width": width, "height": 1900})
    shown.page.wait_for_timeout(700)

    assert overlaps(shown.page.evaluate(BOXES)) == []
    excess = "(root) => root.scrollWidth - root.clientWidth"
    assert shown.page.locator(".cb-dashboard").evaluate(excess) <= 1
    columns = len({round(box["x"]) for plot in shown.page.locator(".cb-plot").all() if (box := plot.bounding_box())})
    assert columns == (1 if width == 900 else 2)
    shown.page.set_viewport_size({"width": 1300, "height": 1900})


def test_nothing_jumps_while_numbers_change(shown):
    """The plots stay where they are, however long the numbers become."""
    tops = set()
    for _ in range(8):
        tops.add(
            shown.page.evaluate("() => Math.round(document.querySelector('.cb-board').getBoundingClientRect().top)")
        )
        shown.page.wait_for_timeout(150)
    assert len(tops) == 1


def test_controls_have_names_for_screen_readers(shown):
    """Whatever can be focused says what it is."""
    focusable = "input, select, textarea, button, [role=slider], [role=progressbar], [role=img]"
    unnamed = shown.page.locator(".cb-dashboard").evaluate(
        """(root, focusable) => [...root.querySelectorAll(focusable)].filter((piece) => {
          const labels = [...(piece.labels ?? [])].map((label) => label.textContent).join("");
          const by = document.getElementById(piece.getAttribute("aria-labelledby") ?? "")?.textContent;
          const name = piece.getAttribute("aria-label") || by || labels || piece.textContent || piece.title;
          return piece.offsetParent && !name.trim();
        }).map((piece) => piece.outerHTML.slice(0, 120))""",
        focusable,
    )
    assert unnamed == []
    assert "Latest" in shown.page.locator(".cb-plot[data-title=Loss] [role=img]").get_attribute("aria-label")


def test_marks_are_on_every_plot_over_the_x_axis(shown):
    """An adjustment is a labelled line on each of them."""
    shown.execute("session.adjust(learners=5)")
    shown.wait_for(
        """(n) => {
          const plots = [...document.querySelectorAll(".cb-plot")].filter(({ dataset }) => dataset.kind !== "points");
          const isMarked = (plot) => [...plot.querySelectorAll(".cb-mark")].some((mark) => /5/.test(mark.textContent));
          return plots.length === n && plots.every(isMarked);
        }""",
        seen.N_PLOTS,
    )


def test_dark_theme_is_followed(shown):
    """JupyterLab's dark theme makes the plots' text light, and back."""
    colour = """() => {
      const text = document.querySelector(".cb-plot .xtick text, .cb-plot .ytick text");
      return text && getComputedStyle(text).fill.match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b);
    }"""
    change = "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"

    shown.page.evaluate(change, "JupyterLab Dark")
    shown.wait_for(f"() => ({colour})() > 450")
    shown.page.evaluate(change, "JupyterLab Light")
    shown.wait_for(f"() => ({colour})() < 300")


def test_second_view_is_of_the_same_and_closing_leaves_nothing(open_cells):
    """Two cells show one dashboard: one pump, the same values; closed, no widget, comm or thread of it is left."""
    count = (
        "import threading, ipywidgets\n"
        "from comm import get_comm_manager\n"
        "def left():\n"
        "    names = sorted(t.name for t in threading.enumerate() if t.name.startswith('crossbow'))\n"
        "    return [names, len(ipywidgets.widgets.widget._instances), len(get_comm_manager().comms)]\n"
        "before = left()"
    )
    notebook = open_cells(count, make_session(), "session.dashboard(); session.start();", "session.dashboard();")
    notebook.run_all()
    notebook.wait_for("() => document.querySelectorAll('.cb-board').length === 2")
    notebook.page.locator(".cb-board").last.scroll_into_view_if_needed()
    notebook.wait_for(f"() => ({seen.RECEIVED})().every((rows) => rows > 20)")
    assert notebook.ask("left()[0]") == ["crossbow-dashboard", "crossbow-training"]
    assert notebook.page.evaluate(f"() => {seen.PAGE}.loads") == 1

    notebook.page.locator(".cb-n-learners .noUi-handle").last.press("ArrowRight")
    notebook.wait_for(
        "() => [...document.querySelectorAll('.cb-n-learners .widget-readout')].every((r) => r.textContent === '3')"
    )
    assert notebook.ask("session.snapshot.learners") == 3

    notebook.execute("session.dashboard().close()")
    notebook.wait_for("() => document.querySelectorAll('.cb-board, .cb-dashboard').length === 0")
    assert notebook.ask("session.state") == "running"
    notebook.execute("session.close()")
    assert notebook.ask("left()") == notebook.ask("before")


def test_dashboards_of_two_sessions_are_apart(open_cells):
    """Each shows its own session, over one plotly.js; the notebook stays small when it is saved."""
    show = "{0}.dashboard(); {0}.start();"
    cells = [make_session("one"), make_session("two", learners=4), show.format("one"), show.format("two")]
    notebook = open_cells(*cells)
    notebook.page.set_viewport_size({"width": 1300, "height": 3400})
    notebook.run_all()
    seen.wait_for_rows(notebook, 10, n_plots=2 * seen.N_PLOTS)

    notebook.page.get_by_role("button", name="pause", exact=True).first.click()
    seen.wait_for_states(notebook, "paused", "running")
    seen.handle(notebook, "n-learners").press("ArrowRight")
    notebook.wait_for("() => document.querySelector('.cb-n-learners .widget-readout').textContent === '3'")

    assert notebook.ask("[one.snapshot.learners, two.snapshot.learners]") == [3, 4]
    assert notebook.page.evaluate(f"() => {seen.PAGE}.loads") == 1
    assert notebook.page.evaluate("() => typeof window.Plotly") == "undefined"
    notebook.save()
    assert notebook.path.stat().st_size < 100_000
