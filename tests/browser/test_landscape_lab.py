"""The loss-landscape lab in a real browser: played, scrubbed, dragged, by mouse and by keyboard; all on one page."""

from collections.abc import Iterator

import pytest
from conftest import opening

from crossbow_lab.bench.browser import dashboard_page as seen
from crossbow_lab.bench.browser.notebook import NotebookPage

CELL = """import crossbow_lab as cb
lab = cb.Landscape("himmelblau", learners=4, seed=1)
lab.dashboard(ui="live");"""
INK = """() => {
  const canvas = document.querySelector(".cbl-canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.reduce((sum, value) => (sum * 31 + value) % 1000003, 0);
}"""
"""A number that is another for another picture of what moves."""


@pytest.fixture(scope="module")
def page_of_lab(browser, lab) -> Iterator[NotebookPage]:
    """Open a notebook with a landscape; all tests share it, for opening one takes seconds."""
    with opening(browser, lab) as opener:
        notebook = opener(CELL)
        notebook.run_all()
        notebook.page.locator(".cbl-contours .main-svg").first.wait_for(timeout=60_000)
        yield notebook


@pytest.fixture
def shown(page_of_lab) -> NotebookPage:
    """Give the page as it was at first."""
    page_of_lab.execute(
        "lab.adjust(algorithm=cb.SMA(), learners=4, learning_rate=0.005); lab.reset(seed=1, start=(-0.5, -1.0))"
    )
    wait(page_of_lab, iteration=0, head=0, k=4)
    return page_of_lab


def wait(notebook: NotebookPage, **expected: object) -> None:
    """Wait until the picture shows this."""
    wanted = {name: str(value) for name, value in expected.items()}
    notebook.wait_for(
        "(wanted) => { const shown = document.querySelector('.cbl');"
        " return Object.entries(wanted).every(([name, value]) => shown?.dataset[name] === value); }",
        wanted,
    )


def press(notebook: NotebookPage, name: str, way: str) -> None:
    """Press a button by mouse or by keyboard."""
    button = notebook.page.locator(".cb-landscape").get_by_role("button", name=name, exact=True)
    button.click() if way == "mouse" else button.press("Enter")


@pytest.mark.parametrize("way", ["mouse", "keyboard"])
def test_it_plays_steps_and_goes_back(shown, way):
    """And begins again, by the same seed or another."""
    press(shown, "play", way)
    shown.wait_in_kernel("lab.iteration > 5")
    press(shown, "pause", way)
    seen.wait_for_states(shown, "paused")
    at = shown.ask("lab.iteration")
    wait(shown, iteration=at)
    for name, after in (("step", at + 1), ("step ×10", at + 11), ("step back", at + 10)):
        press(shown, name, way)
        wait(shown, iteration=after)
    press(shown, "new seed", way)
    wait(shown, iteration=0, head=0)
    press(shown, "same seed", way)
    shown.wait_in_kernel("lab.seed == 2 and lab.head == 0")


def test_time_can_be_scrubbed_to_the_moment_of_a_restart(shown):
    """By the mouse, by keys, and by the mark of what was done then; going on from there branches nothing off."""
    shown.execute("lab.run(60)")
    wait(shown, iteration=60)
    press(shown, "restart averaging", "mouse")
    shown.wait_in_kernel("len(lab.events) == 1")
    press(shown, "γ × 0.1", "keyboard")
    shown.wait_in_kernel("len(lab.events) == 2")
    shown.execute("lab.run(40)")
    wait(shown, iteration=100, head=100)

    bar = shown.page.get_by_role("slider", name="iteration, through time")
    bar.press("ArrowLeft")
    wait(shown, iteration=99, head=100)
    bar.press("Home")
    wait(shown, iteration=0)
    box = bar.bounding_box()
    shown.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    shown.wait_in_kernel("40 < lab.iteration < 60")
    shown.page.get_by_role("button", name="go to iteration 60: restart; γ × 0.1").click()
    wait(shown, iteration=60, head=100)
    assert shown.ask("bool((lab.state.learners == lab.state.centre).all())")
    assert "of 100" in shown.page.locator(".cbl-told").inner_text()
    press(shown, "step", "keyboard")
    wait(shown, iteration=61, head=100)


def test_the_start_is_dragged_or_typed(shown):
    """A drag on the contours begins there, under the pointer."""
    shown.execute("lab.run(5)")
    wait(shown, iteration=5)
    box = shown.page.locator(".cbl-canvas").bounding_box()
    mouse = shown.page.mouse
    mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.6)
    mouse.down()
    for step in range(1, 6):
        mouse.move(box["x"] + box["width"] * (0.4 + 0.06 * step), box["y"] + box["height"] * (0.6 - 0.08 * step))
        shown.page.wait_for_timeout(30)
    mouse.up()
    wait(shown, iteration=0, head=0)
    left, right, top, bottom = 48, box["width"] - 14, 10, box["height"] - 36
    x = -5 + 10 * (0.7 * box["width"] - left) / (right - left)
    y = -5 + 10 * (bottom - 0.2 * box["height"]) / (bottom - top)
    shown.wait_in_kernel(f"abs(lab.start[0] - {x}) < 0.06 and abs(lab.start[1] - {y}) < 0.06")
    field = shown.page.get_by_label("start x", exact=True)
    field.fill("1.5")
    field.press("Enter")
    shown.wait_in_kernel("lab.start[0] == 1.5")


def test_one_iteration_can_be_followed(shown):
    """In numbers and arrows: of the learner under the pointer, or the one that is chosen."""
    shown.execute("lab.adjust(learners=12).run(7)")
    wait(shown, iteration=7, k=12)
    words = shown.page.locator(".cbl-words")
    shown.page.get_by_label("follow learner").fill("9")
    words.get_by_text("learner 9; what iteration 8 does:").wait_for()
    assert all(part in words.inner_text() for part in ("γ = 0.005", "α = 0.08333", "μ = 0.9"))
    shown.page.locator(".cbl").get_by_role("button", name="learners", exact=True).click()
    shown.page.wait_for_timeout(400)
    with_arrows = shown.page.evaluate(INK)
    shown.page.get_by_label("arrows").click()
    shown.wait_for(f"(n) => ({INK})() !== n", with_arrows)
    shown.page.get_by_label("arrows").click()
    shown.wait_for(f"(n) => ({INK})() === n", with_arrows)
    box = shown.page.locator(".cbl-canvas").bounding_box()
    found = set()
    for place in range(120):
        x, y = box["x"] + 55 + (box["width"] - 80) * (place % 12) / 12, box["y"] + 20 + 45 * (place // 12)
        shown.page.mouse.move(x, y)
        found.add(shown.page.locator(".cbl").get_attribute("data-hovered"))
    assert found & {str(number) for number in range(1, 13)}
    shown.page.mouse.move(box["x"] + 5, box["y"] + 5)
    shown.page.locator(".cbl").get_by_role("button", name="whole", exact=True).click()


def test_settings_are_changed_and_instability_is_said(shown):
    """Sliders by keys; α beyond its bound is allowed, and the bound is said."""
    seen.handle(shown, "learners").press("ArrowRight")
    shown.wait_in_kernel("lab.learners == 5")
    before = shown.ask("lab.settings.learning_rate")
    seen.drag(shown, "learning-rate", (4, 8, 12))
    shown.wait_in_kernel(f"lab.settings.learning_rate > {before}")
    seen.handle(shown, "alpha").press("End")
    shown.page.locator(".cb-message", has_text="UNSTABLE: α = 1.5").wait_for()
    press(shown, "play", "keyboard")
    seen.wait_for_states(shown, "diverged")
    shown.page.get_by_label("algorithm", exact=True).select_option(label="S-SGD")
    shown.wait_in_kernel("isinstance(lab.settings.algorithm, cb.SSGD)")


def test_the_surface_is_turned_in_3d(shown):
    """By mouse and keys, without WebGL; another surface is shown there too."""
    shown.execute("lab.run(30)")
    press(shown, "3-D", "mouse")
    shown.wait_for("() => document.querySelector('.cbl').dataset.view === 'solid'")
    canvas = shown.page.locator(".cbl-canvas")
    shown.page.wait_for_timeout(300)
    picture = canvas.screenshot()
    canvas.press("ArrowRight")
    shown.page.wait_for_timeout(300)
    turned = canvas.screenshot()
    assert turned != picture
    box = canvas.bounding_box()
    shown.page.mouse.move(box["x"] + 200, box["y"] + 200)
    shown.page.mouse.down()
    shown.page.mouse.move(box["x"] + 260, box["y"] + 230)
    shown.page.mouse.up()
    shown.page.wait_for_timeout(300)
    assert canvas.screenshot() != turned
    assert shown.ask("lab.iteration") == 30
    press(shown, "contours", "keyboard")


def test_a_page_that_is_loaded_again_shows_the_same(shown):
    """Without a message to the kernel; ten thousand learners are drawn too, and go on."""
    shown.execute("lab.adjust(learners=10_000).run(20)")
    wait(shown, iteration=20, k=10_000)
    shown.save()
    shown.reload()
    wait(shown, iteration=20, head=20, k=10_000)
    shown.wait_for(f"() => ({INK})() > 0")
    press(shown, "play", "mouse")
    shown.wait_in_kernel("lab.iteration > 40")
    press(shown, "pause", "mouse")
    seen.wait_for_states(shown, "paused")
