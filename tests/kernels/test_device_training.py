"""Whole iterations with our kernels, emulated, against the same iterations on torch's own operators."""

import copy
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
from emulated import Emulator
from emulated_training import CPU, assert_same_training, small_images, small_model, trainer_of
from torch import Tensor

from crossbow_lab.averaging import (
    EAMSGD,
    EASGD,
    SMA,
    SSGD,
    DiLoCo,
    Hogwild,
    LocalSGD,
    PairAveraging,
    PolyakRuppert,
    algorithm_name,
)
from crossbow_lab.errors import ConfigurationError, ExecutorError
from crossbow_lab.learners import Batches, Work, admit, make_bank
from crossbow_lab.learners.graph import OnlyCapturable
from crossbow_lab.learners.lanes import HostLane
from crossbow_lab.learners.program import Task, launch_side_by_side, make_learning, run_passes
from crossbow_lab.learners.resident import ResidentSupply, StreamedSupply
from crossbow_lab.learners.update import Rule, rehearse, split_update
from crossbow_lab.session import Session, device_iterations
from crossbow_lab.session.device_iterations import AT_ONCE
from crossbow_lab.session.policies import Cyclic, StepDecay
from crossbow_lab.workloads import DatasetSplit


@pytest.mark.parametrize("executor", ["loop", "fused", "streams"])
@pytest.mark.parametrize(
    "algorithm",
    [SMA(), SMA(local_momentum=0.5, sync_period=3), EASGD(local_momentum=0.3), EASGD(sync_period=12), SSGD()],
)
def test_kernels_train_what_torch_trains(emulated: Emulator, executor: str, algorithm: Any) -> None:
    """With augmentation, dropout, batch norm, weight decay, across the ends of epochs, in bursts of any length."""
    data = small_images(is_varied=True)
    host = trainer_of(data, on_kernels=False, algorithm=algorithm, weight_decay=0.01)
    device = trainer_of(data, on_kernels=True, algorithm=algorithm, weight_decay=0.01)
    device.adjust({"executor": executor})
    expected: list[Tensor] = []
    found: list[Tensor] = []
    for most in (1, 3, 8, 20):
        losses = device.step(most)
        assert losses.shape[0] in (1, AT_ONCE)
        found += losses.clone()
        expected += [host.step()[0].clone() for _ in range(len(losses))]
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=1e-11, atol=1e-12)
    assert_same_training(host, device)


@pytest.mark.parametrize("executor", ["loop", "fused", "streams"])
@pytest.mark.parametrize(
    "algorithm",
    [
        EAMSGD(sync_period=2),
        LocalSGD(sync_period=3, local_momentum=0.5),
        LocalSGD(sync_period=10, local_from_epoch=0.9),
        DiLoCo(sync_period=4),
        PolyakRuppert(),
        PairAveraging(),
        Hogwild(),
    ],
    ids=repr,
)
def test_algorithms_without_a_kernel_train_on_torchs_operators(
    emulated: Emulator, executor: str, algorithm: Any
) -> None:
    """The passes are a program, the update follows it; the learners' own steps in between are the kernel's."""
    data = small_images()
    host = trainer_of(data, on_kernels=False, algorithm=algorithm, weight_decay=0.01, learning_rate=0.02)
    device = trainer_of(data, on_kernels=True, algorithm=algorithm, weight_decay=0.01, learning_rate=0.02)
    device.adjust({"executor": executor})
    notices = [notice for notice in device.iterations.notices if "no kernel" in notice]
    assert [notice.split(" has ")[0] for notice in notices] == [algorithm_name(algorithm)]
    for most in (1, 3, 8, 20):
        done = device.step(most).shape[0]
        for _ in range(done):
            host.step()
    assert_same_training(host, device)
    device.adjust({"algorithm": SMA()})
    host.adjust({"algorithm": SMA()})
    for trainer in (host, device):
        trainer.step()
    assert_same_training(host, device)


@pytest.mark.parametrize("policy", [Cyclic(period=1.0, peak=3.0), StepDecay(every=5, unit="iterations")], ids=repr)
def test_policies_are_followed_in_bursts(emulated: Emulator, policy: Any) -> None:
    """No burst runs past a change of the rate."""
    data = small_images()
    host, device = (trainer_of(data, on_kernels=on, learning_rate_policy=policy) for on in (False, True))
    for trainer in (host, device):
        while trainer.progress.iteration < 24:
            trainer.step(24 - trainer.progress.iteration)
            trainer.follow_schedule()
    assert_same_training(host, device)


@pytest.mark.parametrize("executor", ["fused", "streams"])
def test_live_adjustments_train_what_torch_trains(emulated: Emulator, executor: str) -> None:
    """Learners, batch size, learning rate, algorithm, restarts: at the same iteration, with the same samples."""
    data = small_images()
    host, device = (trainer_of(data, on_kernels=on) for on in (False, True))
    device.adjust({"executor": executor})
    for changes in (
        {"learners": 5},
        {"learners": 2, "batch_size": 7},
        {"learning_rate": 0.03},
        {"algorithm": SSGD(momentum=0.5)},
        {"algorithm": SMA(momentum=0.5, local_momentum=0.6), "learners": 4},
        {"sync_period": 4},
        {"restart": True},
        {"learners": 3, "batch_size": 4},
    ):
        done = 0
        while done < 9:
            done += device.step(9 - done).shape[0]
        for _ in range(9):
            host.step()
        assert_same_training(host, device)
        for trainer in (host, device):
            trainer.adjust(changes)


def test_learning_rate_steps_come_at_the_same_iteration_in_bursts(emulated: Emulator) -> None:
    """No burst runs past a step of the schedule, and averaging restarts after the same synchronisation."""
    data, steps = small_images(), ((1.0, 0.05), (2.5, 0.01))
    host, device = (trainer_of(data, on_kernels=on, learning_rate_steps=steps) for on in (False, True))
    taken: list[list[tuple[int, float]]] = [[], []]
    for trainer, rates in ((host, taken[0]), (device, taken[1])):
        while trainer.progress.iteration < 24:
            trainer.step(24 - trainer.progress.iteration)
            rate = trainer.follow_schedule()
            if rate is not None:
                rates.append((trainer.progress.iteration, rate))
    assert taken[0] == taken[1]
    assert [rate for _, rate in taken[0]] == [0.05, 0.01]
    assert_same_training(host, device)


def test_data_that_stays_on_the_host_is_the_same_data(emulated: Emulator) -> None:
    """A map-style Dataset is streamed, one iteration at a time."""
    resident = small_images()
    pairs = list(zip(resident.train.inputs, resident.train.targets, strict=True))  # type: ignore[union-attr]
    streamed = copy.copy(resident)
    object.__setattr__(streamed, "train", DatasetSplit(pairs, (2, 6, 6), 3))
    trainers = [trainer_of(data, on_kernels=True) for data in (resident, streamed)]
    kinds = [type(trainer.iterations._task.supply) for trainer in trainers]  # type: ignore[attr-defined]
    assert kinds == [ResidentSupply, StreamedSupply]
    for trainer in trainers:
        while trainer.progress.iteration < 11:
            trainer.step(11 - trainer.progress.iteration)
    assert trainers[0].fingerprint() == trainers[1].fingerprint()


def test_a_burst_gives_the_bits_of_single_iterations(emulated: Emulator) -> None:
    """How many iterations one launch runs changes nothing."""
    data = small_images(is_varied=True)
    single, burst = (trainer_of(data, on_kernels=True) for _ in range(2))
    while burst.progress.iteration < 2 * AT_ONCE:
        burst.step(2 * AT_ONCE - burst.progress.iteration)
    for _ in range(2 * AT_ONCE):
        single.step(1)
    assert single.fingerprint() == burst.fingerprint()


def test_going_back_to_a_setting_makes_nothing_new(emulated: Emulator) -> None:
    """Programs are kept, and a live change of the learning rate needs none."""
    trainer = trainer_of(small_images(), on_kernels=True)
    kept = trainer.iterations._programs  # type: ignore[attr-defined]
    trainer.prepare_step(trainer.setting)
    counts = []
    for changes in ({"learning_rate": 0.01}, {"learners": 4}, {"learners": 3}, {"learning_rate": 0.02}):
        before = set(kept.values())
        trainer.adjust(changes)
        trainer.step()
        trainer.step(AT_ONCE)
        counts.append(len(set(kept.values()) - before))
    assert counts == [0, 2, 0, 0]


def test_distances_come_out_of_the_update(emulated: Emulator) -> None:
    """Those before the last iteration's update, to rounding."""
    trainer = trainer_of(small_images(), on_kernels=True, executor="fused")
    for _ in range(3):
        before = trainer.distances().clone()
        trainer.step()
    recent = trainer.distances(is_recent_enough=True)
    torch.testing.assert_close(recent, before, rtol=1e-12, atol=0)
    assert not torch.allclose(trainer.distances(), before)


@pytest.mark.parametrize("executor", ["fused", "streams"])
@pytest.mark.parametrize("amp", [False, True])
def test_nothing_in_an_iteration_waits_for_the_device(emulated: Emulator, executor: str, amp: bool) -> None:
    """Batches, passes with dropout and batch norm, and updates launch only what a CUDA graph can hold."""
    dtype = "float32" if amp else "float64"
    trainer = trainer_of(small_images(is_varied=True), on_kernels=True, executor=executor, dtype=dtype, amp=amp)
    trainer.step(AT_ONCE)
    program = trainer.iterations._last  # type: ignore[attr-defined]
    before = trainer.fingerprint()
    with OnlyCapturable():
        program.run()
    assert trainer.fingerprint() != before
    assert program.losses.isfinite().all()


def test_measuring_executors_leaves_no_trace(emulated: Emulator) -> None:
    """Auto measures whole iterations; training then starts as if it hadn't."""
    plain, measured = (trainer_of(small_images(), on_kernels=True, executor="fused") for _ in range(2))
    choice = measured.choose()
    assert choice.executor in ("fused", "streams")
    assert "ms" in choice.reason
    for trainer in (plain, measured):
        for _ in range(3):
            trainer.step()
    assert plain.fingerprint() == measured.fingerprint()


def test_streams_need_kernels() -> None:
    """On a device without them the executor says what to use."""
    with pytest.raises(ExecutorError, match="use 'fused' or 'loop'"):
        Session("mlp", "digits", executor="streams")


def test_without_memory_for_more_learners_training_goes_on(emulated: Emulator, monkeypatch: Any) -> None:
    """The old number of learners stays, and the message says what was too much."""
    trainer, plain = (trainer_of(small_images(), on_kernels=True, executor="fused") for _ in range(2))
    with monkeypatch.context() as patch:

        def fail(*args: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nand more")

        patch.setattr(device_iterations, "make_program", fail)
        with pytest.raises(ConfigurationError, match=r"no memory for 5 learners with batch size 4 \(CUDA out"):
            trainer.adjust({"learners": 5})
    for each in (trainer, plain):
        assert each.setting.learners == 3
        each.step()
    assert trainer.fingerprint() == plain.fingerprint()
    trainer.adjust({"learners": 5})
    assert trainer.step().shape[1] == 5


@pytest.mark.parametrize("executor", ["fused", "streams"])
def test_what_precedes_a_capture_leaves_no_trace(emulated: Emulator, executor: str) -> None:
    """Passes and kernels are rehearsed on the real model, and training then starts as if they hadn't been."""
    plain, rehearsed = (trainer_of(small_images(), on_kernels=True, executor=executor) for _ in range(2))
    task = rehearsed.iterations._task  # type: ignore[attr-defined]
    learning = make_learning(task.work, executor, 3, 4, rehearsed.batches.take(0, 1))
    task.supply.begin(0, 0, 12)
    run_passes(task, learning, [HostLane(), HostLane()])
    assert learning.losses.isfinite().all()
    assert learning.losses.all()
    for name in ("sma", "easgd", "sgd"):
        for has_local_momentum in (False, True):
            rule = Rule(name, has_local_momentum)
            rehearse(task.work.bank, rule, 3, has_norms=name != "sgd", is_split=executor == "streams")
    for trainer in (plain, rehearsed):
        trainer.step()
    assert_same_training(plain, rehearsed)
    assert plain.fingerprint() == rehearsed.fingerprint()


class DeferredLane:
    """A lane whose work is done later, in any order that lanes and marks allow."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue: deque[Callable[[], bool]] = deque()
        self.given = self.done = 0

    def do(self, work: Callable[[], None]) -> None:
        """Queue work."""

        def run() -> bool:
            work()
            return True

        self.queue.append(run)
        self.given += 1

    def mark(self) -> Callable[[], bool]:
        """Return what tells whether all that was queued until now is done."""
        wanted = self.given
        return lambda: self.done >= wanted

    def wait(self, mark: Any) -> None:
        """Queue a wait; None is the mark of a lane that is never behind."""
        self.queue.append(mark if mark is not None else lambda: True)
        self.given += 1

    def try_next(self) -> None:
        """Do the first thing in the queue, if it may be done yet."""
        if self.queue and self.queue[0]():
            self.queue.popleft()
            self.done += 1


def test_any_order_that_the_events_allow_gives_the_same_bits(emulated: Emulator) -> None:
    """One lane at a random time, and one always last: only marks may order learners and averaging."""
    found = {_train_side_by_side(order) for order in (None, *range(12))}
    assert len(found) == 1


def _train_side_by_side(order: int | None) -> bytes:
    """Train four iterations with three learners on two lanes, done at once (None) or in a random order; return z."""
    data, model = small_images(), small_model().double().train()
    bank = make_bank(model, max_learners=3)
    admit(bank, 0, 3, model, local_momentum=False)
    work = Work(model, bank, "cross_entropy", 0, has_dropout=True)
    supply = ResidentSupply(data, 0, augment=False, device=CPU, dtype=torch.float64)
    supply.begin(0, 0, 4 * 3 * 4)
    batches = Batches(data, 0, augment=False, device=CPU, dtype=torch.float64)
    learning = make_learning(work, "streams", 3, 4, batches.take(0, 1))
    scalars = torch.tensor([0.1, 1 / 3, 0.9, 0, 0, 0, 0, 0], dtype=torch.float64)
    update = split_update(bank, Rule("sma", has_local_momentum=False), 3, scalars)
    losses = torch.zeros(4, 3, dtype=torch.float64)
    task = Task(work, supply, scalars)
    if order is None:
        launch_side_by_side(task, learning, update, losses, HostLane(), [HostLane()], HostLane())
    else:
        lanes = [DeferredLane(name) for name in ("main", "first", "second", "averaging")]
        launch_side_by_side(task, learning, update, losses, lanes[0], lanes[1:3], lanes[3])
        chance = random.Random(order)  # noqa: S311  (any order will do)
        slow = lanes[order % 4]
        while any(lane.queue for lane in lanes):
            before = sum(lane.done for lane in lanes)
            for lane in chance.sample(lanes, 4):
                if lane is not slow and chance.random() < 0.5:
                    lane.try_next()
            if before == sum(lane.done for lane in lanes):
                slow.try_next()
    return losses.numpy().tobytes() + bank.centre.numpy().tobytes() + bank.weights.numpy().tobytes()
