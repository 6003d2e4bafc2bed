"""Dashboards outside of JupyterLab's live notebooks: Notebook 7, Voila, reports of runs without anyone, replays."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

from browser_kernels import KERNELS

from crossbow_lab.bench.browser import dashboard_page as seen
from crossbow_lab.bench.browser.cells import make_session
from crossbow_lab.bench.browser.notebook import NotebookPage, write_notebook
from crossbow_lab.bench.browser.page import watch
from crossbow_lab.bench.browser.server import Server, serve

START = "session.dashboard(target=0.9); session.start();"


def test_notebook_7_shows_a_live_dashboard(open_cells, tmp_path):
    """Plots grow, and a key on a slider, which Notebook's own shortcuts would take, arrives."""
    with serve("notebook", tmp_path, environment=KERNELS) as server:
        notebook = open_cells(make_session(), START, server=server)
        notebook.wire.errors.clear()  # Notebook 7.6 has one of its own when it opens
        notebook.run_all()
        seen.wait_for_rows(notebook, 5)
        seen.handle(notebook, "n-learners").press("ArrowRight")
        notebook.wait_in_kernel("session.snapshot.learners == 3")
        notebook.close()


def working_in(folder: Path) -> list[str]:
    """Return the processes whose working folder this is: kernels of its notebooks."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):  # gone, or somebody else's
            if link.readlink() == folder:
                found.append(link.parent.name)
    return found


def test_voila_serves_the_dashboard_as_an_app(browser, tmp_path):
    """`crossbow-lab lab --voila` prints an address with a token; there, start makes the plots grow."""
    command = [sys.executable, "-m", "crossbow_lab", "lab", str(tmp_path), "--voila", "--no-browser"]
    log = tmp_path / "voila.log"
    with log.open("w") as output:
        app = subprocess.Popen(command, env=os.environ | KERNELS, stdout=output, stderr=output)
    try:
        page = browser.new_page()
        for _ in range(300):
            address = re.search(r"http://\S+token=\w+", log.read_text())
            if address:
                break
            page.wait_for_timeout(200)
        wire = watch(page)
        assert "://127.0.0.1" in address[0] or "://localhost" in address[0]
        page.goto(address[0])
        notebook = NotebookPage(
            page, wire, Server("voila", address[0], "", tmp_path, log), tmp_path / "dashboard.ipynb"
        )
        page.get_by_role("button", name="start", exact=True).click()
        seen.wait_for_rows(notebook, 1)
        seen.wait_for_states(notebook, "running")
        page.close()
        assert wire.errors == []
        assert set(wire.strangers) <= {"localhost"}
        assert working_in(tmp_path)
    finally:
        app.terminate()
        app.wait()
    assert not working_in(tmp_path)  # no kernel that goes on training


def test_report_of_a_run_without_anyone_shows_though_nobody_trusts_it(open_cells, lab):
    """What `crossbow-lab run` leaves is small, and shows its picture and table in a notebook that isn't trusted."""
    cells = (make_session(), "session.dashboard(target=0.9)\nsession.run(epochs=epochs);")
    parameters = "epochs: float = 3.0  # how long [epochs]"
    source = write_notebook(lab.folder / "headless.ipynb", cells, parameters=parameters)
    command = [sys.executable, "-m", "crossbow_lab", "run", str(source), "--runs-dir", str(lab.folder / "runs")]
    subprocess.run(command, check=True, env=os.environ | KERNELS, capture_output=True)
    (executed,) = (lab.folder / "runs").glob("*/notebook.ipynb")

    assert executed.stat().st_size < 100_000
    assert "application/vnd.crossbow.result+json" in executed.read_text(encoding="utf-8")
    notebook = open_cells(path=executed)
    notebook.page.locator(".jp-OutputArea-output .js-plotly-plot, .jp-OutputArea-output img").first.wait_for()
    notebook.page.locator(".jp-OutputArea-output td", has_text="test accuracy of z").wait_for()
    trusted = "window.jupyterapp.shell.currentWidget.content.widgets.some((cell) => cell.model.trusted)"
    assert not notebook.page.evaluate(f"() => {trusted}")


def test_replay_is_scrubbed_without_training(open_cells):
    """The slider shows a record as far as it stands, the button moves it, and nobody trains."""
    record = make_session(folder="record") + "\nsession.run(epochs=8)\nsession.close()"
    notebook = open_cells(record, "import threading\ncb.replay('record').dashboard(target=0.9);")
    notebook.run_all()
    seen.wait_for_rows(notebook, 8)
    slider = notebook.page.locator(".cb-scrub .noUi-handle")

    slider.press("Home")
    notebook.page.locator(".cb-message", has_text="evaluation 0 of").wait_for()
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    notebook.page.locator(".cb-message", has_text="evaluation 2 of").wait_for()
    last = "() => +document.querySelector('.cb-plot[data-title=Loss]').dataset.lastX"
    notebook.wait_for(f"(until) => ({last})() <= until", 2 * 90)

    notebook.page.get_by_role("button", name="play").click()
    notebook.wait_for(f"(until) => ({last})() > until", 3 * 90)
    assert notebook.ask("[t.name for t in threading.enumerate() if t.name == 'crossbow-training']") == []
