"""The numbers above the plots."""

import math
from dataclasses import replace
from typing import Any

import pytest

from crossbow_lab.dashboard.readouts import Standing, numbers, status
from crossbow_lab.session import Accuracy, TimeToAccuracy
from crossbow_lab.session.limits import Limits


@pytest.fixture
def now(make: Any) -> Any:
    """Give the snapshot of a session that hasn't trained."""
    return make().snapshot


def test_what_is_not_known_yet_is_a_dash(now: Any) -> None:
    """Never a nan."""
    shown = numbers(Standing(now))
    assert "nan" not in shown
    assert shown.count("<b>–</b>") == 5
    assert "<div>target</div><b>none</b>" in shown


def test_the_bar_shows_the_way_to_the_nearest_limit_or_through_the_epoch(now: Any) -> None:
    """And the time that is left, while there is something left."""
    running = replace(now, state="running", iteration=30, elapsed_s=3.0, epoch=2.25)
    assert 'aria-label="progress of this epoch"' in numbers(Standing(running))
    assert 'aria-valuenow="25.0"' in numbers(Standing(running))
    limited = replace(running, limits=Limits(iteration=40, seconds=10.0))
    assert 'aria-label="progress of this run"' in numbers(Standing(limited))
    assert 'aria-valuenow="75.0"' in numbers(Standing(limited))
    assert "<div>time left</div><b>1.0 s</b>" in numbers(Standing(limited))
    assert "<div>time left</div><b>–</b>" in numbers(Standing(replace(limited, state="stopped")))


def test_the_target_says_when_it_was_reached_or_how_far_it_is(now: Any) -> None:
    """The median of the last evaluations is what must reach it."""
    goal = Accuracy(0.975)
    assert "<div>to 97.5 %</div><b>not yet</b>" in numbers(Standing(now, goal))
    assert "<b>not yet (now 95.0%)</b>" in numbers(Standing(now, goal, median=0.95))
    reached = TimeToAccuracy(epochs=3.5, seconds=4000.0, samples=10)
    assert "<b>3.50 epochs, 1:06:40</b>" in numbers(Standing(now, goal, reached))


def test_its_own_cost_is_shown(now: Any) -> None:
    """In per cent of a core."""
    assert "<div>dashboard</div><b>1.3%</b>" in numbers(Standing(now, cost_share=0.013))
    assert "<div>dashboard</div><b>–</b>" in numbers(Standing(now, cost_share=math.nan))


def test_a_failure_shows_its_message_and_folds_the_traceback(now: Any) -> None:
    """Both as text, whatever is in them."""
    failed = replace(now, state="failed", error="loss <nan> & so on")
    shown = status(Standing(failed, traceback='File "<cell>", line 1'))
    assert 'data-state="failed"' in shown
    assert "training failed: loss &lt;nan&gt; &amp; so on" in shown
    assert "<details>" in shown
    assert "&lt;cell&gt;" in shown


def test_a_message_is_read_to_people_who_do_not_see_it(now: Any) -> None:
    """Politely, and a refusal looks like one."""
    shown = status(Standing(now, message="pause() it first", is_refusal=True))
    assert 'role="status" aria-live="polite"' in shown
    assert '<span class="cb-message cb-refused">pause() it first</span>' in shown
    assert "<details>" not in shown
