"""Small trainings on the GPU: models, data that is always the same, and trainers with any executor."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from crossbow_lab.random import random_bits
from crossbow_lab.session import Recipe
from crossbow_lab.session.build import Own, build
from crossbow_lab.session.trainer import Trainer
from crossbow_lab.workloads import ArraySplit, Augmentation, DataSet, load_dataset

N_SAMPLES = 120


def images(*shape: int, n_samples: int = N_SAMPLES, is_varied: bool = False) -> DataSet:
    """Return made-up images of bytes in ten classes, the same on every machine."""
    count = torch.Size(shape).numel() * n_samples
    raw = (random_bits(7, torch.arange(count)) & 255).to(torch.uint8)
    return DataSet(
        name="made-up images",
        train=ArraySplit(raw.view(n_samples, *shape), (random_bits(8, torch.arange(n_samples)) & 7).long()),
        test=None,
        input_shape=shape,
        n_classes=10,
        scale=tuple(1 / 100 for _ in range(shape[0])),
        shift=tuple(-1.2 for _ in range(shape[0])),
        augmentation=Augmentation(pad=1, flip=True) if is_varied else None,
        fingerprint="",
        is_named=False,
    )


def data_for(model: str) -> DataSet:
    """Return data that a model of the zoo takes."""
    if model == "digits-cnn":
        return load_dataset("digits")
    return images(1, 28, 28) if model == "lenet" else images(3, 32, 32, is_varied=True)


def with_dropout() -> nn.Module:
    """Return a model with convolution, batch norm and dropout for images of 2 x 6 x 6, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(48, 10)
        )


class LooksAtValues(nn.Module):
    """A model whose forward pass asks the device for a number, which no graph can hold."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            self.layer = nn.Linear(72, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scale by one, found out in a roundabout way."""
        x = x.flatten(1)
        return self.layer(x if x.abs().sum().item() >= 0 else -x)


def trainer_of(model: str | nn.Module, data: DataSet, device: torch.device, executor: str, **settings: Any) -> Trainer:
    """Return a trainer with three learners and float64 weights, unless told otherwise."""
    usual = {"learners": 3, "batch_size": 4, "learning_rate": 0.05, "dtype": "float64"}
    recipe = Recipe(
        model=model if isinstance(model, str) else None,
        dataset=None,
        executor=executor,
        device=str(device),
        **{**usual, **settings},
    )
    own = Own(model=None if isinstance(model, str) else model, dataset=data)
    return build(recipe, own).trainer


def train(trainer: Trainer, iterations: int) -> Tensor:
    """Train so many iterations, in bursts of any length; return their losses (iterations, replicas), on the CPU."""
    losses, until = [], trainer.progress.iteration + iterations
    while trainer.progress.iteration < until:
        losses.append(trainer.step(until - trainer.progress.iteration).cpu())
    return torch.cat(losses)


def state_of(trainer: Trainer) -> dict[str, Tensor]:
    """Return what training has made, on the CPU, without what no learner uses."""
    bank, replicas = trainer.bank, trainer.setting.replicas
    n = bank.n_parameters
    found = {"weights": bank.weights[:replicas, :n], "gradients": bank.gradients[:replicas, :n]}
    found |= {"centre": bank.centre[:n], "centre_velocity": bank.centre_velocity[:n]}
    found |= {name: rows[:replicas] for name, rows in bank.buffers.items()}
    return {name: tensor.detach().cpu() for name, tensor in found.items()}


def assert_same_training(expected: Trainer, found: Trainer, tolerance: float) -> None:
    """All that two trainers hold must be equal to rounding."""
    assert found.progress == expected.progress
    theirs = state_of(found)
    for name, tensor in state_of(expected).items():
        torch.testing.assert_close(
            theirs[name], tensor, rtol=tolerance, atol=tolerance, msg=lambda text, of=name: f"{of}: {text}"
        )


def without_graphs(monkeypatch: Any) -> None:
    """Let programs run as the launches that a graph would replay."""
    from crossbow_lab.learners import program

    def as_it_is(work: Any, warm_up: Any, device: Any) -> Any:
        warm_up()
        return work

    monkeypatch.setattr(program, "capture", as_it_is)


def programs_of(trainer: Trainer) -> Iterable[Any]:
    """Return the programs that a trainer has made."""
    return list(trainer.iterations._programs.values())  # type: ignore[attr-defined]
