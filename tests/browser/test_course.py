"""What a dashboard shows over a session's course: pauses, reloads, interrupts, restarts, failures."""

from crossbow_lab.bench.browser import dashboard_page as seen
from crossbow_lab.bench.browser.cells import make_session
from crossbow_lab.bench.browser.notebook import NotebookPage

START = "dashboard = session.dashboard(); session.start();"
ROWS = "session.dashboard().live.board.length('train')"


def button(notebook: NotebookPage, name: str):
    """Return the locator of a button."""
    return notebook.page.get_by_role("button", name=name, exact=True)


def pause(notebook: NotebookPage) -> list[seen.Seen]:
    """Pause, wait until everything is drawn, and return what the plots show."""
    button(notebook, "pause").click()
    seen.wait_for_states(notebook, "paused")
    notebook.wait_for(f"(rows) => ({seen.RECEIVED})()[0] === rows", notebook.ask(ROWS))
    return drawn(notebook)


def drawn(notebook: NotebookPage) -> list[seen.Seen]:
    """Wait until the plots are drawn as far as rows came, and return what they show."""
    notebook.wait_for(
        "() => [...document.querySelectorAll('.cb-board')].every((board) =>"
        " +board.querySelector('[data-title=Loss]').dataset.rows === +board.dataset.rows)"
    )
    notebook.page.wait_for_timeout(300)
    return seen.plots(notebook)


def test_pause_freezes_and_resume_goes_on_without_a_gap(running):
    """Nothing moves while paused; afterwards the page has every row that the kernel has, and they go on from there."""
    seen.wait_for_rows(running, 5)
    before = pause(running)
    running.page.wait_for_timeout(1000)
    assert seen.plots(running) == before

    button(running, "resume").click()
    seen.wait_for_rows(running, max(plot.rows for plot in before) + 10)
    after = pause(running)
    assert seen.received(running) == [running.ask(ROWS)]
    assert [plot.first_x for plot in after] == [plot.first_x for plot in before]
    steps = sorted(running.page.evaluate(seen.GAPS))
    assert steps[-1] < 10 * steps[len(steps) // 2] + 100


def test_reload_restores_every_plot_running_paused_and_finished(open_cells):
    """The page loaded again shows the full series, and goes on or stays as it was; looking adjusts nothing."""
    between_steps = {"algorithm": "cb.SMA(alpha=1 / 3, momentum=0.777)", "learning_rate": 0.03}
    notebook = open_cells(make_session(**between_steps), START)
    notebook.run_all()
    seen.wait_for_rows(notebook, 20)
    notebook.save()
    assert notebook.path.stat().st_size < 100_000  # with the widgets' state
    before = seen.plots(notebook)

    notebook.reload()
    seen.wait_for_rows(notebook, max(plot.rows for plot in before) + 5)
    assert [plot.first_x for plot in seen.plots(notebook)] == [plot.first_x for plot in before]

    for name, state in (("pause", "paused"), ("stop", "stopped")):
        button(notebook, name).click()
        seen.wait_for_states(notebook, state)
        notebook.wait_for(f"(rows) => ({seen.RECEIVED})()[0] === rows", notebook.ask(ROWS))
        before = drawn(notebook)
        notebook.reload()
        seen.wait_for_rows(notebook, min(plot.rows for plot in before))
        assert drawn(notebook) == before
        assert seen.states(notebook) == [state]
    assert notebook.ask("len(session.recipe.adjustments)") == 0

    seen.handle(notebook, "n-learners").press("ArrowRight")
    button(notebook, "start").click()
    seen.wait_for_states(notebook, "running")
    notebook.page.locator(".cb-mark", has_text="3").first.wait_for()


def test_interrupted_cell_leaves_a_session_that_goes_on_until_the_kernel_restarts(open_cells):
    """A cell that trains is interrupted and its dashboard works on; after a restart "run all" shows another, live."""
    notebook = open_cells(make_session(), "session.dashboard(); session.run(epochs=1e6)")
    notebook.run_all()
    seen.wait_for_rows(notebook, 10)  # the cell is still running

    notebook.interrupt()
    seen.wait_for_states(notebook, "stopped")
    notebook.page.get_by_text("KeyboardInterrupt").first.wait_for()
    rows = seen.received(notebook)[0]
    button(notebook, "start").click()
    seen.wait_for_rows(notebook, rows + 5)

    notebook.restart()
    notebook.page.wait_for_timeout(1000)
    rows = seen.received(notebook)
    notebook.page.wait_for_timeout(500)
    assert seen.received(notebook) == rows

    notebook.page.evaluate("() => document.querySelector('.cb-board')?.setAttribute('data-is-old', '')")
    notebook.run_all()
    notebook.wait_for("() => document.querySelector('.cb-board:not([data-is-old])')")
    seen.wait_for_rows(notebook, 5)
    assert len(seen.states(notebook)) == 1
    assert "Invalid Signature" not in notebook.server.log.read_text(errors="replace")
    notebook.interrupt()


def test_diverged_session_says_why_and_keeps_its_plots(running):
    """A loss that isn't finite ends training; what was trained until then stays drawn, and the message says why."""
    seen.wait_for_rows(running, 20)

    running.execute("session.adjust(learning_rate=1e30)")
    seen.wait_for_states(running, "failed")
    message = running.page.locator(".cb-message.cb-refused")
    message.wait_for()
    assert "training failed" in message.inner_text()
    assert "learning rate" in message.inner_text()
    assert min(plot.rows for plot in drawn(running)) >= 20
    assert running.page.locator(".cb-mark[data-kind=failure]").count() > 0
    details = running.page.locator(".cb-status details")
    details.locator("summary").click()
    assert "DivergedError" in details.inner_text()

    button(running, "reset").click()
    seen.wait_for_states(running, "ready")
    button(running, "start").click()
    seen.wait_for_states(running, "running")
