"""The landscape's dashboard without a browser: its widgets and messages, and the report where nobody looks."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets
import numpy as np
import pytest

import crossbow_lab as cb
from crossbow_lab.dashboard import page, static
from crossbow_lab.dashboard.pump import THREAD_NAME
from crossbow_lab.landscape import Landscape, surface
from crossbow_lab.landscape.grids import grid_of


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """See that no thread and no widget is left."""
    before = set(ipywidgets.widgets.widget._instances)
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == THREAD_NAME] == []
    assert {key for key in ipywidgets.widgets.widget._instances if key not in before} == set()


@pytest.fixture
def opened() -> Iterator[Landscape]:
    """Give a landscape whose dashboard is live."""
    lab = Landscape("himmelblau", learners=4, seed=1)
    shown = lab.dashboard(ui="live")
    yield lab
    shown.close()


def wait_for(holds: Callable[[], object]) -> None:
    """Wait until something holds, for twenty seconds at most."""
    end_s = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end_s, "waited for twenty seconds in vain"
        time.sleep(0.005)


def live(lab: Landscape) -> Any:
    """Return the widgets of a landscape's dashboard."""
    return lab._opened.live


def seen(lab: Landscape) -> dict[str, Any]:
    """Return what a page that opens finds of the present moment: what is told, and arrays by name."""
    state = live(lab).plane.get_state()
    offset, found = 0, {}
    for message, lengths in state["_about"]["messages"]:
        buffers = []
        for length in lengths:
            buffers.append(np.frombuffer(state["_snapshot"], "<f4", length // 4, offset))
            offset += length
        if message["type"] == "frame":
            parts = zip(message["parts"], buffers, strict=True)
            found = message | {name: values.reshape(shape) for (name, shape), values in parts}
    json.dumps(state["_about"])
    return found


def test_a_page_that_opens_finds_the_present_moment(opened: Landscape) -> None:
    """Learners, z, trails, marks, and the next iteration's parts."""
    opened.run(30).restart_averaging().run(20)
    wait_for(lambda: seen(opened)["iteration"] == 50)
    found, one = seen(opened), opened.next_iteration()
    np.testing.assert_allclose(found["learners"], opened.state.learners, rtol=1e-6)
    np.testing.assert_allclose(found["centre"], opened.state.centre, rtol=1e-6)
    np.testing.assert_allclose(found["steps"], one.steps, rtol=1e-5)
    np.testing.assert_allclose(found["corrections"], one.corrections, rtol=1e-5, atol=1e-7)
    assert found["marks"] == [(30, "restart", "restart")]
    assert found["trails"].shape == (4, found["trail_length"], 2)
    np.testing.assert_allclose(found["trails"][:, -1], opened.state.learners, rtol=1e-6)
    wait_for(lambda: live(opened).board.length("losses") == 50)


def test_buttons_move_the_learners(opened: Landscape) -> None:
    """Play, pause, step, back, same seed, new seed, restart, drop."""
    buttons = live(opened).buttons
    buttons["play"].click()
    wait_for(lambda: opened.iteration > 3)
    buttons["pause"].click()
    wait_for(lambda: not live(opened).is_playing)
    at = opened.iteration
    for name, by in (("step", 1), ("step10", 11), ("back", 10)):
        buttons[name].click()
        wait_for(lambda by=by: opened.iteration == at + by)
    buttons["restart"].click()
    buttons["drop"].click()
    wait_for(lambda: len(opened.events) == 2)
    assert opened.head == at + 10  # going back and changing something branches off
    buttons["reseed"].click()
    wait_for(lambda: (opened.seed, opened.head) == (2, 0))
    buttons["reset"].click()
    wait_for(lambda: opened.generation == 2)
    assert opened.seed == 2


def test_what_is_done_on_the_picture_is_done(opened: Landscape) -> None:
    """Seeking through time, and dragging the start; what makes no sense is refused in words, and nothing ends."""
    lab, plane = opened.run(40), live(opened).plane
    plane._wish({"type": "seek", "iteration": 12})
    wait_for(lambda: lab.iteration == 12)
    assert lab.head == 40
    wait_for(lambda: seen(lab)["iteration"] == 12)
    plane._wish({"type": "start", "x": 1.0, "y": -2.0})
    wait_for(lambda: lab.start == (1.0, -2.0) and lab.head == 0)
    plane._wish({"type": "start", "x": None, "y": 1.0})
    wait_for(lambda: "start is" in live(lab)._status.value)
    assert live(lab).pump.is_alive


def test_controls_change_settings_and_show_them(opened: Landscape) -> None:
    """Both ways; beyond its bound α is said to be unstable."""
    by_name = {name: control for control in live(opened).controls._controls for name in control.widget._dom_classes}
    by_name["cb-learners"].widget.value = 12
    by_name["cb-alpha"].widget.value = 0.5
    wait_for(lambda: opened.learners == 12 and opened.alpha == 0.5)
    wait_for(lambda: "UNSTABLE" in by_name["cb-alpha"].note.value and "UNSTABLE" in live(opened)._status.value)
    by_name["cb-algorithm"].widget.value = "SSGD"
    wait_for(lambda: isinstance(opened.settings.algorithm, cb.SSGD))
    wait_for(lambda: by_name["cb-alpha"].widget.disabled)
    opened.adjust(noise=7.0)
    wait_for(lambda: by_name["cb-noise"].widget.value == 7.0)
    by_name["cb-surface"].widget.value = "saddle"
    wait_for(lambda: opened.surface.name == "saddle")


def test_playing_ends_where_learners_diverge(opened: Landscape) -> None:
    """And says so."""
    opened.adjust(alpha=1.4, learners=8)
    live(opened).speed.value = 1000.0
    live(opened).buttons["play"].click()
    wait_for(lambda: opened.has_diverged and not live(opened).is_playing)
    wait_for(lambda: 'data-state="diverged"' in live(opened)._status.value)


def test_the_same_dashboard_is_shown_again(opened: Landscape) -> None:
    """Not a second one; a report in its place closes it."""
    first = opened._opened
    assert opened.dashboard() is first
    report = opened.dashboard(ui="off")
    assert first.is_closed
    assert report.live is None
    report.close()


def test_where_nobody_looks_there_is_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure, a table, and numbers for programs; small, in plain JSON, whatever learners did."""
    monkeypatch.setenv("CROSSBOW_HEADLESS", "1")
    lab = Landscape("noisy-quadratic", learners=300).run(50)
    lab.drop_learning_rate().run(100)
    for alpha in (None, 0.5):
        shown = lab.adjust(alpha=alpha).run(1000).dashboard()
        assert shown.live is None
        bundle, _ = shown.report().bundles()[0]
        assert len(json.dumps(bundle, allow_nan=False)) < 250_000
        assert bundle["application/vnd.crossbow.result+json"]["has_diverged"] == (alpha is not None)
        shown.close()


def test_the_figure_shows_what_is_looked_at() -> None:
    """Until the iteration that is looked at, not the head; axes are the surface's view."""
    lab = Landscape("saddle", learners=3).run(80).seek(20)
    figure = lab.figure()
    assert figure.layout.xaxis.range == (-1.5, 1.5)
    lines = [trace for trace in figure.data if trace.xaxis == "x2"]
    assert {trace.x[-1] for trace in lines} == {20}
    assert lines[-1].y[-1] == pytest.approx(lab.history.mean_loss[19], rel=1e-4) or lines[-1].y[-1] == pytest.approx(
        lab.history.loss_at_z[19], rel=1e-4
    )
    static(figure)


def test_compressed_losses_can_be_read_back() -> None:
    """From low and scale, also for a part of the view; what isn't finite is a gap."""
    here = surface("rosenbrock")
    grid = grid_of(here, here.view, n=9)
    x, y = np.meshgrid(grid.x, grid.y)
    np.testing.assert_allclose(grid.low + grid.scale * np.sinh(grid.shade), here.loss(x, y), atol=1e-9)
    part = grid_of(here, ((0.0, 1.0), (0.0, 1.0)), n=5, like=grid)
    assert (part.low, part.scale) == (grid.low, grid.scale)
    lab = Landscape(lambda x, y: (x + 1).log() + y**2)
    assert np.isnan(grid_of(lab.surface, lab.surface.view).shade).any()
    lab.figure()


def test_a_cell_that_is_run_again_closes_what_it_showed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or every "run all" would leave one at work that nobody sees."""

    class Shell:
        execution_count = 1

        class events:  # noqa: N801
            register = unregister = staticmethod(lambda *_: None)

        def get_parent(self) -> dict[str, Any]:
            return {"metadata": {"cellId": "one"}}

    monkeypatch.setattr(page, "shell", Shell)
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)
    first = Landscape("saddle").dashboard(ui="live")
    Shell.execution_count = 2
    second = Landscape("saddle").dashboard(ui="live")
    assert first.is_closed
    assert not second.is_closed
    second.close()
