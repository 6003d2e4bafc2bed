"""What is measured on: a model, its data in memory, and how many learners with what batch."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from crossbow_lab.averaging import SMA, resolve_alpha
from crossbow_lab.bench.baselines import Problem
from crossbow_lab.errors import DataError
from crossbow_lab.learners import Preparation
from crossbow_lab.workloads import ArraySplit, Augmentation, DataSet, build_model, load_dataset

LEARNING_RATE = 0.02
"""Small enough that no loss leaves the finite numbers however long a measurement takes."""

_SYNTHETIC_SAMPLES = 50_000  # about as many as the real ones, since a new order is drawn every epoch


@dataclass(frozen=True)
class Subject:
    """One thing to measure: names, k learners and b samples each."""

    model: str
    dataset: str
    n_learners: int
    batch_size: int

    def __str__(self) -> str:
        return f"{self.model} on {self.dataset}, k={self.n_learners}, b={self.batch_size}"


def subject_data(subject: Subject) -> DataSet:
    """Load a subject's data, or make up bytes of the same shape where MNIST or CIFAR-10 is not at hand.

    Parameters
    ----------
    subject : Subject
        Its data set is looked for in the usual folders; nothing is downloaded.

    Returns
    -------
    DataSet
        Made-up data says so in its name, which every result carries.
    """
    try:
        return load_dataset(subject.dataset, download=False)
    except (DataError, ModuleNotFoundError):  # pooch, which knows the usual folders, may be missing on a bare machine
        if subject.dataset not in _SYNTHETIC:
            raise
        return _SYNTHETIC[subject.dataset](_SYNTHETIC_SAMPLES)


def synthetic_mnist(n_samples: int) -> DataSet:
    """Make up bytes and labels in the shape of MNIST: the work of an iteration is the same, learning is not.

    Parameters
    ----------
    n_samples : int
        Training samples.

    Returns
    -------
    DataSet
        Without a test split.
    """
    return _synthetic("mnist", n_samples, (1, 28, 28), scale=(1 / 255 / 0.3081,), shift=(-0.1307 / 0.3081,))


def synthetic_cifar(n_samples: int) -> DataSet:
    """Make up bytes and labels in the shape of CIFAR-10, varied as CIFAR-10 is.

    Parameters, Returns
    -------------------
    As `synthetic_mnist`.
    """
    means, deviations = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    return _synthetic(
        "cifar-10",
        n_samples,
        (3, 32, 32),
        scale=tuple(1 / 255 / deviation for deviation in deviations),
        shift=tuple(-mean / deviation for mean, deviation in zip(means, deviations, strict=True)),
        augmentation=Augmentation(pad=4, flip=True),
    )


_SYNTHETIC = {"mnist": synthetic_mnist, "cifar-10": synthetic_cifar}


def _synthetic(
    like: str,
    n_samples: int,
    input_shape: tuple[int, ...],
    *,
    scale: tuple[float, ...],
    shift: tuple[float, ...],
    augmentation: Augmentation | None = None,
) -> DataSet:
    """Make up bytes in ten classes, the same each time, under a name that says so."""
    generator = torch.Generator().manual_seed(0)
    return DataSet(
        name=f"synthetic bytes shaped like {like}",
        train=ArraySplit(
            torch.randint(0, 256, (n_samples, *input_shape), dtype=torch.uint8, generator=generator),
            torch.randint(0, 10, (n_samples,), generator=generator),
        ),
        test=None,
        input_shape=input_shape,
        n_classes=10,
        scale=scale,
        shift=shift,
        augmentation=augmentation,
        fingerprint="",
        is_named=False,
    )


def subject_model(subject: Subject, data: DataSet) -> nn.Module:
    """Build a subject's model, the same weights each time."""
    assert data.n_classes is not None  # noqa: S101 (all subjects classify)
    return build_model(subject.model, input_shape=data.input_shape, n_classes=data.n_classes, seed=0)


def problem(subject: Subject, data: DataSet) -> Problem:
    """Give a subject as plain tensors and numbers, for the baselines.

    Parameters
    ----------
    subject : Subject
        What to train; α is 1/k, as `crossbow_lab.SMA` has it.
    data : DataSet
        The subject's data, held in memory.

    Returns
    -------
    Problem
        Inputs are float32, normalised once and for all.
    """
    inputs, targets = prepared(data, len(data.train))
    return Problem(
        model=subject_model(subject, data),
        inputs=inputs,
        targets=targets,
        n_learners=subject.n_learners,
        batch_size=subject.batch_size,
        learning_rate=LEARNING_RATE,
        alpha=resolve_alpha(SMA(), subject.n_learners),
    )


def prepared(data: DataSet, n_samples: int) -> tuple[Tensor, Tensor]:
    """Return the first training samples as a model takes them."""
    raw, targets = data.train.fetch(torch.arange(n_samples))
    return Preparation(data, torch.device("cpu"), torch.float32)(raw, targets)
