"""Sessions on the GPU: the CPU's training, live adjustments, replays, and what goes wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from gpu_support import NEEDS_GPU
from gpu_training import LooksAtValues, images, with_dropout
from torch import nn

from crossbow_lab.averaging import ALGORITHMS, EASGD, SMA, SSGD
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session import Session
from crossbow_lab.session.device_iterations import AT_ONCE
from crossbow_lab.workloads import ArraySplit, DataSet, DatasetSplit, load_dataset

pytestmark = NEEDS_GPU

CHANGES: tuple[dict[str, Any], ...] = (
    {"learners": 5},
    {"batch_size": 7},
    {"learners": 2, "batch_size": 16},
    {"learning_rate": 0.02},
    {"algorithm": SSGD(momentum=0.5)},
    {"algorithm": SMA(momentum=0.5, local_momentum=0.5), "learners": 4},
    {"sync_period": 3},
    {"algorithm": EASGD()},
    {"learners": 3, "batch_size": 4},
)
FAMILY: tuple[dict[str, Any], ...] = tuple({"algorithm": kind()} for kind in ALGORITHMS.values())


def session_on(device: torch.device, executor: str, **settings: Any) -> Session:
    """Open a session on digits with three learners, unless told otherwise."""
    usual = {"model": "digits-cnn", "dataset": "digits", "learners": 3, "batch_size": 8, "learning_rate": 0.05}
    return Session(**{**usual, "executor": executor, "device": str(device), **settings})


def adjusted(session: Session, all_changes: tuple[dict[str, Any], ...] = CHANGES) -> Session:
    """Train and adjust in turns, through every change."""
    session.step(AT_ONCE + 1)
    for changes in all_changes:
        session.adjust(**changes)
        session.step(AT_ONCE + 3)
    return session


def assert_same_model(found: nn.Module, expected: nn.Module, tolerance: float) -> None:
    """All parameters and buffers must be equal to rounding."""
    theirs = found.state_dict()
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(theirs[name].cpu(), tensor.cpu(), rtol=tolerance, atol=tolerance)


def notices(session: Session) -> str:
    """Return what a session has noted of executors."""
    events = session.events
    return "\n".join(events[events["kind"] == "executor"]["detail"])


@pytest.mark.parametrize("executor", ["loop", "fused", "streams"])
def test_a_session_trains_what_it_trains_on_a_cpu(device: torch.device, executor: str) -> None:
    """To rounding in float64, through live adjustments of everything, whichever executor runs."""
    with (
        session_on(device, executor, dtype="float64") as ours,
        session_on(torch.device("cpu"), "loop", dtype="float64") as theirs,
    ):
        adjusted(ours)
        adjusted(theirs)
        assert ours.snapshot.samples == theirs.snapshot.samples
        assert_same_model(ours.central_model(), theirs.central_model(), 1e-8)


@pytest.mark.parametrize("executor", ["loop", "fused", "streams"])
def test_every_algorithm_trains_what_it_trains_on_a_cpu(device: torch.device, executor: str) -> None:
    """Those without a kernel too, whose updates are torch's own operators after the graph; and replays to the bit."""
    with (
        session_on(device, executor, dtype="float64", learning_rate=0.02) as ours,
        session_on(torch.device("cpu"), "loop", dtype="float64", learning_rate=0.02) as theirs,
    ):
        adjusted(ours, FAMILY)
        adjusted(theirs, FAMILY)
        assert_same_model(ours.central_model(), theirs.central_model(), 1e-8)
        fingerprint, recipe = ours.fingerprint(), ours.recipe
    with Session(recipe) as again:
        assert again.run().fingerprint() == fingerprint


@pytest.mark.parametrize("executor", ["fused", "streams"])
def test_no_sample_is_lost_or_seen_twice(device: torch.device, executor: str) -> None:
    """After every adjustment the device stands where the host says it does."""
    with session_on(device, executor) as session:
        expected, session_trainer = 0, session._loop.trainer
        for learners, batch_size in ((3, 8), (6, 8), (6, 3), (1, 20), (3, 8)):
            if session.snapshot.iteration:
                session.adjust(learners=learners, batch_size=batch_size)
            session.step(AT_ONCE + 2)
            expected += (AT_ONCE + 2) * learners * batch_size
            assert session.snapshot.samples == expected
            cursor = session_trainer.iterations._task.supply.cursor  # type: ignore[attr-defined]
            assert cursor.tolist() == [expected, session.snapshot.iteration]


@pytest.mark.parametrize("executor", ["fused", "streams"])
@pytest.mark.parametrize("amp", [False, True])
def test_a_recipe_gives_the_same_bits_again(device: torch.device, executor: str, amp: bool) -> None:
    """The session's own recipe, adjustments included, in float32 and in mixed precision."""
    with session_on(device, executor, amp=amp) as session:
        adjusted(session)
        fingerprint, recipe = session.fingerprint(), session.recipe
    with Session(recipe) as again:
        again.run()
        assert again.snapshot.samples == session.snapshot.samples
        assert again.fingerprint() == fingerprint


@pytest.mark.parametrize("executor", ["fused", "streams"])
def test_adjustments_from_another_thread_replay_to_the_same_bits(device: torch.device, executor: str) -> None:
    """Made while it trains in the background, whenever they came."""
    with session_on(device, executor) as session:
        session.start()
        for learners in (5, 2, 5, 3):
            session.adjust(learners=learners)
            while session.snapshot.requested and session.error is None:
                session.wait(0.01)
        session.stop()
        assert session.error is None
        fingerprint, recipe = session.fingerprint(), session.recipe
    assert [adjustment.changes["learners"] for adjustment in recipe.adjustments] == [5, 2, 5, 3]
    with Session(recipe) as again:
        assert again.run().fingerprint() == fingerprint


def test_a_checkpoint_goes_on_to_the_same_bits(device: torch.device, tmp_path: Any) -> None:
    """In the middle of a burst of iterations."""
    with session_on(device, "fused") as session:
        session.step(AT_ONCE + 3)
        session.checkpoint(tmp_path / "middle.safetensors")
        session.step(AT_ONCE)
        expected = session.fingerprint()
    with Session.restore(tmp_path / "middle.safetensors") as again:
        again.step(AT_ONCE)
        assert again.fingerprint() == expected


def test_data_that_stays_on_the_host_is_the_same_data(device: torch.device) -> None:
    """A map-style Dataset is streamed, and trains what resident data trains."""
    resident = images(2, 6, 6)
    assert isinstance(resident.train, ArraySplit)
    pairs = list(zip(resident.train.inputs, resident.train.targets, strict=True))
    fields = {name: getattr(resident, name) for name in resident.__dataclass_fields__}
    streamed = DataSet(**{**fields, "train": DatasetSplit(pairs, (2, 6, 6), 10)})
    found = []
    for data in (resident, streamed):
        with session_on(device, "fused", model=with_dropout(), dataset=data) as session:
            session.step(30)
            found.append(session.fingerprint())
    assert found[0] == found[1]


@pytest.mark.parametrize("executor", ["fused", "streams"])
@pytest.mark.parametrize("amp", [False, True])
def test_it_learns(device: torch.device, executor: str, amp: bool) -> None:
    """Digits to nine tenths in ten epochs, in mixed precision too."""
    with session_on(device, executor, amp=amp, evaluate_every=10.0) as session:
        session.run(epochs=10)
        assert session.snapshot.test_accuracy > 0.9
        assert "CUDA graph" not in notices(session)


def test_auto_measures_whole_iterations(device: torch.device) -> None:
    """And says what it chose and why."""
    with session_on(device, "auto") as session:
        assert session.recipe.executor in ("fused", "streams")
        assert "ms" in notices(session)
        session.step(3)


def test_a_model_that_can_not_be_captured_trains_without_a_graph(device: torch.device) -> None:
    """It says which operation is in the way, and trains what the loop does."""
    data = images(2, 6, 6)
    found = []
    for executor in ("streams", "loop"):
        with session_on(device, executor, model=LooksAtValues(), dataset=data, dtype="float64") as session:
            session.step(2 * AT_ONCE)
            found.append(session.central_model())
            said = notices(session)
            if executor == "streams":
                assert "LooksAtValues runs without a CUDA graph" in said
                assert "_local_scalar_dense" in said
            else:
                assert "CUDA graph" not in said
    assert_same_model(found[0], found[1], 1e-9)
    # What comes after a capture that failed is captured as ever, on the stream that it should be on.
    assert torch.cuda.current_stream(device) == torch.cuda.default_stream(device)
    with session_on(device, "streams") as session:
        session.step(AT_ONCE)
        assert "CUDA graph" not in notices(session)


@contextmanager
def little_memory(device: torch.device, spare_bytes: int) -> Iterator[None]:
    """Let torch take no more of the device's memory than it has, and a little."""
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info(device)
    allowed_bytes = torch.cuda.memory_reserved(device) + spare_bytes
    torch.cuda.set_per_process_memory_fraction(allowed_bytes / total, torch.cuda.current_device())
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, torch.cuda.current_device())


@pytest.mark.parametrize("executor", ["fused", "streams"])
def test_out_of_memory_while_growing_keeps_the_old_learners_training(device: torch.device, executor: str) -> None:
    """It is refused with a way out, noted, and training goes on as if nobody had asked."""
    data = images(1, 28, 28, n_samples=8_192)
    settings = {"model": "lenet", "dataset": data, "learners": 2, "batch_size": 4}
    with session_on(device, executor, **settings) as plain:
        plain.step(3 * AT_ONCE)
        expected = plain.fingerprint()
    with session_on(device, executor, **settings) as session:
        session.step(AT_ONCE)
        with little_memory(device, 64 << 20):
            with pytest.raises(ConfigurationError, match=r"no memory for 64 learners with batch size 128.*use fewer"):
                session.adjust(learners=64, batch_size=128)
            assert session.snapshot.learners == 2
            session.step(AT_ONCE)
        session.step(AT_ONCE)
        assert session.fingerprint() == expected
        assert "refused" in set(session.events["kind"])
        session.adjust(learners=4)
        session.step(AT_ONCE)
        assert session.snapshot.learners == 4


def test_more_learners_than_the_bank_holds_are_refused(device: torch.device) -> None:
    """With the number that would do."""
    with (
        session_on(device, "fused", max_learners=4) as session,
        pytest.raises(ConfigurationError, match="max_learners=4"),
    ):
        session.adjust(learners=5)


def test_digits_lie_on_the_device(device: torch.device) -> None:
    """Small data is not copied for each batch."""
    with session_on(device, "fused", dataset=load_dataset("digits")) as session:
        supply = session._loop.trainer.iterations._task.supply  # type: ignore[attr-defined]
        assert type(supply).__name__ == "ResidentSupply"
