"""A race and a quiz as a student sees them: start, watch, who was first; choose an answer, be told why."""

RACE = """import crossbow_lab as cb
common = {"learners": 2, "batch_size": 8, "learning_rate": 0.1, "executor": "loop", "threads": 1, "max_learners": 8}
recipes = {name: cb.Recipe("logreg", "digits", kind, evaluate_every=0.25, **common)
           for name, kind in {"SMA": cb.SMA(), "S-SGD": cb.SSGD()}.items()}
race = cb.Race(recipes, target=0.8)
race.dashboard()"""
QUIZ = 'cb.quiz("Which?", answers=["one", "two"], correct=1, because="It is larger.")'
AXES = """() => [...document.querySelectorAll(".cb-race .js-plotly-plot")]
  .map((plot) => plot._fullLayout.xaxis.title.text)"""


def test_a_race_runs_to_its_end_and_a_quiz_answers(open_cells):
    """By the buttons alone; the plots have an axis each, and a lane's slider adjusts that lane only."""
    notebook = open_cells(RACE, QUIZ)
    notebook.run_all()
    page = notebook.page
    page.wait_for_selector(".cb-quiz")
    lane = page.locator(".cb-lane").first
    handle = lane.locator(".cb-n-learners .noUi-handle")
    handle.focus()
    handle.press("ArrowRight")
    notebook.wait_in_kernel("race['SMA'].session.snapshot.learners == 3")
    assert notebook.ask("race['S-SGD'].session.snapshot.learners") == 2
    page.get_by_role("button", name="start", exact=True).click()
    page.wait_for_selector('.cb-status[data-state="finished"]')
    page.wait_for_function("() => document.querySelectorAll('.cb-standings tbody b').length === 2")
    notebook.wait_for(f"() => ({AXES})().length === 4 && ({AXES})().every(Boolean)")
    assert page.evaluate(AXES) == ["training time (s)", "epoch", "samples", "training time (s)"]
    quiz = page.locator(".cb-quiz")
    quiz.get_by_label("b) two").check()
    quiz.get_by_role("button", name="check").click()
    assert "Right. It is larger." in quiz.get_by_role("alert").inner_text()
