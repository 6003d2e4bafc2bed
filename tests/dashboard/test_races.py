"""The dashboard of a race that really runs; without a browser."""

import json
from typing import Any

import pytest

from crossbow_lab.averaging import EASGD, SMA, SSGD
from crossbow_lab.dashboard import race_feed
from crossbow_lab.dashboard import races as dashboards
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.racing import Race
from crossbow_lab.session import Recipe

COMMON = {"learners": 2, "batch_size": 8, "learning_rate": 0.1, "executor": "loop", "threads": 1, "max_learners": 8}


def _entrants() -> dict[str, Recipe]:
    """Return three small recipes."""
    kinds = {"SMA": SMA(), "S-SGD": SSGD(), "EA-SGD": EASGD()}
    return {name: Recipe("logreg", "digits", kind, evaluate_every=0.25, **COMMON) for name, kind in kinds.items()}


@pytest.fixture
def race() -> Any:
    """Give a race; closes it, and its dashboard."""
    with Race(_entrants(), target=0.8, slice_s=0.01) as made:
        yield made
        for opened in list(dashboards._OPEN.values()):
            opened.close()


def _button(live: Any, name: str) -> Any:
    """Return one of the race's buttons."""
    return live._buttons[name]


def test_it_shows_a_race_from_start_to_finish(race: Any, wait_for: Any) -> None:
    """All tables fill; the table says who reached the target when, the first come first."""
    live = race.dashboard(ui="live").live
    assert "not yet" in live._table.value
    _button(live, "start").click()
    wait_for(lambda: "finished" in live._status.value)
    for place, lane in enumerate(race.lanes.values()):
        wait_for(lambda place=place, lane=lane: live.board.length(f"test{place}") == len(lane.session.history))
        assert live.board.length(f"train{place}") > 0
    wait_for(lambda: "3rd" in live._table.value)
    first = race.table.iloc[0]
    assert live._table.value.index(f'data-lane="{first["lane"]}"') < live._table.value.index("2nd")
    assert f"<b>{first['seconds_to_target']:.2f} s</b>" in live._table.value
    marks = live.board.get_state()["_about"]["marks"].values()
    assert sorted(mark["text"] for mark in marks if mark["kind"] == "target") == ["EA-SGD", "S-SGD", "SMA"]
    assert race.dashboard(ui="live").live is live


def test_each_lane_is_paused_adjusted_and_stopped_by_its_own_controls(race: Any, wait_for: Any) -> None:
    """The others are left alone; what was adjusted is in the lane's recipe."""
    race.pace = 0.1
    live = race.dashboard(ui="live").live
    mine = live._controls[0]
    mine._pause.click()
    assert race["SMA"].state == "paused"
    wait_for(lambda: mine._pause.description == "resume")
    mine._controls[0].widget.value = 5
    mine._controls[2].widget.value = 0.01
    assert race["SMA"].session.snapshot.learners == 5
    assert race["S-SGD"].session.snapshot.learners == 2
    _button(live, "start").click()
    mine._pause.click()
    wait_for(lambda: race["SMA"].session.snapshot.iteration > 5)
    mine._stop.click()
    wait_for(lambda: race["SMA"].state == "stopped")
    changes = [adjustment.changes for adjustment in race.recipes["SMA"].adjustments]
    assert changes == [{"learners": 5}, {"learning_rate": 0.01}]
    mine._stop.click()
    wait_for(lambda: "which has stopped" in live._status.value)


def test_all_lanes_pause_go_on_and_begin_again(race: Any, wait_for: Any) -> None:
    """By the race's buttons; a new beginning empties the plots."""
    race.pace = 0.05
    live = race.dashboard(ui="live").live
    live.pace.value = 0.1
    assert race.pace == 0.1
    _button(live, "start").click()
    wait_for(lambda: live.board.length("train0") > 0)
    _button(live, "pause").click()
    wait_for(lambda: race.state == "paused")
    wait_for(lambda: 'data-state="paused"' in live._status.value)
    _button(live, "resume").click()
    wait_for(lambda: race.state == "running")
    _button(live, "reset").click()
    wait_for(lambda: race.state == "ready")
    wait_for(lambda: live.board.length("train0") == 0)
    wait_for(lambda: "same seeds" in live._status.value)


def test_plots_have_an_axis_each_and_a_colour_for_each_lane(race: Any) -> None:
    """Accuracy by time, epochs and samples; two lanes of one algorithm are shades, and differ in their dashes."""
    plots = race_feed.plots(list(race.lanes.values()), has_target=True)
    assert [plot.x_axis for plot in plots] == ["elapsed_s", "epoch", "samples", "elapsed_s"]
    assert [line.colour for line in plots[0].lines if not line.faint] == ["#0072B2", "#D55E00", "#009E73"]
    recipe = _entrants()["SMA"]
    with Race({"a": recipe, "b": recipe}) as same:
        lines = race_feed.plots(list(same.lanes.values()), has_target=False)[0].lines
    assert len({line.colour for line in lines}) == len({line.dash for line in lines}) == len(lines) == 2


def test_without_anyone_to_look_there_is_a_static_report(race: Any, notebook: Any) -> None:
    """It is replaced when the race has gone on: a figure of three panels, the table, and numbers for programs."""
    shown = race.dashboard(ui="off")
    assert "image/png" not in notebook.shown[0][0]
    race.run(epochs=6)
    notebook.end_cell()
    figure, table = notebook.shown[-2][0], notebook.shown[-1][0]
    assert len(figure["image/png"]) < 100_000
    assert table["text/html"].count("<tr>") == 3
    assert "reached after" in table["text/html"]
    result = figure["application/vnd.crossbow.result+json"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["lanes"]["SMA"]["seconds_to_target"] == race["SMA"].reached.seconds
    assert "1 " in shown.report().text
    assert shown.report().text.count("epochs") >= 3


def test_the_figure_names_every_lane_in_every_panel(race: Any) -> None:
    """Before the first evaluation there is none."""
    with pytest.raises(ConfigurationError, match="before the first evaluation"):
        _ = race.figure
    figure = race.run(epochs=6).figure.figure
    assert figure.layout.xaxis3.title.text == "training samples (thousands)"
    texts = [note.text for note in figure.layout.annotations]
    for name in race.lanes:
        assert sum(text.startswith(f" {name}:") for text in texts) == 3
