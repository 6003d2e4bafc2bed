"""What a session tells, as rows and marks."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from crossbow_lab.averaging import SMA, DiLoCo, HierarchicalSMA, Hogwild
from crossbow_lab.dashboard.feed import TEST, TRAIN, Feed, Mark, in_words, tables
from crossbow_lab.session import Event
from crossbow_lab.session.history import Record


def _marks(*events: tuple[float, str, str], epoch_samples: int = 100, like: Any) -> tuple[Mark, ...]:
    """Return the marks of events (elapsed_s, kind, detail), told one at a time."""
    record = Record(None)
    feed = Feed(record, 2)
    marks: tuple[Mark, ...] = ()
    for number, (elapsed_s, kind, detail) in enumerate(events):
        record.events.add(Event(number, 0.5, elapsed_s, kind, detail))
        marks += feed.take(replace(like, epoch_samples=epoch_samples)).marks
    return marks


@pytest.fixture
def snapshot(make: Any) -> Any:
    """Give the snapshot of a session that hasn't trained."""
    return make().snapshot


def test_tables_have_a_column_for_everything_that_is_plotted() -> None:
    """Two for each learner, numbered from 1 as on the page."""
    assert tables(2) == {
        "train": TRAIN,
        "learners": ("loss_1", "loss_2", "distance_1", "distance_2"),
        "test": TEST,
    }


def test_a_snapshot_of_a_new_iteration_is_a_row_and_an_evaluation_one_of_test(make: Any) -> None:
    """Nothing is told twice; a learner that isn't there is NaN."""
    session = make(evaluate_every=0.5)
    feed = Feed(session.record, 3)
    assert feed.take(session.snapshot).rows == {}
    session.run(epochs=1)
    now = session.snapshot
    rows = feed.take(now).rows
    assert rows["train"].dtype == np.float32
    assert rows["train"].shape == (4 + len(TRAIN), 1)
    np.testing.assert_allclose(rows["train"][:4, 0], [now.iteration, now.epoch, now.samples, now.elapsed_s], rtol=1e-6)
    assert rows["train"][6, 0] == np.float32(now.train_loss)
    assert rows["train"][7, 0] == pytest.approx(sum(now.distances) / 2)
    assert rows["train"][5, 0] == pytest.approx(now.samples / now.elapsed_s)
    assert rows["learners"][4:6, 0].tolist() == [np.float32(loss) for loss in now.losses]
    assert math.isnan(rows["learners"][6, 0])
    history = session.history
    np.testing.assert_allclose(rows["test"][4], history["test_accuracy"], rtol=1e-6)
    np.testing.assert_allclose(rows["test"][0], history["iteration"])
    assert len(history) == 2
    assert feed.take(session.snapshot).rows == {}
    session.step()
    assert {name: block.shape[1] for name, block in feed.take(session.snapshot).rows.items()} == {
        "train": 1,
        "learners": 1,
    }


def test_who_looks_late_finds_the_past_by_evaluations(make: Any) -> None:
    """Losses and distances of each learner too, and the latest snapshot last."""
    session = make(evaluate_every=0.5)
    session.run(epochs=2)
    session.step(3)
    rows = Feed(session.record, 4).take(session.snapshot).rows
    history, learners = session.history, session.learner_history
    assert rows["train"][0].tolist() == [*history["iteration"], session.snapshot.iteration]
    np.testing.assert_allclose(rows["train"][6, :-1], history["train_loss"], rtol=1e-6)
    second = learners[learners["learner"] == 1]
    np.testing.assert_allclose(rows["learners"][5, :-1], second["train_loss"], rtol=1e-6)
    np.testing.assert_allclose(rows["learners"][9, :-1], second["distance"], rtol=1e-6)
    assert np.all(np.diff(rows["train"][0]) > 0)


def test_the_steps_of_one_drag_are_one_mark(snapshot: Any) -> None:
    """Where it ended and what it ended with; the same again a second later is another."""
    marks = _marks(
        (1.0, "adjustment", "learners 3"),
        (1.1, "adjustment", "learners 4"),
        (1.2, "restart", "after a change of the learning rate"),
        (1.9, "adjustment", "learners 5"),
        (2.0, "adjustment", "batch_size 4"),
        (3.5, "adjustment", "learners 6"),
        like=snapshot,
    )
    keys = [mark.key for mark in marks if mark.text.startswith("learners")]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert len({mark.key for mark in marks}) == 4
    assert marks[3] == Mark(keys[0], (3.0, 0.5, 50.0, 1.9), "learners 5", "adjustment")


def test_what_happens_beside_adjustments_has_marks_too(snapshot: Any) -> None:
    """The executor's choice and refusals have none; the checkpoint of each minute moves."""
    marks = _marks(
        (0.0, "executor", "loop: as the recipe says"),
        (1.0, "learning_rate", "0.01, by schedule"),
        (2.0, "checkpoint", "last.safetensors"),
        (62.0, "checkpoint", "last.safetensors"),
        (63.0, "checkpoint", "mine.safetensors"),
        (64.0, "checkpoint", "not written: no space"),
        (65.0, "target", "median test accuracy of 5 evaluations reached 0.97"),
        (66.0, "failed", "the loss of learner 0 became nan"),
        (67.0, "refused", "learners 99: too many"),
        like=snapshot,
    )
    assert [(mark.text, mark.kind) for mark in marks] == [
        ("learning rate 0.01", "adjustment"),
        ("checkpoint", "checkpoint"),
        ("checkpoint", "checkpoint"),
        ("checkpoint", "checkpoint"),
        ("checkpoint not written", "checkpoint"),
        ("target reached", "target"),
        ("failed", "failure"),
    ]
    assert marks[1].key == marks[2].key != marks[3].key


def test_a_refusal_says_what_was_refused_and_why(make: Any) -> None:
    """One that came before anyone looked isn't news."""
    session = make()
    session.record.events.add(Event(0, 0.0, 0.0, "refused", "learners 9: old"))
    feed = Feed(session.record, 2)
    assert feed.take(session.snapshot).refusals == ()
    session.record.events.add(Event(0, 0.0, 0.0, "refused", "learners 9, batch_size 512: no memory: 3 GB needed"))
    (refusal,) = feed.take(session.snapshot).refusals
    assert refusal.names == ("learners", "batch_size")
    assert refusal.reason == "no memory: 3 GB needed"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ("learning_rate 0.05011872336272722", "learning rate 0.0501"),
        (f"algorithm {SMA(alpha=0.1, momentum=0.5)}, learners 4", "SMA, α 0.1, μ 0.5, learners 4"),
        ("algorithm SSGD(momentum=0.9)", "S-SGD"),
        (f"algorithm {DiLoCo(outer_learning_rate=0.5)}", "DiLoCo, η 0.5"),
        (f"algorithm {HierarchicalSMA(devices=4)}", "hierarchical SMA (simulated devices), simulated devices 4"),
        (f"algorithm {Hogwild()}, batch_size 4", "Hogwild (simulated), batch size 4"),
        ("sync_period 4, executor fused", "τ 4, executor fused"),
    ],
)
def test_adjustments_are_told_in_few_words(changes: str, words: str) -> None:
    """Of an algorithm, what isn't as usual; of a long number, three digits."""
    assert in_words(changes) == words
