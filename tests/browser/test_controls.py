"""Every control of a live dashboard, by keyboard and by mouse; all on one page, whose session goes on training."""

import pytest

from crossbow_lab.bench.browser import dashboard_page as seen
from crossbow_lab.bench.browser.notebook import NotebookPage

SLIDERS = {
    "n-learners": ("learners k", "session.snapshot.learners"),
    "batch-size": ("batch size b", "session.snapshot.batch_size"),
    "learning-rate": ("learning rate γ", "session.snapshot.learning_rate"),
    "sync-period": ("sync period τ", "session.snapshot.setting.algorithm.sync_period"),
    "alpha": ("correction α", "session.snapshot.setting.algorithm.alpha"),
    "momentum": ("central momentum μ", "session.snapshot.setting.algorithm.momentum"),
    "local-momentum": ("local momentum", "session.snapshot.setting.algorithm.local_momentum"),
}
CHOICES = {
    "algorithm": ("algorithm", "session.snapshot.algorithm"),
    "executor": ("executor", "session.snapshot.executor"),
}
WAYS = ("keyboard", "mouse")


def note(notebook: NotebookPage, name: str):
    """Return the locator of the note at a control."""
    return notebook.page.locator(".cb-control", has=notebook.page.locator(f".cb-{name}")).locator(".cb-note")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SLIDERS)
def test_slider_changes_what_is_in_force(running, name, way):
    """A press of a key, or a drag, becomes the value that trains, and the request's note goes away again."""
    label, expression = SLIDERS[name]
    before = running.ask(expression)

    assert running.page.get_by_role("slider", name=label, exact=True).count() == 1
    if way == "keyboard":
        seen.handle(running, name).press("ArrowRight")
    else:
        seen.drag(running, name, (-3, -6, 6, 12, 18))

    running.wait_in_kernel(f"{expression} != {before!r}")
    running.page.wait_for_timeout(300)
    assert note(running, name).locator(".cb-refused, .cb-requested").count() == 0
    assert seen.states(running) == ["running"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CHOICES)
def test_choice_changes_what_is_in_force(running, name, way):
    """Another algorithm or executor, chosen by key or by mouse, is the one that trains."""
    label, expression = CHOICES[name]
    choice = running.page.get_by_label(label, exact=True)
    before = running.ask(expression)

    if way == "keyboard":
        choice.press("ArrowDown" if choice.evaluate("select => select.selectedIndex") == 0 else "ArrowUp")
    else:
        choice.select_option(index=0 if choice.evaluate("select => select.selectedIndex") else 1)

    running.wait_in_kernel(f"{expression} != {before!r}")


@pytest.mark.parametrize("way", WAYS)
def test_alpha_can_be_left_to_the_number_of_learners(running, way):
    """The box takes the present value, and gives it back to 1/k; the slider shows the value either way."""
    box = running.page.get_by_label("α = 1/k (auto)")
    alpha = "session.snapshot.setting.algorithm.alpha"

    def switch():
        box.press("Space") if way == "keyboard" else box.click()

    switch()
    running.wait_in_kernel(f"{alpha} is not None")
    switch()
    running.wait_in_kernel(f"{alpha} is None")


@pytest.mark.parametrize("way", WAYS)
def test_preset_says_why_and_changes_what_is_in_force(running, way):
    """A preset is chosen, explains itself, and is used."""
    choice, button = (
        running.page.get_by_label("preset", exact=True),
        running.page.get_by_role("button", name="use preset"),
    )
    before = running.page.locator(".cb-why").inner_text()
    names = choice.locator("option").evaluate_all("(options) => options.map(({ value }) => value)")
    number = names.index("averaging too seldom")

    if way == "keyboard":
        choice.press("Home")
        for _ in range(number):
            choice.press("ArrowDown")
        running.page.wait_for_timeout(300)
        button.press("Enter")
    else:
        choice.select_option(index=number)
        running.page.wait_for_timeout(300)
        button.click()

    running.wait_in_kernel("session.snapshot.setting.algorithm.sync_period == 32")
    assert "τ = 32" in running.page.locator(".cb-why").inner_text() != before
    choice.select_option(index=0)


@pytest.mark.parametrize("way", WAYS)
def test_buttons_do_what_they_say(running, way):
    """Pause, single steps, resume, restart, checkpoint, record, recipe, stop, start and reset, one after the other."""
    page = running.page

    def press(name: str) -> None:
        button = page.get_by_role("button", name=name, exact=True)
        button.press("Enter") if way == "keyboard" else button.click()

    press("pause")
    seen.wait_for_states(running, "paused")
    iteration = running.ask("session.snapshot.iteration")
    press("step")
    running.wait_in_kernel(f"session.snapshot.iteration == {iteration + 1}")
    press("step ×10")
    running.wait_in_kernel(f"session.snapshot.iteration == {iteration + 11} and session.state == 'paused'")
    press("resume")
    seen.wait_for_states(running, "running")
    press("restart averaging")
    running.wait_in_kernel("'restart' in list(session.events.kind)[-3:]")
    press("checkpoint")
    page.locator(".cb-message", has_text="written: ").wait_for()
    path = page.locator(".cb-message").inner_text().removeprefix("written: ").split(";")[0]
    assert running.ask(f"cb.Session.restore({path!r}).state") == "paused"
    press("save run")
    page.locator(".cb-message", has_text="saved: ").wait_for()
    press("copy recipe")
    page.locator(".cb-told", has_text="copied").wait_for()
    assert "logreg" in page.locator(".cb-recipe-text").input_value()
    press("stop")
    seen.wait_for_states(running, "stopped")
    press("start")
    seen.wait_for_states(running, "running")
    press("reset")
    seen.wait_for_states(running, "ready")
    running.wait_for("() => [...document.querySelectorAll('.cb-board')].every(({ dataset }) => +dataset.rows < 2)")
    press("start")
    seen.wait_for_states(running, "running")


def test_button_that_makes_no_sense_says_why(running):
    """Pale, but there for keyboards: starting what runs is refused in words, and training goes on."""
    running.page.get_by_role("button", name="start", exact=True).click()

    running.page.locator(".cb-message.cb-refused", has_text="running").wait_for()
    assert running.ask("session.state") == "running"


def test_target_is_a_line_and_a_time(running):
    """A target that is typed is drawn as a line; 0 takes it away."""
    field = running.page.get_by_label("target accuracy (%)")
    field.fill("95.5")
    field.press("Enter")
    running.page.locator(".cb-plot", has_text="95.5").first.wait_for()

    field.fill("0")
    field.press("Enter")
    running.wait_for(
        "() => !document.querySelector('.cb-plot[data-title=\"Test accuracy of z\"]').innerText.includes('target')"
    )


def test_drag_is_one_mark_and_every_step_is_in_the_recipe(running):
    """A slow drag takes effect several times: one line on each plot, several adjustments in the recipe."""
    marks = "() => document.querySelector('.cb-plot').querySelectorAll('.cb-mark').length"
    running.page.wait_for_timeout(1500)  # so that nothing before is part of this drag
    lines, adjustments = running.page.evaluate(marks), running.ask("len(session.recipe.adjustments)")

    seen.drag(running, "batch-size", tuple(range(4, 60, 4)))
    running.page.wait_for_timeout(1500)

    assert running.ask("len(session.recipe.adjustments)") >= adjustments + 3
    assert running.page.evaluate(marks) == lines + 1


def test_refusal_stands_beside_its_control(running):
    """An α beyond the stable range is refused in words, at the slider, and what is in force stays."""
    slider = seen.handle(running, "alpha")
    slider.press("End")

    note(running, "alpha").locator(".cb-refused").wait_for()
    assert "alpha must be below" in note(running, "alpha").inner_text()
    assert running.ask("session.snapshot.setting.algorithm.alpha") is None


def test_paused_session_shows_a_requested_value_at_once(running):
    """While nothing trains a change is in force as soon as it is asked for, and the page shows it."""
    running.page.get_by_role("button", name="pause", exact=True).click()
    seen.wait_for_states(running, "paused")
    iteration = running.ask("session.snapshot.iteration")

    seen.handle(running, "n-learners").press("ArrowRight")

    running.wait_in_kernel("session.snapshot.learners == 3")
    note(running, "n-learners").get_by_text("k·b = 24").wait_for()
    assert running.ask("session.snapshot.iteration") == iteration


@pytest.mark.parametrize("axis", ["epoch", "samples", "time", "iteration"])
@pytest.mark.parametrize("way", WAYS)
def test_x_axis_changes_on_all_plots_without_the_kernel(running, axis, way):
    """One switch for all plots, in the browser alone."""
    sent = running.wire.sent
    button = running.page.locator(".cb-axis").get_by_role("button", name=axis)
    button.press("Enter") if way == "keyboard" else button.click()

    name = {"time": "elapsed_s"}.get(axis, axis)
    running.wait_for(f"() => document.querySelector('.cb-board').dataset.xAxis === '{name}'")
    assert button.get_attribute("aria-pressed") == "true"
    assert running.wire.sent == sent


def test_legend_hides_a_line(running):
    """A key of a legend is a button that says whether its line is shown."""
    key = running.page.locator(".cb-plot[data-title=Loss] .cb-key").first

    key.press("Enter")
    assert key.get_attribute("aria-pressed") == "false"
    key.click()
    assert key.get_attribute("aria-pressed") == "true"
