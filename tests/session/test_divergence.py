"""Losses that stop being finite stop the run, where and with whom it happened, and nothing recorded is lost."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from crossbow_lab.averaging import EASGD, SMA, SSGD
from crossbow_lab.errors import CheckpointError, ConfigurationError, DivergedError
from crossbow_lab.session import Session

Make = Callable[..., Session]


def first_bad(session: Session) -> tuple[int, int]:
    """Train iteration by iteration, looking at every loss; return the iteration and learner that diverge."""
    trainer = session._loop.trainer
    for iteration in range(10_000):
        (losses,) = trainer.step()
        if not torch.isfinite(losses).all():
            return iteration, int((~torch.isfinite(losses)).nonzero()[0])
    raise AssertionError("it didn't diverge")


@pytest.mark.parametrize("algorithm", [SMA(), SMA(sync_period=5, local_momentum=0.9), EASGD(), SSGD()])
@pytest.mark.parametrize("executor", ["loop", pytest.param("fused", marks=pytest.mark.slow)])
def test_divergence_names_iteration_and_learner(make: Make, algorithm: Any, executor: str) -> None:
    """Those that somebody finds who looks at every single loss."""
    options = {"algorithm": algorithm, "executor": executor, "learners": 3, "learning_rate": 1e6}
    iteration, learner = first_bad(make("mlp", **options))
    session = make("mlp", **options)
    with pytest.raises(DivergedError, match=rf"learner {learner} became (nan|inf) in iteration {iteration}\. Try"):
        session.run(epochs=3)
    assert session.state == session.snapshot.state == "failed"
    assert session.error == session.snapshot.error
    assert "a smaller learning rate" in str(session.error)
    assert "DivergedError" in str(session.traceback)
    assert session.events.kind.iloc[-1] == "failed"


def late_bloomer(when: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss that becomes infinite for one learner's batch, at one of its calls."""
    calls = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        calls.append(1) if output.requires_grad else None
        value = functional.cross_entropy(output, target)
        return value * math.inf if len(calls) == when else value

    return loss


@pytest.mark.parametrize("at", [0, 1, 17, 60])
def test_a_single_infinite_loss_is_found_wherever_it_is(make: Make, blobs: Any, at: int) -> None:
    """Learner 2 of 3, once, in the middle: between two looks as well as right before the end."""
    when = 1 + 3 * at + 2 + 1  # one call to try it out, three an iteration, the third of them
    session = make(nn.Linear(5, 3), blobs, loss=late_bloomer(when), learners=3)
    with pytest.raises(DivergedError, match=f"loss of learner 2 became inf in iteration {at}\\."):
        session.run(iterations=61)


def test_everything_recorded_before_is_kept(make: Make, blobs: Any, tmp_path: Path) -> None:
    """History, events, recipe and checkpoint; and no row says NaN."""
    session = make(
        nn.Linear(5, 3), blobs, loss=late_bloomer(1 + 2 * 30 + 1), evaluate_every=0.5, folder=tmp_path / "run"
    )
    with pytest.raises(DivergedError):
        session.run(epochs=50)
    history = session.history
    assert len(history) >= 10
    assert history[["train_loss", "test_loss", "test_accuracy", "divergence"]].notna().all(axis=None)
    assert session.learner_history.notna().all(axis=None)
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert len(lines) == len(history)
    unmeasured = {"noise_scale_learners": None, "noise_scale_probe": None}
    assert all({name: value for name, value in line.items() if value is None} == unmeasured for line in lines)
    restored = Session.restore(
        tmp_path / "run" / "last.safetensors",
        own_model=nn.Linear(5, 3),
        dataset=blobs,
        loss=late_bloomer(0),
    )
    assert restored.run(iterations=40).state == "finished"


def test_a_test_loss_that_is_not_finite_stops_it_too(make: Make, blobs: Any) -> None:
    """The centre can diverge while the last training losses were fine; that is no row of the history."""

    def loss(output: Tensor, target: Tensor) -> Tensor:
        value = functional.cross_entropy(output, target)
        return value if output.requires_grad else value * math.nan

    session = make(nn.Linear(5, 3), blobs, loss=loss)
    with pytest.raises(DivergedError, match="test loss of the central average model is nan after 4 iterations"):
        session.run(iterations=4)
    assert session.history.empty


def test_weights_that_leave_the_numbers_stop_it(make: Make, blobs: Any) -> None:
    """The last iteration's update made them infinite, so no training loss has seen it."""
    session = make(nn.Linear(5, 3), blobs[0], learning_rate=1e38)
    with pytest.raises(DivergedError, match=r"(distance between learner \d|loss of learner \d)"):
        session.run(iterations=2)
    assert session.state == "failed"
    assert session.history.empty


def test_a_failure_in_the_background_ends_the_thread(make: Make) -> None:
    """Waiting ends, the error is readable, and whoever waits for something gets it."""
    session = make("mlp", learning_rate=1e6).start()
    assert session.wait() == "failed"
    assert "became" in str(session.error)
    session.stop()
    assert session.state == "failed"
    with pytest.raises(ConfigurationError, match=r"start\(\) while the session is failed \(the loss of learner .*"):
        session.start()
    with pytest.raises(ConfigurationError, match="make a new one, or restore a checkpoint"):
        session.step()
    assert make(session.recipe).state == "ready"


def test_a_step_that_diverges_raises(make: Make, wait_for: Any) -> None:
    """In this thread as in a paused one."""
    with pytest.raises(DivergedError):
        make("mlp", learning_rate=1e6).step(100)
    session = make("mlp", learning_rate=1e-3).start()
    session.pause()
    wait_for(lambda: session.state == "paused")
    session.adjust(learning_rate=1e6)
    with pytest.raises(DivergedError):
        session.step(100)
    assert session.wait() == "failed"


def test_looking_does_not_hide_a_divergence(make: Make, blobs: Any, tmp_path: Path) -> None:
    """A checkpoint asked for right after an infinite loss: the loss fails the session, whoever reads it."""
    session = make(nn.Linear(5, 3), blobs, loss=late_bloomer(1 + 2 * 20 + 1))
    session.start(iterations=40)
    while session.state == "running":
        session.fingerprint()
    assert session.wait() == "failed"
    assert "in iteration 20." in str(session.error)


def test_a_diverged_session_writes_no_checkpoint(make: Make, tmp_path: Path) -> None:
    """Nobody could go on from one."""
    session = make("mlp", learning_rate=1e6).start()
    session.wait()
    with pytest.raises(CheckpointError, match="training has diverged: nothing could go on"):
        session.checkpoint(tmp_path / "bad")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_users_code_fails_the_session_and_is_kept(make: Make, blobs: Any) -> None:
    """Raised as it is in the foreground, readable in the background; a checkpoint is still possible."""
    calls = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 20:
            raise RuntimeError("out of patience")
        return functional.cross_entropy(output, target)

    session = make(nn.Linear(5, 3), blobs, loss=loss)
    with pytest.raises(RuntimeError, match="out of patience"):
        session.run(epochs=5)
    assert (session.state, session.error) == ("failed", "out of patience")
    assert "in loss" in str(session.traceback)


def test_a_failed_session_can_be_saved_and_goes_on(make: Make, blobs: Any, tmp_path: Path) -> None:
    """What failed was the user's code: z is fine, and a restored session trains on."""
    failing = [False]

    def loss(output: Tensor, target: Tensor) -> Tensor:
        if failing[0]:
            raise RuntimeError("no")
        return functional.cross_entropy(output, target)

    session = make(nn.Linear(5, 3), blobs, loss=loss)
    session.run(iterations=5)
    failing[0] = True
    with pytest.raises(RuntimeError):
        session.run(iterations=1)
    path = session.checkpoint(tmp_path / "saved")
    failing[0] = False
    restored = Session.restore(path, own_model=nn.Linear(5, 3), dataset=blobs, loss=loss)
    assert restored.run(iterations=3).snapshot.iteration == 8
