"""What is seen of a session: snapshots and evaluations, which never change training."""

import math
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from crossbow_lab.averaging import SMA, SSGD
from crossbow_lab.session import Session, instruments, observer

Make = Callable[..., Session]


def noisy() -> nn.Module:
    """Return a model with batch norm and dropout, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3))


def settings(**other: Any) -> dict[str, Any]:
    """Return settings in which much could go wrong."""
    return {"algorithm": SMA(sync_period=3), "batch_size": 4, "learning_rate_steps": ((1.0, 0.01),), **other}


@pytest.fixture(scope="module")
def mark(blobs: Any) -> str:
    """Give the fingerprint of a session that nobody looks at."""
    session = Session(noisy(), blobs, learners=2, executor="loop", threads=1, **settings(evaluate_every=1000))
    return session.run(iterations=40).fingerprint()


@pytest.mark.parametrize("every", [0.01, 0.1, 0.7, 3.0])
@pytest.mark.parametrize("batch_norm", ["average", "recalibrate"])
def test_evaluating_more_often_changes_nothing(
    make: Make, blobs: Any, mark: str, every: float, batch_norm: str
) -> None:
    """Not even after every iteration, whichever way z gets its batch-norm statistics."""
    session = make(noisy(), blobs, **settings(evaluate_every=every, batch_norm=batch_norm))
    assert session.run(iterations=40).fingerprint() == mark


def test_looking_at_everything_changes_nothing(make: Make, blobs: Any, mark: str, tmp_path: Any) -> None:
    """Snapshots, models, fingerprints, tables, recipes and checkpoints, after each iteration."""
    session = make(noisy(), blobs, **settings(evaluate_every=0.5, folder=tmp_path / "run"))
    for _ in range(40):
        session.step()
        model = session.central_model()
        model(torch.randn(4, 5))
        with torch.no_grad():
            next(model.parameters()).fill_(7.0)
        assert session.snapshot.iteration == session.recipe.iterations
        assert len(session.history) + len(session.events) + len(session.learner_history) > 0
        session.time_to_accuracy(0.99)
        session.checkpoint(tmp_path / "checkpoint")
        assert repr(session).startswith("<Session paused: SMA, 2 learners x 4, iteration ")
    assert session.fingerprint() == mark


def test_looking_from_another_thread_changes_nothing(make: Make, blobs: Any, mark: str, monkeypatch: Any) -> None:
    """Looking as fast as possible while it trains in the background."""
    monkeypatch.setattr("crossbow_lab.session.observer._LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("crossbow_lab.session.observer._LOOK_SHARE", 0)
    session = make(noisy(), blobs, **settings(evaluate_every=0.2)).start(iterations=40)
    while session.state == "running":
        session.fingerprint(), session.snapshot, session.history, session.central_model()
    assert session.wait() == "finished"
    assert session.fingerprint() == mark


def test_the_users_random_numbers_are_left_alone(make: Make, blobs: Any) -> None:
    """Neither making a session nor training it nor looking draws from torch's own generator."""
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    session = make(noisy(), blobs, **settings())
    session.run(iterations=5)
    session.central_model()
    make("mlp", learners=1).run(iterations=1)
    make(lambda: nn.Linear(5, 3), blobs).run(iterations=1)
    assert torch.equal(torch.rand(3), expected)


def test_snapshots_are_immutable_and_replaced(make: Make, wait_for: Any) -> None:
    """A kept one doesn't change; a later one is further, on every scale."""
    session = make().start()
    wait_for(lambda: session.snapshot.iteration > 2)
    first = session.snapshot
    kept = repr(first)
    wait_for(lambda: session.snapshot.iteration > first.iteration)
    second = session.snapshot
    session.stop()
    assert repr(first) == kept
    assert second.elapsed_s > first.elapsed_s
    assert second.samples == second.iteration * 16
    assert second.epoch == pytest.approx(second.samples / 1437)
    assert second.samples_per_s > 0
    assert math.isfinite(second.train_loss)
    with pytest.raises(AttributeError):
        second.iteration = 0  # type: ignore[misc]


def test_snapshots_are_about_50_ms_apart(make: Make) -> None:
    """While training nobody looks more often, whatever the iterations take."""
    session = make(evaluate_every=1000).start()
    seen, end_s = set(), time.monotonic() + 0.5
    while time.monotonic() < end_s:
        seen.add(session.snapshot.iteration)
        time.sleep(0.001)
    session.stop()
    assert 2 <= len(seen) <= 11


def test_looking_takes_a_small_share_of_the_time(make: Make, monkeypatch: Any) -> None:
    """Where a look is slow, looks are rarer: at most a fiftieth of the time, and one to begin with."""
    looks = []
    distances = type(make()._loop.trainer).distances

    def slowly(trainer: Any) -> Tensor:
        looks.append(1)
        time.sleep(0.02)
        return distances(trainer)

    session = make(evaluate_every=1000)
    monkeypatch.setattr(type(session._loop.trainer), "distances", slowly)
    session.start()
    time.sleep(0.6)
    found = len(looks)
    session.stop()
    assert found <= 2


def test_losses_and_distances_are_per_replica(make: Make) -> None:
    """Of each k for SMA, one for S-SGD, whose replica is z."""
    assert len(make(learners=3).run(iterations=2).snapshot.losses) == 3
    snapshot = make(learners=3, algorithm=SSGD()).run(iterations=2).snapshot
    assert len(snapshot.losses) == 1
    assert snapshot.distances == (0.0,)
    assert snapshot.learners == 3


def test_the_training_clock_does_not_count_evaluations(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """An iteration takes a second and an evaluation a hundred, by a clock that only they turn."""
    session = make(evaluate_every=0.02)
    now_s = [0.0]
    monkeypatch.setattr(instruments, "time", SimpleNamespace(perf_counter=lambda: now_s[0]))

    def taking(seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
        def slowly(*args: Any) -> Any:
            now_s[0] += seconds
            return function(*args)

        return slowly

    trainer = session._loop.trainer
    monkeypatch.setattr(trainer, "step", taking(1.0, trainer.step))
    monkeypatch.setattr(observer, "evaluate", taking(100.0, observer.evaluate))
    session.run(iterations=6)
    assert session.history.iteration.tolist() == [2, 4, 6]
    assert session.history.elapsed_s.tolist() == [2.0, 4.0, 6.0]
    assert session.history.evaluation_s.tolist() == [100.0, 200.0, 300.0]
    assert session.history.samples_per_s.tolist() == [16.0, 16.0, 16.0]
    assert (session.snapshot.elapsed_s, session.snapshot.evaluation_s) == (6.0, 300.0)


def test_train_loss_is_the_mean_over_learners_and_iterations_since_the_row_before(make: Make) -> None:
    """As somebody who writes down each iteration's losses would calculate it."""
    session, watched = (make(evaluate_every=0.05) for _ in range(2))
    session.run(iterations=20)
    losses = []
    for _ in range(20):
        watched.step()
        losses.append(watched.snapshot.losses)
    before = 0
    for row in session.history.itertuples():
        part = torch.tensor(losses[before : row.iteration], dtype=torch.float64)
        assert row.train_loss == pytest.approx(float(part.mean()), rel=1e-6)
        mine = session.learner_history.query(f"iteration == {row.iteration}")
        assert mine.train_loss.tolist() == pytest.approx(part.mean(0).tolist(), rel=1e-6)
        before = row.iteration


def test_divergence_is_the_mean_distance_to_z(make: Make) -> None:
    """Euclidean, over learners, as the learners' own rows have it."""
    session = make(learners=3).run(iterations=5)
    bank = session._loop.trainer.bank
    expected = (bank.weights[:3] - bank.centre).norm(dim=1)
    assert session.learner_history.distance.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert session.history.divergence.item() == pytest.approx(float(expected.mean()), rel=1e-5)


def test_accuracy_and_loss_are_those_of_z_on_the_test_data(make: Make, blobs: Any) -> None:
    """As plain torch finds them with the central model."""
    session = make(noisy(), blobs, **settings()).run(iterations=5)
    inputs, labels = blobs[1]
    with torch.no_grad():
        outputs = session.central_model()(inputs)
    row = session.history.iloc[-1]
    assert row.test_accuracy == float((outputs.argmax(1) == labels).double().mean())
    assert row.test_loss == pytest.approx(float(nn.functional.cross_entropy(outputs, labels)), rel=1e-5)


def test_regression_has_a_loss_but_no_accuracy(make: Make) -> None:
    """NaN, not nought, and a target of several values works with a named model."""
    inputs = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    targets = inputs @ torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, -1.0]])
    session = make("logreg", ((inputs, targets), (inputs, targets)), loss="mse", batch_size=4)
    session.run(epochs=20)
    assert session.history.test_accuracy.isna().all()
    assert session.history.test_loss.iloc[-1] < 0.05
    assert session.time_to_accuracy(0.5) is None


def test_outputs_that_are_not_one_per_class_have_no_accuracy(make: Make) -> None:
    """One logit for two classes, with a loss of one's own: argmax would be always 0, and mean nothing."""

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(output[:, 0], target.to(output.dtype))

    data = (torch.randn(40, 5), torch.arange(40) % 2)
    session = make(nn.Linear(5, 1), (data, data), loss=loss).run(epochs=1)
    assert session.history.test_accuracy.isna().all()
    assert session.history.test_loss.notna().all()


def test_without_test_data_there_are_rows_all_the_same(make: Make, blobs: Any) -> None:
    """Training loss and divergence are known; the rest is NaN."""
    session = make("logreg", blobs[0]).run(epochs=2)
    assert len(session.history) == 2
    assert session.history.train_loss.notna().all()
    assert session.history.test_loss.isna().all()


def test_evaluations_come_at_positions_that_depend_on_samples_alone(make: Make) -> None:
    """Each multiple of evaluate_every, at the first iteration that passes it, however the run is cut up."""
    whole = make(evaluate_every=0.25).run(epochs=2)
    parts = make(evaluate_every=0.25)
    for _ in range(18):
        parts.run(iterations=10)
    expected = [math.ceil(0.25 * n * 1437 / 16) for n in range(1, 9)]
    assert whole.history.iteration.tolist() == expected
    assert set(expected) <= set(parts.history.iteration)
