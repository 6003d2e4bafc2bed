"""Adjustments of a session: refused at the border, taken between two iterations, recorded."""

import statistics
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crossbow_lab.averaging import EASGD, SMA, SSGD
from crossbow_lab.errors import ConfigurationError, ExecutorError
from crossbow_lab.session import Adjustment, Session

Make = Callable[..., Session]

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "nothing to adjust; give one of learners, batch_size, learning_rate, sync_period"),
    ({"learner": 3}, "'learner' can't be adjusted while training; did you mean 'learners'"),
    ({"seed": 3}, "'seed' can't be adjusted while training"),
    ({"learners": 0}, "learners is 0; it must be a whole number >= 1"),
    ({"learners": True}, "learners is True"),
    ({"learners": 1.5}, "learners is 1.5"),
    ({"learners": "4"}, "learners is '4'"),
    ({"learners": None}, "learners is None"),
    ({"learners": 65}, "65 learners asked for, but the bank holds max_learners=64"),
    ({"batch_size": -1}, "batch_size is -1"),
    ({"batch_size": 719}, "1438 samples an iteration, but digits has only 1437 training samples; use at most"),
    ({"learning_rate": 0}, "learning_rate is 0; it must be a finite number > 0"),
    ({"learning_rate": float("nan")}, "learning_rate is nan"),
    ({"learning_rate": float("inf")}, "learning_rate is inf"),
    ({"learning_rate": "0.1"}, "learning_rate is '0.1'"),
    ({"sync_period": 0}, "sync_period is 0"),
    ({"sync_period": 2.0}, "sync_period is 2.0"),
    ({"sync_period": 2, "algorithm": SMA()}, "give sync_period as part of the algorithm"),
    ({"sync_period": 2, "learners": 0}, "learners is 0"),
    ({"algorithm": "SMA"}, r"algorithm is 'SMA'; give cb.SMA\(\)"),
    ({"algorithm": SMA}, r"give cb.SMA\(\)"),
    ({"algorithm": SMA(alpha=1.2)}, "alpha must be below"),
    ({"executor": "fuse"}, "unknown executor 'fuse'; did you mean 'fused'"),
    ({"executor": 3}, "unknown executor '3'"),
    ({"executor": "auto"}, "'auto' chooses at the start only"),
    ({"restart": False}, "restart is False; it can only be True"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_cannot_be_is_refused_at_the_border(make: Make, changes: dict[str, Any], message: str) -> None:
    """The error comes from the call itself, and nothing changes: no event, no adjustment."""
    session = make()
    before, events = session.snapshot, session.events
    with pytest.raises(ConfigurationError, match=message):
        session.adjust(**changes)
    assert session.snapshot == before
    assert session.events.equals(events)
    assert session.recipe.adjustments == ()


def test_refusals_while_training_change_nothing_either(make: Make, wait_for: Any) -> None:
    """Training goes on as if nobody had asked."""
    session = make().start()
    for changes, message in REFUSED:
        with pytest.raises(ConfigurationError, match=message):
            session.adjust(**changes)
    assert session.snapshot.requested == ()
    session.stop()
    assert session.recipe.adjustments == ()
    assert make(session.recipe).run().fingerprint() == session.fingerprint()


def test_numbers_of_numpy_are_numbers(make: Make) -> None:
    """A sweep over np.arange works, and the recipe holds Python's own numbers."""
    session = make(learners=np.int64(3), learning_rate=np.float32(0.5))
    session.adjust(batch_size=np.int32(4))
    assert session.recipe.adjustments == (Adjustment(0, {"batch_size": 4}),)
    assert '"batch_size": 4' in session.recipe.to_json()
    assert type(session.recipe.learners) is int


def test_an_adjustment_before_training_is_in_the_snapshot_at_once(make: Make) -> None:
    """All of its changes together, and as one event and one adjustment."""
    session = make()
    session.adjust(learners=3, batch_size=4, learning_rate=0.5)
    now = session.snapshot
    assert (now.learners, now.batch_size, now.learning_rate, now.requested) == (3, 4, 0.5, ())
    assert len(now.losses) == len(now.distances) == 3
    assert session.events.detail.iloc[-1] == "learners 3, batch_size 4, learning_rate 0.5"
    assert len(session.recipe.adjustments) == 1


def test_an_adjustment_while_paused_is_in_the_snapshot_at_once(make: Make, wait_for: Any) -> None:
    """And nothing is trained for it."""
    session = make().start()
    session.pause()
    wait_for(lambda: session.state == "paused")
    before = session.snapshot
    for learners in (5, 1, 7):
        session.adjust(learners=learners)
        now = session.snapshot
        assert (now.learners, now.requested, now.state) == (learners, (), "paused")
        assert len(now.losses) == len(now.distances) == learners
    session.adjust(algorithm=SSGD())
    assert (session.snapshot.algorithm, len(session.snapshot.distances)) == ("S-SGD", 1)
    assert session.snapshot.iteration == before.iteration
    session.stop()
    assert session.history.learners.tolist()[-1] == 7
    assert session.history.train_loss.notna().all()


class Gate(nn.Module):
    """A model whose forward pass waits at a gate, so that a test knows where training is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Compute, once the gate is open."""
        entered.set()
        gate.wait()
        return self.layer(x)


entered, gate = threading.Event(), threading.Event()


@pytest.fixture
def at_gate(make: Make, blobs: Any) -> Iterator[Callable[[], Session]]:
    """Give a maker of a session that trains in the background and waits in its first iteration."""

    def at_gate() -> Session:
        gate.set()
        session = make(Gate(), blobs, batch_size=2)
        gate.clear()
        entered.clear()
        session.start()
        entered.wait()
        return session

    yield at_gate
    gate.set()


def test_what_is_requested_is_shown_until_it_is_taken(at_gate: Callable[[], Session]) -> None:
    """The latest wish for each setting, while an iteration is under way; then the setting itself."""
    session = at_gate()
    session.adjust(learners=5)
    session.adjust(batch_size=3)
    session.adjust(learners=6)
    now = session.snapshot
    assert dict(now.requested) == {"learners": 6, "batch_size": 3}
    assert now.learners == 2
    gate.set()
    session.stop()
    now = session.snapshot
    assert (now.learners, now.batch_size, now.requested) == (6, 3, ())


def test_wishes_are_checked_against_wishes_that_wait(at_gate: Callable[[], Session]) -> None:
    """What fits only before, or only after, an earlier wish is judged after it."""
    session = at_gate()
    session.adjust(algorithm=SSGD())
    with pytest.raises(ConfigurationError, match="S-SGD has no sync_period"):
        session.adjust(sync_period=2)
    session.adjust(algorithm=EASGD())
    session.adjust(sync_period=2)
    session.adjust(learners=20)
    with pytest.raises(ConfigurationError, match="20 learners x batch size 4 = 80 samples"):
        session.adjust(batch_size=4)
    session.adjust(learners=10)
    session.adjust(batch_size=4)
    gate.set()
    session.stop()
    made = session.recipe.adjustments
    assert [list(adjustment.changes) for adjustment in made] == [
        ["algorithm"],
        ["algorithm"],
        ["sync_period"],
        ["learners"],
        ["learners"],
        ["batch_size"],
    ]
    assert not (session.events.kind == "refused").any()


def test_a_drag_is_recorded_whole(at_gate: Callable[[], Session]) -> None:
    """Every position of the slider is an adjustment, in order, at one iteration or at many."""
    session = at_gate()
    wanted = [*range(2, 12), *range(12, 1, -1)]
    for learners in wanted:
        session.adjust(learners=learners)
    gate.set()
    session.stop()
    made = session.recipe.adjustments
    assert [adjustment.changes["learners"] for adjustment in made] == wanted
    assert {adjustment.iteration for adjustment in made} == {1}


class Stubborn(nn.Module):
    """A model that only the loop executor can run."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Branch on a value."""
        return self.layer(x) if float(x.detach().sum()) > -1e9 else x


def test_what_turns_out_impossible_is_an_event_and_training_goes_on(make: Make, blobs: Any, wait_for: Any) -> None:
    """Nobody can know at the border whether an executor runs a model."""
    session = make(Stubborn(), blobs).start()
    session.adjust(executor="fused")
    wait_for(lambda: (session.events.kind == "refused").any())
    before = session.snapshot.iteration
    wait_for(lambda: session.snapshot.iteration > before)
    session.stop()
    assert session.state == "stopped"
    assert session.recipe.adjustments == ()
    refused = session.events.query("kind == 'refused'").detail.item()
    assert refused.startswith("executor fused: Stubborn can't run fused")


def test_what_turns_out_impossible_while_nobody_trains_is_raised(make: Make, blobs: Any) -> None:
    """Whoever asks is told, and the setting is as before."""
    session = make(Stubborn(), blobs)
    with pytest.raises(ExecutorError, match="can't run fused"):
        session.adjust(executor="fused")
    assert session.snapshot.executor == "loop"
    assert session.run(iterations=2).state == "finished"


def test_a_failed_session_cannot_be_adjusted(make: Make) -> None:
    """It says why it failed, and what to do."""
    session = make("mlp", learning_rate=1e6).start()
    assert session.wait() == "failed"
    with pytest.raises(ConfigurationError, match=r"adjust\(\) while the session is failed \(the loss of learner"):
        session.adjust(learners=3)


def test_restarts_are_events(make: Make) -> None:
    """Asked for, by schedule and after an adjustment of the rate; the schedule itself is an event too."""
    session = make(learning_rate_steps=((0.1, 0.02),), algorithm=SMA(sync_period=2))
    session.run(iterations=3)
    session.restart_averaging()
    session.adjust(learning_rate=0.1)
    session.run(iterations=17)
    kinds = session.events[["iteration", "kind", "detail"]].to_numpy().tolist()
    assert kinds[1:] == [
        [3, "restart", "asked for"],
        [3, "adjustment", "learning_rate 0.1"],
        [5, "restart", "after a change of the learning rate"],
        [9, "learning_rate", "0.02, by schedule"],
        [11, "restart", "after a change of the learning rate"],
    ]


def test_each_learner_has_its_own_losses_whoever_comes_and_goes(make: Make) -> None:
    """Rows name the learners there are; a newcomer's mean starts with it, a leaver's is forgotten."""
    session = make(learners=4, evaluate_every=100)
    losses = []
    for learners in (4, 4, 2, 3, 3):
        session.adjust(learners=learners)
        session.step()
        losses.append(session.snapshot.losses)
    session.stop()
    means = [statistics.mean(row[learner] for row in losses) for learner in (0, 1)]
    means.append(statistics.mean(row[2] for row in losses[3:]))
    assert session.learner_history.learner.tolist() == [0, 1, 2]
    assert session.learner_history.train_loss.tolist() == pytest.approx(means, rel=1e-6)
    overall = statistics.mean(statistics.mean(row) for row in losses)
    assert session.history.train_loss.item() == pytest.approx(overall, rel=1e-6)


def test_losses_before_an_adjustment_are_read_before_it(make: Make, blobs: Any) -> None:
    """Between two looks the number of learners changes; the means are those of a replay that is looked at."""
    calls, asked = [], []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        calls.append(1)
        if asked and len(calls) in (20, 50):
            asked[0].adjust(learners=4 if len(calls) == 20 else 1)
        return nn.functional.cross_entropy(output, target)

    model = nn.Linear(5, 3)
    session = make(model, blobs, loss=loss, batch_size=3, evaluate_every=1.5)
    asked.append(session)
    session.run(iterations=40)
    assert [adjustment.changes["learners"] for adjustment in session.recipe.adjustments] == [4, 1]
    asked.clear()
    trainer = make(session.recipe, own_model=model, dataset=blobs, loss=loss)._loop.trainer
    script, losses = list(session.recipe.adjustments), []
    for iteration in range(40):
        if script and script[0].iteration == iteration:
            trainer.adjust(script.pop(0).changes)
        losses += trainer.step().tolist()
    before = 0
    for row in session.history.itertuples():
        means = [statistics.mean(each) for each in losses[before : row.iteration]]
        assert row.train_loss == pytest.approx(statistics.mean(means), rel=1e-6)
        before = row.iteration


def test_a_learner_that_has_not_trained_has_no_row(make: Make) -> None:
    """Adjusted after the last iteration, stopped at once: means of those that trained, distances of all."""
    session = make(learners=2)
    session.step(3)
    session.adjust(learners=5)
    session.stop()
    assert session.state == "stopped"
    assert session.learner_history.learner.tolist() == [0, 1]
    assert session.history.learners.tolist() == [5]
    assert session.history.train_loss.notna().all()
    assert not torch.tensor(session.snapshot.distances[2:]).any()


def test_adjustments_from_many_threads_are_all_recorded(make: Make) -> None:
    """As JupyterLab may make them, while a cell trains."""
    session = make()

    def drag(first: int) -> None:
        for learners in range(first, first + 20):
            session.adjust(learners=1 + learners % 9)

    threads = [threading.Thread(target=drag, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    session.run(iterations=60)
    for thread in threads:
        thread.join()
    assert len(session.recipe.adjustments) == 80
    session.run(iterations=2)
    assert make(session.recipe).run().fingerprint() == session.fingerprint()
