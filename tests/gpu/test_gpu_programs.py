"""Whole iterations as CUDA graphs: the same bits as their launches, the same training in every executor, and order."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from gpu_support import NEEDS_GPU, bits, wait
from gpu_training import (
    assert_same_training,
    data_for,
    images,
    programs_of,
    state_of,
    train,
    trainer_of,
    with_dropout,
    without_graphs,
)
from torch import Tensor

from crossbow_lab.averaging import EASGD, SMA, SSGD
from crossbow_lab.kernels.averaging import make_scalars, write_scalars
from crossbow_lab.learners import Batches, Work, admit, make_bank
from crossbow_lab.learners.lanes import CudaLane, make_lanes
from crossbow_lab.learners.program import Task, launch_side_by_side, make_learning, make_program
from crossbow_lab.learners.resident import ResidentSupply
from crossbow_lab.learners.update import Rule, SplitUpdate, split_update
from crossbow_lab.learners.work import Learning
from crossbow_lab.session.device_iterations import AT_ONCE

pytestmark = [*NEEDS_GPU, pytest.mark.usefixtures("exactly")]

MODELS = ("digits-cnn", "lenet", "resnet-8")
SLEEP_CYCLES = 100_000_000  # fifty milliseconds or so: longer than the host takes to launch an iteration


@pytest.mark.parametrize("model", MODELS)
def test_executors_train_alike(device: torch.device, model: str) -> None:
    """Learners on streams = fused = loop to rounding, in float64, after several bursts; and both of them are graphs."""
    data = data_for(model)
    loop, fused, streams = (trainer_of(model, data, device, executor) for executor in ("loop", "fused", "streams"))
    for trainer in (loop, fused, streams):
        train(trainer, AT_ONCE + 3)
    for trainer in (fused, streams):
        assert [program.note for program in programs_of(trainer)] == [""] * len(list(programs_of(trainer)))
        assert_same_training(loop, trainer, 1e-10)


@pytest.mark.parametrize("executor", ["fused", "streams"])
@pytest.mark.parametrize("algorithm", [SMA(local_momentum=0.5, sync_period=3), EASGD(), SSGD()], ids=str)
def test_algorithms_train_alike(device: torch.device, executor: str, algorithm: Any) -> None:
    """With dropout, batch norm, augmentation and weight decay, as the loop does."""
    data = images(2, 6, 6, is_varied=True)
    settings = {"algorithm": algorithm, "weight_decay": 0.01}
    loop, other = (trainer_of(with_dropout(), data, device, name, **settings) for name in ("loop", executor))
    expected, found = (train(trainer, 2 * AT_ONCE) for trainer in (loop, other))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert_same_training(loop, other, 1e-9)
    assert not any(program.note for program in programs_of(other))


@pytest.mark.parametrize("executor", ["fused", "streams"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model", MODELS)
def test_a_replay_gives_the_bits_of_its_launches(
    device: torch.device, model: str, dtype: str, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One iteration to a graph, and several."""
    data = data_for(model)
    replayed = trainer_of(model, data, device, executor, dtype=dtype)
    losses = [train(replayed, 1), train(replayed, 2 * AT_ONCE)]
    without_graphs(monkeypatch)
    launched = trainer_of(model, data, device, executor, dtype=dtype)
    assert bits(*losses) == bits(train(launched, 1), train(launched, 2 * AT_ONCE))
    assert bits(*state_of(replayed).values()) == bits(*state_of(launched).values())


@pytest.mark.parametrize("executor", ["fused", "streams"])
def test_a_burst_gives_the_bits_of_single_iterations(device: torch.device, executor: str) -> None:
    """How many iterations one replay runs changes nothing."""
    data = data_for("digits-cnn")
    single, burst = (trainer_of("digits-cnn", data, device, executor, dtype="float32") for _ in range(2))
    for _ in range(2 * AT_ONCE):
        single.step(1)
    assert burst.step(AT_ONCE).shape[0] > 1
    train(burst, AT_ONCE)
    assert bits(*state_of(single).values()) == bits(*state_of(burst).values())


@pytest.mark.parametrize("executor", ["fused", "streams"])
def test_mixed_precision_is_captured_and_trains_alike(device: torch.device, executor: str) -> None:
    """Near the loop's losses, to what bfloat16 rounds."""
    data = data_for("digits-cnn")
    settings = {"dtype": "float32", "amp": True}
    loop, other = (trainer_of("digits-cnn", data, device, name, **settings) for name in ("loop", executor))
    torch.testing.assert_close(train(other, 10), train(loop, 10), rtol=0.05, atol=0.05)
    assert not any(program.note for program in programs_of(other))


def test_the_memory_behind_a_graph_is_not_given_away(device: torch.device) -> None:
    """A graph knows addresses only: what is allocated after a capture must not lie where the graph writes."""
    data = data_for("digits-cnn")
    for executor in ("fused", "streams"):
        alone, crowded = (trainer_of("digits-cnn", data, device, executor) for _ in range(2))
        train(alone, 3 * AT_ONCE)
        train(crowded, AT_ONCE)
        taken = []
        for size in (1 << 10, 1 << 14, 1 << 18, 1 << 20, 1 << 22):
            taken += [torch.full((size,), 7, dtype=torch.uint8, device=device) for _ in range(32)]
        train(crowded, 2 * AT_ONCE)
        assert bits(*state_of(crowded).values()) == bits(*state_of(alone).values()), executor
        assert all(bool((tensor == 7).all()) for tensor in taken), executor


def test_many_settings_later_a_graph_still_trains_as_it_did(device: torch.device) -> None:
    """More settings are visited than are kept, one of them again and again."""
    data = data_for("digits-cnn")
    fused, loop = (trainer_of("digits-cnn", data, device, name) for name in ("fused", "loop"))
    for batch_size in range(5, 22):
        for changes in ({"batch_size": batch_size}, {"batch_size": 4}):
            for trainer in (fused, loop):
                train(trainer, 1)
                trainer.adjust(changes)
    for trainer in (fused, loop):
        train(trainer, AT_ONCE)
    assert_same_training(loop, fused, 1e-9)


def test_new_settings_are_seen_without_a_new_capture(device: torch.device) -> None:
    """Learning rate and such are read from the device's memory."""
    data = data_for("digits-cnn")
    fused, loop = (trainer_of("digits-cnn", data, device, name) for name in ("fused", "loop"))
    seen: list[set[int]] = []
    for rate in (0.05, 0.2, 0.01):
        for trainer in (fused, loop):
            trainer.adjust({"learning_rate": rate})
            train(trainer, AT_ONCE + 1)
        seen.append({id(program) for program in programs_of(fused)})
    assert seen == [seen[0]] * 3
    assert_same_training(loop, fused, 1e-9)


@pytest.mark.parametrize("executor", ["fused", "streams"])
def test_the_host_never_waits_inside_the_loop(device: torch.device, executor: str) -> None:
    """No operator of an iteration, in the middle of an epoch or at its end, synchronises."""
    trainer = trainer_of(with_dropout(), images(2, 6, 6, is_varied=True), device, executor)
    train(trainer, 2 * AT_ONCE + 1)
    wait(device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for most in (1, AT_ONCE, AT_ONCE, AT_ONCE, 1):
            trainer.step(most)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    wait(device)


# ---- order comes from events --------------------------------------------------------------------------------------


class Deaf(CudaLane):
    """A lane that waits for nothing."""

    def wait(self, mark: torch.cuda.Event) -> None:
        """Go on at once."""


def pieces(device: torch.device) -> tuple[Task, Learning, SplitUpdate]:
    """Return three learners with a lane for each, ready to train four iterations."""
    data = images(2, 6, 6)
    model = with_dropout().to(device, torch.float64).train()
    bank = make_bank(model, max_learners=3)
    admit(bank, 0, 3, model, local_momentum=False)
    supply = ResidentSupply(data, 0, augment=False, device=device, dtype=torch.float64)
    supply.begin(0, 0, 4 * 3 * 4)
    batches = Batches(data, 0, augment=False, device=device, dtype=torch.float64)
    work = Work(model, bank, "cross_entropy", 0, has_dropout=True)
    learning = make_learning(work, "streams", 3, 4, batches.take(0, 1))
    scalars = make_scalars(bank.weights)
    write_scalars(scalars, learning_rate=0.1, alpha=1 / 3, momentum=0.9)
    update = split_update(bank, Rule("sma", has_local_momentum=False), 3, scalars)
    return Task(work, supply, scalars), learning, update


def slowly(work: Callable[..., None]) -> Callable[..., None]:
    """Return work that the device begins late."""

    def late(*arguments: Any) -> None:
        torch.cuda._sleep(SLEEP_CYCLES)
        work(*arguments)

    return late


def with_slow_learner(learning: Learning, slow: int) -> Learning:
    """Return the same passes, one learner's late."""
    return replace(learning, parts=tuple(slowly(part) if j == slow else part for j, part in enumerate(learning.parts)))


def trained(
    device: torch.device, *, slow: int | None, slow_average: bool = False, lane: Callable[..., Any] = CudaLane
) -> str:
    """Launch four iterations on lanes; return the bits of all that they leave."""
    task, learning, update = pieces(device)
    if slow is not None:
        learning = with_slow_learner(learning, slow)
    if slow_average and update.average is not None:
        update = replace(update, average=slowly(update.average))
    losses = torch.zeros(4, 3, dtype=torch.float64, device=device)
    wait(device)
    lanes = [lane(torch.cuda.Stream(device)) for _ in range(3)]
    (averaging,) = make_lanes(device, 1)
    main = CudaLane(torch.cuda.current_stream(device))
    launch_side_by_side(task, learning, update, losses, main, lanes, averaging)
    at_end = losses.clone()  # on the main lane, which must have waited for all others
    wait(device)
    return bits(at_end, task.work.bank.weights, task.work.bank.centre, task.supply.cursor)


def test_a_slow_learner_changes_nothing(device: torch.device) -> None:
    """Whoever is late, the bits are the same: learners, averaging and the end wait for what they need."""
    expected = trained(device, slow=None)
    for slow in range(3):
        assert trained(device, slow=slow) == expected, f"learner {slow} was slow"
    assert trained(device, slow=None, slow_average=True) == expected, "averaging was slow"
    assert trained(device, slow=1, slow_average=True) == expected, "both were slow"


def test_without_events_a_slow_average_would_be_overtaken(device: torch.device) -> None:
    """So the test above can fail: lanes that don't wait train something else."""
    trained(device, slow=None)  # everything is compiled and loaded
    assert trained(device, slow=None, slow_average=True, lane=Deaf) != trained(device, slow=None)


def test_a_slow_learner_changes_nothing_in_a_graph(device: torch.device) -> None:
    """The graph's branches are ordered by the same events."""
    found = {}
    for slow in (None, 0, 2):
        task, learning, _ = pieces(device)
        if slow is not None:
            learning = with_slow_learner(learning, slow)
        program = make_program(task, "streams", learning, Rule("sma", has_local_momentum=False), 4)
        assert program.note == ""
        program.run()
        found[slow] = bits(program.losses, task.work.bank.weights, task.work.bank.centre)
    assert found[0] == found[None]
    assert found[2] == found[None]
    assert found[None] == _eagerly(device)


def _eagerly(device: torch.device) -> str:
    """Return the bits of the same four iterations, launched without a graph."""
    task, learning, update = pieces(device)
    losses = torch.zeros(4, 3, dtype=torch.float64, device=device)
    main, *lanes, averaging = (CudaLane(torch.cuda.current_stream(device)), *make_lanes(device, 4))
    launch_side_by_side(task, learning, update, losses, main, lanes, averaging)
    return bits(losses, task.work.bank.weights, task.work.bank.centre)


def test_learners_on_lanes_run_at_the_same_time(device: torch.device) -> None:
    """Three learners that each begin late take little longer than one does: in a graph they are parallel branches."""

    def milliseconds(late: tuple[int, ...]) -> float:
        task, learning, _ = pieces(device)
        for slow in late:
            learning = with_slow_learner(learning, slow)
        program = make_program(task, "streams", learning, Rule("sma", has_local_momentum=False), 4)
        program.run()
        begun, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begun.record()
        program.run()
        ended.record()
        ended.synchronize()
        return float(begun.elapsed_time(ended))

    assert milliseconds((0, 1, 2)) < 1.5 * milliseconds((0,))


def test_losses_are_those_of_every_iteration(device: torch.device) -> None:
    """In order, one row each."""
    task, learning, _ = pieces(device)
    program = make_program(task, "streams", learning, Rule("sgd", has_local_momentum=False), 4)
    program.run()
    losses: Tensor = program.losses.cpu()
    assert losses.shape == (4, 3)
    assert bool(torch.isfinite(losses).all())
    assert len(losses.unique()) > 6
