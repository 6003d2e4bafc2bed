"""What a data set is, wherever it comes from: two splits, their shapes, and how raw values become inputs.

A split answers ``len(split)`` and ``split.fetch(indices)``; whoever trains needs no more. Small data are an
``ArraySplit`` in memory, as raw bytes where they can be; anything else is a ``DatasetSplit`` over a
map-style Dataset.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from crossbow_lab.errors import ConfigurationError, DataError
from crossbow_lab.workloads.values import as_sample, check_finite, check_labels


@dataclass(frozen=True, eq=False)
class ArraySplit:
    """Samples held in memory.

    Parameters
    ----------
    inputs : Tensor uint8 or floating, shape (n, *shape)
        Raw values: see ``DataSet.scale``.
    targets : Tensor int64, shape (n,), or floating, shape (n, ...)
        Class labels, or values for regression.

    Raises
    ------
    DataError
        If the lengths differ.

    Examples
    --------
    >>> split = ArraySplit(torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 0]))
    >>> len(split)
    3
    >>> split.fetch(torch.tensor([2, 0]))
    (tensor([[4., 5.],
            [0., 1.]]), tensor([0, 0]))
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise DataError(f"{len(self.inputs)} inputs but {len(self.targets)} targets; each sample needs one target")

    def __len__(self) -> int:
        return len(self.inputs)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Copy out the samples at ``indices``, in their order.

        Parameters
        ----------
        indices : Tensor int64, shape (m,), on the split's device
            0 <= index < len(self); torch raises IndexError otherwise.

        Returns
        -------
        (Tensor of shape (m, *shape), Tensor of shape (m, ...))
            Inputs and targets, new, in the split's dtypes.
        """
        return self.inputs.index_select(0, indices), self.targets.index_select(0, indices)


@dataclass(frozen=True, eq=False)
class DatasetSplit:
    """Samples read from a map-style Dataset one by one, and checked as they are read.

    Parameters
    ----------
    dataset : map-style Dataset
        ``len(dataset)`` and ``dataset[i]``, which gives (input, target): tensors, arrays or numbers.
    input_shape : tuple of int
        Shape that every input must have.
    n_classes : int or None
        Labels must be whole numbers below it; None for regression.
    name : str
        What messages call it: "train" or "test".
    """

    dataset: Any
    input_shape: tuple[int, ...]
    n_classes: int | None
    name: str = "train"

    def __len__(self) -> int:
        return len(self.dataset)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Read, check and stack the samples at ``indices``, in their order.

        Parameters
        ----------
        indices : Tensor int64, shape (m,), m >= 1
            0 <= index < len(self).

        Returns
        -------
        (Tensor uint8 or floating, shape (m, *input_shape), Tensor int64 (m,) or floating (m, ...))
            Inputs and targets, new, on the CPU.

        Raises
        ------
        DataError
            If an item isn't a pair, has another shape than the first, holds NaN or infinity, or has a label
            outside 0..n_classes - 1; the item's index is named.
        """
        samples = [self._sample(index) for index in indices.tolist()]
        try:
            return torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples])
        except RuntimeError as error:
            raise DataError(
                f"the {self.name} Dataset's targets differ in shape ({error}); give all of them the same"
            ) from error

    def _sample(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one sample as checked tensors."""
        where = f"item {index} of the {self.name} Dataset"
        x, y = as_sample(self.dataset[index], where=where)
        if tuple(x.shape) != self.input_shape:
            raise DataError(
                f"{where} has an input of shape {tuple(x.shape)}, the first item's is {self.input_shape}; "
                f"make the Dataset return inputs of one shape"
            )
        check_finite(x[None], where=f"{self.name} inputs", offset=index)
        check_finite(y[None], where=f"{self.name} targets", offset=index)
        if self.n_classes is not None:
            if y.is_floating_point() or y.ndim > 0:
                raise DataError(
                    f"{where} has a target of dtype {y.dtype} and shape {tuple(y.shape)}; classification "
                    f"needs one whole number a sample"
                )
            check_labels(y[None], n_classes=self.n_classes, where=f"{self.name} targets", offset=index)
        return x, y


Split = ArraySplit | DatasetSplit


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied: a random crop after zero-padding, and a random horizontal flip.

    Parameters
    ----------
    pad : int
        Zeros added on each side before a crop of the original size, in pixels, at least 0.
    flip : bool
        Whether half of the images, at random, are mirrored left to right.

    Examples
    --------
    >>> Augmentation(pad=4, flip=True)
    Augmentation(pad=4, flip=True)
    """

    pad: int
    flip: bool

    def __post_init__(self) -> None:
        if not isinstance(self.pad, int) or isinstance(self.pad, bool) or self.pad < 0:
            raise ConfigurationError(f"pad must be a whole number of pixels, at least 0, got {self.pad!r}")
        if not isinstance(self.flip, bool):
            raise ConfigurationError(f"flip must be True or False, got {self.flip!r}")


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set ready to train on.

    A model's input is x = raw * scale + shift, in floating point, per channel (the first axis of a sample);
    a tuple of one holds for all channels. Zero-padding of an ``Augmentation`` comes before it: raw zeros.

    Parameters
    ----------
    name : str
        Such as "mnist"; "own data" if it has none.
    train, test : ArraySplit or DatasetSplit
        ``test`` may be None.
    input_shape : tuple of int
        Shape of one sample.
    n_classes : int or None
        None for regression.
    scale, shift : tuple of float
        One value per channel, or a single one.
    augmentation : Augmentation or None
        What training does unless told otherwise.
    fingerprint : str
        SHA-256 of the content, in hexadecimal: equal data have equal fingerprints.
    is_named : bool
        Whether ``load_dataset(name)`` gives it again.
    """

    name: str
    train: Split
    test: Split | None
    input_shape: tuple[int, ...]
    n_classes: int | None
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    augmentation: Augmentation | None
    fingerprint: str
    is_named: bool

    def __post_init__(self) -> None:
        for which, values in (("scale", self.scale), ("shift", self.shift)):
            if len(values) not in (1, self.input_shape[0]):
                raise ConfigurationError(
                    f"{which} has {len(values)} values, inputs of shape {self.input_shape} need 1 or "
                    f"{self.input_shape[0]}"
                )
        if self.augmentation is not None and len(self.input_shape) != 3:
            raise ConfigurationError(
                f"augmentation needs images (C, H, W), got inputs of shape {self.input_shape}; leave it out"
            )


def fingerprint_of(train: Split, test: Split | None) -> str:
    """Hash a data set's content with SHA-256.

    Of a Dataset, whose content can't be read at no cost, it takes the class, the length and the first item.

    Examples
    --------
    >>> split = ArraySplit(torch.zeros(3, 2), torch.tensor([0, 1, 0]))
    >>> fingerprint_of(split, None)[:12]
    'cc67f9e8a90f'
    """
    digest = hashlib.sha256()
    for split in (train, test):
        if isinstance(split, ArraySplit):
            tensors = (split.inputs, split.targets)
        elif isinstance(split, DatasetSplit):
            kind = type(split.dataset)
            digest.update(f"{kind.__module__}.{kind.__qualname__} {len(split)}\n".encode())
            tensors = split.fetch(torch.tensor([0]))
        else:
            continue
        for tensor in tensors:
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
