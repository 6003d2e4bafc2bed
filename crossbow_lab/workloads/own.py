"""The door for your own data: arrays, tensors and map-style Datasets, for classification and regression.

Whole-number targets are class labels; floating-point targets are regression. Arrays are checked whole before
training starts and copied, so that later changes to yours can't reach a training run; a Dataset's items are
checked as they are read.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, TensorDataset

from crossbow_lab.errors import ConfigurationError, DataError
from crossbow_lab.workloads.data import ArraySplit, DataSet, DatasetSplit, Split, fingerprint_of
from crossbow_lab.workloads.values import (
    as_inputs,
    as_sample,
    as_targets,
    as_tensor,
    check_finite,
    check_labels,
)

_FORMS = (
    "give (inputs, targets), or (train, test) of such pairs or of map-style Datasets, where inputs and "
    "targets are NumPy arrays or torch tensors; a named data set comes from load_dataset(name)"
)


def as_dataset(dataset: Any, *, n_classes: int | None = None) -> DataSet:
    """Turn your own data into a ``DataSet``, checked.

    Bytes (uint8) are scaled to [0, 1] for the model, floating-point inputs are taken as they are, and other
    whole numbers become float32.

    Parameters
    ----------
    dataset : (inputs, targets), a map-style Dataset, (train, test) of either, or a DataSet
        inputs : real numbers, shape (n, *shape), at least one axis after the first.
        targets : any whole-number dtype, shape (n,), 0 <= label; or floating point, shape (n, ...).
        A Dataset's items are such pairs. The test may be None.
    n_classes : int, optional
        At least 2. By default one more than the largest label of train and test: of a Dataset without a
        ``targets`` list this reads every item once.

    Raises
    ------
    DataError
        If lengths or shapes don't fit, a part is empty, a dtype isn't numeric, a value is NaN or infinite, or
        a label is out of range. The first index at fault is named.
    ConfigurationError
        If ``n_classes`` is below 2, or isn't that of the ``DataSet`` given.

    Examples
    --------
    >>> as_dataset((torch.rand(6, 3), torch.tensor([0, 1, 2, 0, 1, 2]))).n_classes
    3
    >>> as_dataset((torch.rand(6, 3), torch.rand(6, 2))).n_classes is None  # regression
    True
    """
    _check_n_classes(n_classes, dataset)
    if isinstance(dataset, DataSet):
        return dataset
    train_part, test_part = _parts(dataset)
    train = _split(train_part, "train")
    test = None if test_part is None else _split(test_part, "test")
    inputs, targets = train.fetch(torch.tensor([0]))
    _check_match(inputs, targets, test)
    train, test, n_classes = _with_classes(train, test, n_classes, is_regression=targets.is_floating_point())
    return DataSet(
        name="own data",
        train=train,
        test=test,
        input_shape=tuple(inputs.shape[1:]),
        n_classes=n_classes,
        scale=(1 / 255,) if inputs.dtype == torch.uint8 else (1.0,),
        shift=(0.0,),
        augmentation=None,
        fingerprint=fingerprint_of(train, test),
        is_named=False,
    )


def _check_n_classes(n_classes: int | None, dataset: Any) -> None:
    """Raise ConfigurationError unless the number of classes is left open, legal, and that of a DataSet."""
    if n_classes is None:
        return
    if not isinstance(n_classes, int) or isinstance(n_classes, bool) or n_classes < 2:
        raise ConfigurationError(f"n_classes must be a whole number of at least 2, got {n_classes!r}")
    if isinstance(dataset, DataSet) and n_classes != dataset.n_classes:
        raise ConfigurationError(
            f"n_classes={n_classes} was given, but {dataset.name} has {dataset.n_classes}; leave it out"
        )


def _parts(dataset: Any) -> tuple[Any, Any]:
    """Return what was given as train and as test (None if there is no test)."""
    if _is_pair_of_arrays(dataset) or _is_map_style(dataset):
        return dataset, None
    if isinstance(dataset, (tuple, list)) and len(dataset) == 2:
        return dataset[0], dataset[1]
    length = f" of length {len(dataset)}" if isinstance(dataset, (tuple, list, dict, str)) else ""
    raise DataError(f"the data set is a {type(dataset).__name__}{length}; {_FORMS}")


def _is_array(part: Any) -> bool:
    """Say whether NumPy or torch reads this as an array."""
    return isinstance(part, Tensor) or hasattr(part, "__array__")


def _is_pair_of_arrays(part: Any) -> bool:
    """Say whether this is (inputs, targets)."""
    return isinstance(part, (tuple, list)) and len(part) == 2 and _is_array(part[0])


def _is_map_style(part: Any) -> bool:
    """Say whether this has a length and items by index, and isn't an array or one of Python's containers."""
    plain = isinstance(part, (tuple, list, dict, str, bytes, IterableDataset)) or _is_array(part)
    return not plain and hasattr(part, "__getitem__") and hasattr(part, "__len__")


def _split(part: Any, name: str) -> Split:
    """Return a checked split; of a Dataset the first item is checked."""
    if type(part) is TensorDataset and len(part.tensors) == 2:
        part = part.tensors
    if _is_pair_of_arrays(part):
        return _array_split(part[0], part[1], name)
    if _is_map_style(part):
        if len(part) == 0:
            raise DataError(f"the {name} Dataset is empty; give at least one sample")
        x, y = as_sample(part[0], where=f"item 0 of the {name} Dataset")
        _check_axes(x[None], y[None], name)
        return DatasetSplit(part, input_shape=tuple(x.shape), n_classes=None, name=name)
    raise DataError(f"{name} is a {type(part).__name__}; {_FORMS}")


def _array_split(inputs: Any, targets: Any, name: str) -> ArraySplit:
    """Return a checked copy of two arrays."""
    x = as_inputs(as_tensor(inputs, where=f"{name} inputs"))
    y = as_targets(as_tensor(targets, where=f"{name} targets"))
    if x.ndim > 0 and y.ndim > 0 and len(x) != len(y):
        raise DataError(f"{name} has {len(x)} inputs but {len(y)} targets; each input needs one target")
    _check_axes(x, y, name)
    check_finite(x, where=f"{name} inputs")
    check_finite(y, where=f"{name} targets")
    if not y.is_floating_point():
        check_labels(y, n_classes=None, where=f"{name} targets")
    return ArraySplit(x.clone(memory_format=torch.contiguous_format), y.clone(memory_format=torch.contiguous_format))


def _check_axes(x: Tensor, y: Tensor, name: str) -> None:
    """Raise DataError unless x is (n, some features) and y is (n,) labels or (n, ...) values, with n >= 1."""
    if x.ndim < 2 or x.numel() == 0:
        raise DataError(
            f"{name} inputs have shape {tuple(x.shape)}; at least one sample with at least one feature is "
            f"needed, as (n, features) or (n, channels, height, width): a single feature is inputs[:, None]"
        )
    if y.ndim < 1 or y.numel() == 0:
        raise DataError(f"{name} targets have shape {tuple(y.shape)}; one target per sample is needed, as (n,)")
    if not y.is_floating_point() and y.ndim > 1:
        raise DataError(
            f"{name} targets are whole numbers of shape {tuple(y.shape)}; labels are one a sample, (n,): "
            f"take argmax(1) of one-hot labels, [:, 0] of a column, or convert to floats for regression"
        )


def _check_match(first_inputs: Tensor, first_targets: Tensor, test: Split | None) -> None:
    """Raise DataError unless test samples look like the first training sample."""
    if test is None:
        return
    inputs, targets = test.fetch(torch.tensor([0]))
    for what, of_train, of_test in (("inputs", first_inputs, inputs), ("targets", first_targets, targets)):
        if of_train.shape != of_test.shape:
            raise DataError(
                f"train {what} have shape {tuple(of_train.shape[1:])} a sample, test {what} "
                f"{tuple(of_test.shape[1:])}; give both the same"
            )
        if of_train.is_floating_point() != of_test.is_floating_point():
            raise DataError(f"train {what} are {of_train.dtype}, test {what} {of_test.dtype}; give both the same dtype")


def _with_classes(
    train: Split, test: Split | None, n_classes: int | None, *, is_regression: bool
) -> tuple[Split, Split | None, int | None]:
    """Return the splits knowing their number of classes, with the labels in memory checked against it."""
    if is_regression:
        if n_classes is not None:
            raise DataError(
                f"n_classes={n_classes} was given, but the targets are floating point; convert labels to "
                f"whole numbers, such as targets.astype('int64'), or leave n_classes out for regression"
            )
        return train, test, None
    if n_classes is None:
        n_classes = 1 + _largest_label(train, "train")
        if test is not None:
            n_classes = max(n_classes, 1 + _largest_label(test, "test"))
        if n_classes == 1:
            raise DataError("every label is 0; classification needs two classes: pass n_classes if there are others")
    test = None if test is None else _below(n_classes, test, "test")
    return _below(n_classes, train, "train"), test, n_classes


def _below(n_classes: int, split: Split, name: str) -> Split:
    """Return a split whose labels are below ``n_classes``: checked now if in memory, else when read."""
    if isinstance(split, DatasetSplit):
        return replace(split, n_classes=n_classes)
    check_labels(split.targets, n_classes=n_classes, where=f"{name} targets")
    return split


def _largest_label(split: Split, name: str) -> int:
    """Return the largest label; of a Dataset without a list of ``targets``, by reading every item."""
    if isinstance(split, ArraySplit):
        return int(split.targets.max())
    listed = _listed_targets(split.dataset)
    if listed is not None:
        check_labels(listed, n_classes=None, where=f"{name} targets")
        return int(listed.max())
    largest = 0
    for index in range(len(split)):
        _, label = split.fetch(torch.tensor([index]))
        _check_axes(torch.ones(1, 1), label, name)
        check_labels(label, n_classes=None, where=f"{name} targets", offset=index)
        largest = max(largest, int(label))
    return largest


def _listed_targets(dataset: Any) -> Tensor | None:
    """Return the labels that torchvision's Datasets list as ``targets``, unless a transform comes between."""
    listed = getattr(dataset, "targets", None)
    if listed is None or getattr(dataset, "target_transform", None) is not None:
        return None
    try:
        targets = as_tensor(listed, where="targets")
    except DataError:  # names, or something else than labels
        return None
    usable = targets.shape == (len(dataset),) and not targets.is_floating_point()
    return as_targets(targets) if usable else None
