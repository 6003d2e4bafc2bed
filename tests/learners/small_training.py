"""Small data, and the shortest way to train on it with one executor: what a session does, without the session."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from crossbow_lab.averaging import sma_step
from crossbow_lab.learners import (
    Bank,
    Batches,
    Loss,
    Step,
    Work,
    admit,
    draws_random_numbers,
    make_bank,
    make_step,
)
from crossbow_lab.workloads import ArraySplit, Augmentation, DataSet

CPU = torch.device("cpu")
N_SAMPLES = 30
N_CLASSES = 4


def images(*shape: int, augmented: bool = False, n_samples: int = N_SAMPLES) -> DataSet:
    """Give random images as bytes, such as CIFAR's, always the same."""
    generator = torch.Generator().manual_seed(0)
    return DataSet(
        name="small images",
        train=ArraySplit(
            torch.randint(0, 256, (n_samples, *shape), dtype=torch.uint8, generator=generator),
            torch.randint(0, N_CLASSES, (n_samples,), generator=generator),
        ),
        test=None,
        input_shape=shape,
        n_classes=N_CLASSES,
        scale=tuple(1 / (100 + channel) for channel in range(shape[0])),
        shift=tuple(-1.2 + channel / 10 for channel in range(shape[0])),
        augmentation=Augmentation(pad=2, flip=True) if augmented else None,
        fingerprint="",
        is_named=False,
    )


def points(*target_shape: int) -> DataSet:
    """Give random points of three coordinates with real targets of some shape, always the same."""
    generator = torch.Generator().manual_seed(0)
    return DataSet(
        name="small points",
        train=ArraySplit(
            torch.randn(N_SAMPLES, 3, generator=generator),
            torch.randn(N_SAMPLES, *target_shape, generator=generator),
        ),
        test=None,
        input_shape=(3,),
        n_classes=None,
        scale=(1.0,),
        shift=(0.0,),
        augmentation=None,
        fingerprint="",
        is_named=False,
    )


@dataclass(frozen=True)
class Learners:
    """Learners ready to train with one executor."""

    work: Work
    batches: Batches
    step: Step
    n_learners: int
    batch_size: int

    @property
    def bank(self) -> Bank:
        """Where they live."""
        return self.work.bank

    def gradients(self, iteration: int) -> Tensor:
        """Compute the gradients of one iteration; return the losses (k,), a copy."""
        aggregate = self.n_learners * self.batch_size
        return self.step(*self.batches.take(iteration * aggregate, aggregate), iteration).clone()

    def iterate(self, iteration: int) -> Tensor:
        """Train one iteration with SMA; return the losses (k,), a copy."""
        losses, bank = self.gradients(iteration), self.bank
        sma_step(
            bank.weights[: self.n_learners],
            bank.gradients[: self.n_learners],
            bank.centre,
            bank.centre_velocity,
            learning_rate=0.01,
            alpha=1 / (self.n_learners + 1),
            momentum=0.9,
        )
        return losses


def prepared(
    model: nn.Module,
    data: DataSet,
    executor: str,
    *,
    n_learners: int = 2,
    batch_size: int = 3,
    loss: Loss = "cross_entropy",
    augment: bool = False,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Learners:
    """Make learners that start at the model's weights, in float64 unless told otherwise."""
    model = copy.deepcopy(model).to(dtype).train()
    bank = make_bank(model, max_learners=n_learners)
    batches = Batches(data, seed, augment=augment, device=CPU, dtype=dtype)
    example, _ = batches.take(0, 2)
    has_dropout = draws_random_numbers(model, example)
    admit(bank, 0, n_learners, model, local_momentum=False)
    work = Work(model, bank, loss, seed, has_dropout)
    step = make_step(work, executor, n_learners, batch_size, *batches.take(0, n_learners * batch_size))
    return Learners(work, batches, step, n_learners, batch_size)


def assert_executors_agree(
    model: nn.Module, data: DataSet, *, iterations: int = 20, atol: float = 1e-10, **settings: object
) -> None:
    """Train some iterations with ``loop`` and with ``fused``; all that they leave must be equal to ``atol``."""
    loop = prepared(model, data, "loop", **settings)
    fused = prepared(model, data, "fused", **settings)
    start = loop.bank.centre.clone()

    losses = [torch.stack([learners.iterate(i) for i in range(iterations)]) for learners in (loop, fused)]

    pairs = {"losses": losses}
    for name in ("weights", "gradients", "centre", "centre_velocity"):
        pairs[name] = [getattr(learners.bank, name) for learners in (loop, fused)]
    for name in loop.bank.buffers:
        pairs[name] = [learners.bank.buffers[name] for learners in (loop, fused)]
    for name, (expected, found) in pairs.items():
        torch.testing.assert_close(found, expected, rtol=0, atol=atol, msg=lambda text, of=name: f"{of}: {text}")
    assert not torch.equal(loop.bank.centre, start), "nothing was trained"
