"""From what users hold to tensors that training can use, and the checks on the way.

Messages name the first sample at fault: ``where`` says in which values, ``offset`` is the index of the first
row given.
"""

import warnings

import numpy as np
import torch
from torch import Tensor

from crossbow_lab.errors import DataError


def as_tensor(values: object, *, where: str) -> Tensor:
    """Turn a tensor, a number, or anything that NumPy reads as an array into a CPU tensor of real numbers.

    Returns
    -------
    Tensor
        Shares memory with ``values`` where it can.

    Raises
    ------
    DataError
        If the values aren't dense real numbers.

    Examples
    --------
    >>> as_tensor([[1, 2]], where="inputs")
    tensor([[1, 2]])
    >>> as_tensor(["cat"], where="targets")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    crossbow_lab.errors.DataError: targets: dtype <U3 isn't numeric; convert it first, such as ...
    """
    if isinstance(values, Tensor):
        tensor = values.detach().cpu()
        if tensor.is_complex() or tensor.is_quantized or tensor.layout != torch.strided:
            raise DataError(
                f"{where}: a {tensor.dtype} tensor of layout {tensor.layout} was given; dense real numbers "
                f"are needed, such as tensor.to_dense().float()"
            )
        return tensor
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise DataError(f"{where}: not an array ({error}); pad or crop the samples to one shape") from error
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise DataError(
            f"{where}: dtype {array.dtype} isn't numeric; convert it first, such as array.astype('float32')"
        )
    # from_numpy takes native byte order and no negative strides. ascontiguousarray turns () into (1,).
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)
    with warnings.catch_warnings():
        # Nobody writes into a split, so a read-only array will do.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def as_inputs(tensor: Tensor) -> Tensor:
    """Return bytes and floating-point numbers as they are, other whole numbers and booleans as float32."""
    return tensor if tensor.dtype == torch.uint8 or tensor.is_floating_point() else tensor.float()


def as_targets(tensor: Tensor) -> Tensor:
    """Return floating-point numbers as they are, whole numbers and booleans as int64."""
    return tensor if tensor.is_floating_point() else tensor.long()


def as_sample(item: object, *, where: str) -> tuple[Tensor, Tensor]:
    """Turn a Dataset's item into an input and a target, in the dtypes that a split holds.

    Raises
    ------
    DataError
        If the item isn't a pair of real numbers or arrays of them.
    """
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        length = f" of length {len(item)}" if isinstance(item, (tuple, list, dict)) else ""
        raise DataError(f"{where} is a {type(item).__name__}{length}; a Dataset must give pairs (input, target)")
    x = as_tensor(item[0], where=f"the input of {where}")
    y = as_tensor(item[1], where=f"the target of {where}")
    return as_inputs(x), as_targets(y)


def check_finite(values: Tensor, *, where: str, offset: int = 0) -> None:
    """Raise DataError at the first row of ``values`` that holds NaN or infinity.

    Examples
    --------
    >>> check_finite(torch.tensor([1.0, float("nan")]), where="train targets")
    Traceback (most recent call last):
    ...
    crossbow_lab.errors.DataError: train targets: NaN or infinite, first at index 1; drop or fill such samples
    """
    if not values.is_floating_point():
        return
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        first = int(finite.reshape(len(values), -1).all(1).logical_not().nonzero()[0])
        raise DataError(f"{where}: NaN or infinite, first at index {first + offset}; drop or fill such samples")


def check_labels(labels: Tensor, *, n_classes: int | None, where: str, offset: int = 0) -> None:
    """Raise DataError at the first label below 0, or not below ``n_classes`` when that is given.

    Examples
    --------
    >>> check_labels(torch.tensor([0, 3]), n_classes=3, where="train targets")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    crossbow_lab.errors.DataError: train targets: label 3 at index 1 is out of range; ...
    """
    wrong = labels < 0
    if n_classes is not None:
        wrong |= labels >= n_classes
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        needed = "labels start at 0" if n_classes is None else f"{n_classes} classes have labels 0 to {n_classes - 1}"
        raise DataError(
            f"{where}: label {int(labels[first])} at index {first + offset} is out of range; {needed}: "
            f"renumber the labels or give another n_classes"
        )
