"""Trainers of small images, with our kernels, emulated, or with torch's own operators."""

from typing import Any

import torch
from torch import nn

from crossbow_lab.learners.resident import make_supply
from crossbow_lab.session import Recipe
from crossbow_lab.session.build import Own, build
from crossbow_lab.session.device_iterations import DeviceIterations
from crossbow_lab.session.trainer import Trainer
from crossbow_lab.workloads import ArraySplit, Augmentation, DataSet

CPU = torch.device("cpu")
N_SAMPLES = 40


def small_images(*, is_varied: bool = False) -> DataSet:
    """Return 40 images of 2 x 6 x 6 bytes in 3 classes, always the same."""
    generator = torch.Generator().manual_seed(0)
    return DataSet(
        name="small images",
        train=ArraySplit(
            torch.randint(0, 256, (N_SAMPLES, 2, 6, 6), dtype=torch.uint8, generator=generator),
            torch.randint(0, 3, (N_SAMPLES,), generator=generator),
        ),
        test=None,
        input_shape=(2, 6, 6),
        n_classes=3,
        scale=(1 / 100, 1 / 101),
        shift=(-1.2, -1.1),
        augmentation=Augmentation(pad=1, flip=True) if is_varied else None,
        fingerprint="",
        is_named=False,
    )


def small_model() -> nn.Module:
    """Return a model with a convolution, batch norm and dropout, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(48, 3)
        )


def trainer_of(data: DataSet, *, on_kernels: bool, **settings: Any) -> Trainer:
    """Return a trainer, in float64, with our kernels or with torch's own operators."""
    recipe = Recipe(
        model=None,
        dataset=None,
        **{"learners": 3, "batch_size": 4, "learning_rate": 0.1, "executor": "loop", "dtype": "float64", **settings},
    )
    trainer = build(recipe, Own(model=small_model(), dataset=data)).trainer
    if on_kernels:
        dtype, augment = getattr(torch, recipe.dtype), data.augmentation is not None
        supply = make_supply(data, recipe.seed, augment=augment, device=CPU, dtype=dtype, batches=trainer.batches)
        trainer.iterations = DeviceIterations(trainer.work, supply, trainer.batches, recipe.weight_decay)
    return trainer


def assert_same_training(expected: Trainer, found: Trainer) -> None:
    """All that two trainers hold must be equal to rounding."""
    replicas = expected.setting.replicas
    assert found.progress == expected.progress
    for name in ("weights", "gradients", "centre", "centre_velocity"):
        pair = [getattr(trainer.bank, name) for trainer in (found, expected)]
        if pair[0].dim() == 2:
            pair = [rows[:replicas] for rows in pair]
        torch.testing.assert_close(*pair, rtol=1e-11, atol=1e-12, msg=lambda text, of=name: f"{of}: {text}")
    for name, rows in expected.bank.buffers.items():
        torch.testing.assert_close(found.bank.buffers[name][:replicas], rows[:replicas], rtol=1e-11, atol=1e-12)
