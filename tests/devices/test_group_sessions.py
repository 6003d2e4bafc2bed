"""A session on two devices: one device's trajectory, the same bits again, and steered like any other."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models_of_two import SAMPLES, Small, blobs
from torch import Tensor

from crossbow_lab.averaging import EASGD, SMA, SSGD, Algorithm, LocalSGD
from crossbow_lab.errors import ConfigurationError, DeviceLost, ExecutorError
from crossbow_lab.session import Recipe, Session
from crossbow_lab.session.group import together
from crossbow_lab.session.group.updates import overlap
from crossbow_lab.tuning import Window

TWO = ["cpu", "cpu"]
MakeTwo = Callable[..., Session]
DOUBLE: dict[str, Any] = {
    "batch_size": 4,
    "learning_rate": 0.1,
    "dtype": "float64",
    "executor": "loop",
    "threads": 1,
    "learning_rate_steps": ((0.9, 0.04),),
    "weight_decay": 1e-3,
}


@pytest.fixture(scope="module")
def two() -> Iterator[Session]:
    """Give a session on two devices in double precision; reset it for each use, which keeps its processes."""
    with Session(Small(), blobs(), learners=2, devices=TWO, **DOUBLE) as session:
        yield session


@pytest.fixture(scope="module")
def one() -> Iterator[Session]:
    """Give its like on one device, with as many learners in all."""
    with Session(Small(), blobs(), learners=4, **DOUBLE) as session:
        yield session


def centre(session: Session) -> Tensor:
    """Return z."""
    return session._loop.trainer.bank.centre


def distance(one: Session, two: Session) -> float:
    """Return the largest difference between the two sessions' z."""
    return float((centre(one) - centre(two)).abs().max())


@pytest.mark.parametrize(
    "algorithm",
    [
        SMA(),
        SMA(sync_period=3, local_momentum=0.5),
        SMA(alpha=0.2, restart="copy_on_lr_change"),
        EASGD(),
        EASGD(sync_period=3, local_momentum=0.3),
        SSGD(momentum=0.5),
    ],
)
def test_two_devices_of_two_learners_train_as_one_of_four(one: Session, two: Session, algorithm: Algorithm) -> None:
    """Through changes of learners and batch size, a step of the learning rate and its restart; to rounding."""
    moved = []
    for session, factor in ((one, 2), (two, 1)):
        session.reset()
        before = centre(session).clone()
        session.adjust(algorithm=algorithm)
        session.run(iterations=5)
        session.adjust(learners=3 * factor)
        session.run(iterations=4)
        session.adjust(learners=1 * factor, batch_size=9)
        session.run(iterations=5)
        session.adjust(learners=2 * factor, batch_size=3)
        session.run(iterations=6)
        moved.append(float((centre(session) - before).abs().max()))
    assert one.snapshot.samples == two.snapshot.samples > SAMPLES  # so the rate has stepped
    assert min(moved) > 0.05
    if isinstance(algorithm, SSGD):  # whose replicas draw other dropout where there are two
        assert distance(one, two) < 0.5
        return
    assert distance(one, two) < 1e-10
    assert two.snapshot.losses == pytest.approx(one.snapshot.losses, rel=1e-10)
    assert two.snapshot.distances == pytest.approx(one.snapshot.distances, rel=1e-8)
    rows = ["train_loss", "test_loss", "test_accuracy", "divergence"]
    assert two.history[rows].to_numpy() == pytest.approx(one.history[rows].to_numpy(), rel=1e-8)
    assert two.learner_history.to_numpy() == pytest.approx(one.learner_history.to_numpy(), rel=1e-8)


def test_ssgd_without_dropout_is_the_same_on_two_devices(make_two: MakeTwo) -> None:
    """Each device's replica has half of the aggregate batch, and their mean gradient is the whole's."""
    settings: dict[str, Any] = {"algorithm": SSGD(momentum=0.5), "dtype": "float64"}
    two = make_two(**settings).run(iterations=30)
    with Session("logreg", learners=4, batch_size=8, executor="loop", threads=1, **settings) as one:
        one.run(iterations=30)
        assert distance(one, two) < 1e-10
    assert two.snapshot.distances == (0.0, 0.0)


def test_the_same_recipe_gives_the_same_bits(two: Session, make_two: MakeTwo) -> None:
    """Live adjustments in the background included, in new processes, and by way of JSON."""
    two.reset().start()
    for changes in ({"learners": 3}, {"sync_period": 2, "batch_size": 2}, {"learning_rate": 0.02}, {"restart": True}):
        two.pause()
        two.step(7)
        two.adjust(**changes)
        two.resume()
    two.stop()
    recipe = Recipe.from_json(two.recipe.to_json())
    assert recipe == two.recipe
    assert recipe.devices == ("cpu", "cpu")
    assert [set(adjustment.changes) for adjustment in recipe.adjustments][:2] == [
        {"learners"},
        {"sync_period", "batch_size"},
    ]
    with Session(recipe, own_model=Small(), dataset=blobs()) as again:
        assert again.run().fingerprint() == two.fingerprint()
        assert again.recipe == recipe


def test_sums_beside_the_passes_give_the_same_bits_as_after_them(two: Session) -> None:
    """Corrections need nothing that the iteration computes."""
    found = []
    for on in (True, False):
        two.reset()
        overlap(two._loop.trainer, on=on)
        found.append(two.run(iterations=9).fingerprint())
    overlap(two._loop.trainer, on=True)
    assert found[0] == found[1]


def test_one_vector_is_summed_in_each_synchronisation_whatever_the_learners(two: Session) -> None:
    """Of the model's size, padding included."""
    group = two.reset()._loop.trainer.together.group
    assert group is not None
    sent = []
    for learners in (1, 5):
        two.adjust(learners=learners)
        before = group.bytes_reduced
        two.run(iterations=4)
        sent.append(group.bytes_reduced - before)
    assert sent == [4 * centre(two).nbytes] * 2
    two.adjust(sync_period=4)
    before = group.bytes_reduced
    two.run(iterations=8)
    assert group.bytes_reduced - before == 2 * centre(two).nbytes


def test_a_checkpoint_holds_all_devices_learners(two: Session, tmp_path: Path) -> None:
    """Restoring goes on to the same bits: adjusted, between synchronisations, with local momentum and batch norm."""
    own: dict[str, Any] = {"own_model": Small(normalises=True), "dataset": blobs()}
    algorithm = SMA(sync_period=3, local_momentum=0.5)
    with Session(Small(normalises=True), blobs(), learners=1, devices=TWO, algorithm=algorithm, **DOUBLE) as first:
        first.run(iterations=4)
        first.adjust(learners=2)
        first.run(iterations=4)
        path = first.checkpoint(tmp_path / "one.safetensors")
        buffers = {name: buffer.clone() for name, buffer in first.central_model().named_buffers()}
        first.run(iterations=7)
        with Session.restore(path, **own) as second:
            assert all(torch.equal(buffers[name], found) for name, found in second.central_model().named_buffers())
            assert second.snapshot.losses == pytest.approx([float("nan")] * 4, nan_ok=True)
            assert second.run(iterations=7).fingerprint() == first.fingerprint()
            numbers = ["iteration", "train_loss", "test_loss", "test_accuracy", "divergence"]
            assert second.history[numbers].equals(first.history[numbers])


def test_history_and_snapshot_tell_of_devices(two: Session) -> None:
    """Learners per device, throughput in all and of each, and every learner of every device."""
    two.reset().run(iterations=20)
    row = two.history.iloc[-1]
    assert (row.devices, row.learners) == (2, 2)
    assert row.samples_per_s_per_device == row.samples_per_s / 2 > 0
    now = two.snapshot
    assert (now.devices, now.learners, len(now.losses), len(now.distances)) == (2, 2, 4, 4)
    assert set(two.learner_history.learner) == {0, 1, 2, 3}
    assert "2 devices x 2 learners x 4" in repr(two)


def test_a_refused_adjustment_changes_no_device(two: Session) -> None:
    """Refused at the border, or by what only one device finds out."""
    two.reset().run(iterations=3)
    with pytest.raises(ConfigurationError, match="samples an iteration, but"):
        two.adjust(learners=13)  # 2 x 13 x 4 is more than there are
    with pytest.raises(ConfigurationError, match="local SGD runs on one device only; on 2 devices use one of SMA"):
        two.adjust(algorithm=LocalSGD())
    with pytest.raises(ExecutorError, match="streams"):
        two.adjust(executor="streams")
    assert two.run(iterations=3).snapshot.iteration == 6


def test_the_auto_tuner_decides_once_for_all_devices(two: Session) -> None:
    """What it settles on is the number of learners of each."""
    two.reset().auto_tuner.start(window=Window(seconds=0.0, warm_up_s=0.0, iterations=2), most=3)
    two.run(iterations=60)
    assert two.auto_tuner.status.startswith("settled on")
    assert len(two.snapshot.losses) == 2 * two.snapshot.learners


def test_auto_chooses_on_rank_0_and_divides_the_cores(make_two: MakeTwo) -> None:
    """And writes both into the recipe."""
    session = make_two(executor="auto", threads=None)
    assert session.recipe.executor in ("loop", "fused")
    assert session.recipe.threads == 1
    session.run(iterations=2)


@pytest.mark.parametrize("name", ["timeline", "gradient_noise"])
def test_instruments_of_one_device_are_refused(two: Session, name: str) -> None:
    """Rather than showing a part for the whole."""
    with pytest.raises(ConfigurationError, match="works on one device, not on 2"):
        getattr(two, name).start()


def test_another_z_is_noticed(make_two: MakeTwo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that differs in one bit fails the session at the next comparison."""
    session = make_two(evaluate_every=1e9)
    session.run(iterations=3)
    session._loop.trainer.bank.centre[0] += 1e-6
    with pytest.raises(DeviceLost, match="copies of z are no longer the same: rank 1 has another one"):
        session.run(iterations=together.CHECK_EVERY)
    assert session.state == "failed"
