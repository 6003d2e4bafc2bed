"""Several iterations to a step of the trainer, as on a GPU: nothing but speed may depend on it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from crossbow_lab.averaging import EASGD, SMA, SSGD, LocalSGD, PairAveraging
from crossbow_lab.session import Accuracy, Session
from crossbow_lab.session.fetch import Fetch

Make = Callable[..., Session]
TIMES = ["elapsed_s", "evaluation_s", "samples_per_s", "samples_per_s_per_device"]
ALGORITHMS = [SMA(), SMA(sync_period=3, local_momentum=0.5), EASGD(sync_period=5), SSGD()]
ALGORITHMS += [LocalSGD(sync_period=4, local_from_epoch=1.2), PairAveraging()]


def in_bursts(session: Session, most: int) -> Session:
    """Let a session train up to ``most`` iterations at once."""
    session._loop.trainer.iterations.most_at_once = most  # type: ignore[attr-defined]
    return session


@pytest.mark.parametrize("most", [2, 7, 1000])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_bursts_leave_the_same_record(make: Make, blobs: Any, most: int, algorithm: Any) -> None:
    """Weights, losses, evaluations, schedule and restarts are those of single iterations."""
    settings = {
        "algorithm": algorithm,
        "batch_size": 3,
        "learning_rate_steps": ((1.5, 0.02), (2.25, 0.01)),
        "evaluate_every": 0.7,
    }
    sessions = [make("logreg", blobs, **settings), in_bursts(make("logreg", blobs, **settings), most)]
    for session in sessions:
        session.run(epochs=3.1)
    single, burst = sessions
    assert burst.fingerprint() == single.fingerprint()
    assert burst.history.drop(columns=TIMES).equals(single.history.drop(columns=TIMES))
    left_out = single.events["kind"] == "executor"
    names = ["iteration", "kind", "detail"]
    assert burst.events[~left_out][names].equals(single.events[~left_out][names])


def test_limits_steps_and_scripted_adjustments_are_met_to_the_iteration(make: Make, blobs: Any) -> None:
    """A burst ends where anything is due."""
    session = in_bursts(make("logreg", blobs, batch_size=3), 100)
    session.run(iterations=13)
    assert session.snapshot.iteration == 13
    session.adjust(learners=3)
    session.run(iterations=6)
    session.adjust(batch_size=2, learning_rate=0.01)
    session.run(epochs=0.5)
    recipe, expected = session.recipe, session.fingerprint()
    assert [adjustment.iteration for adjustment in recipe.adjustments] == [13, 19]
    for most in (1, 4, 100):
        again = in_bursts(make(recipe, dataset=blobs), most)
        again.run()
        assert again.snapshot.iteration == session.snapshot.iteration
        assert again.fingerprint() == expected


def test_step_trains_so_many_iterations(make: Make, blobs: Any, wait_for: Any) -> None:
    """Paused after exactly that many."""
    session = in_bursts(make("logreg", blobs), 100)
    session.start()
    session.pause()
    wait_for(lambda: session.state == "paused")
    before = session.snapshot.iteration
    for n in (1, 5, 250):
        session.step(n)
        before += n
        assert session.snapshot.iteration == before
    session.stop()
    session.wait()


def test_a_target_ends_at_the_same_evaluation(make: Make, blobs: Any) -> None:
    """Looking for it between bursts misses none."""
    iterations = set()
    for most in (1, 50):
        session = in_bursts(make("logreg", blobs, batch_size=3), most)
        session.run(epochs=40, until=Accuracy(0.8, window=2))
        iterations.add(session.snapshot.iteration)
    assert len(iterations) == 1


def test_what_is_fetched_is_what_was_sent() -> None:
    """Even where the tensor is overwritten before anybody takes it."""
    fetch, tensor = Fetch(), torch.tensor([1.0, 2.0])
    assert not fetch.is_under_way
    assert not fetch.has_arrived
    fetch.send(tensor)
    tensor.zero_()
    assert fetch.is_under_way
    assert fetch.has_arrived
    assert fetch.take().tolist() == [1.0, 2.0]
    assert not fetch.is_under_way
