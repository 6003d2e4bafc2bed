"""Turning what users hold into checked tensors."""

import numpy as np
import pandas as pd
import pytest
import torch

from crossbow_lab.errors import DataError
from crossbow_lab.workloads.values import (
    as_inputs,
    as_sample,
    as_targets,
    as_tensor,
    check_finite,
    check_labels,
)


@pytest.mark.parametrize(
    "values",
    [
        np.array([[1.0, 2.0], [3.0, 4.0]]),
        np.array([[1.0, 2.0], [3.0, 4.0]], dtype=">f4"),
        np.asfortranarray([[1.0, 2.0], [3.0, 4.0]]),
        np.array([[4.0, 3.0], [2.0, 1.0]])[::-1, ::-1],
        np.array([[1.0, 0.0, 2.0], [3.0, 0.0, 4.0]])[:, ::2],
        pd.DataFrame({"a": [1.0, 3.0], "b": [2.0, 4.0]}),
        torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True),
        [[1.0, 2.0], [3.0, 4.0]],
    ],
)
def test_as_tensor_reads_arrays_however_they_lie_in_memory(values):
    """Byte order, strides, tables and gradients make no difference."""
    tensor = as_tensor(values, where="inputs")

    assert tensor.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert not tensor.requires_grad


def test_as_tensor_reads_numbers():
    """A label may be a plain number, of Python's or NumPy's: no axes."""
    assert as_tensor(3, where="label").shape == ()
    assert as_tensor(np.int8(3), where="label").shape == ()


def test_as_tensor_reads_read_only_arrays():
    """A read-only array brings no warning."""
    array = np.arange(3.0)
    array.flags.writeable = False

    assert as_tensor(array, where="inputs").tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array(["cat"]), "targets: dtype <U3 isn't numeric; convert it first"),
        (np.array([None]), "dtype object isn't numeric"),
        (np.array([1j]), "dtype complex128 isn't numeric"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "dtype datetime64"),
        (np.zeros(2, dtype=[("a", "f4")]), "isn't numeric"),
        (None, "dtype object isn't numeric"),
        ([[1], [1, 2]], r"not an array \(.*pad or crop"),
        (torch.tensor([1j]), r"a torch.complex64 tensor .* dense real numbers are needed"),
        (torch.eye(2).to_sparse(), r"layout torch.sparse_coo"),
    ],
)
def test_as_tensor_refuses_what_is_no_dense_real_number(values, message):
    """The dtype that was given is named."""
    with pytest.raises(DataError, match=message):
        as_tensor(values, where="targets")


@pytest.mark.parametrize(
    ("dtype", "as_input", "as_target"),
    [
        (torch.uint8, torch.uint8, torch.int64),
        (torch.int8, torch.float32, torch.int64),
        (torch.uint16, torch.float32, torch.int64),
        (torch.int64, torch.float32, torch.int64),
        (torch.bool, torch.float32, torch.int64),
        (torch.float64, torch.float64, torch.float64),
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
    ],
)
def test_dtypes_become_those_a_split_holds(dtype, as_input, as_target):
    """Inputs: bytes and floats stay. Targets: whole numbers become int64, floats stay."""
    tensor = torch.ones(2).to(dtype)

    assert as_input == as_inputs(tensor).dtype
    assert as_target == as_targets(tensor).dtype


@pytest.mark.parametrize(
    ("item", "given"),
    [(3, "int"), ((1, 2, 3), "tuple of length 3"), ({"x": 1}, "dict of length 1"), ("ab", "str")],
)
def test_as_sample_refuses_what_is_no_pair(item, given):
    """What the Dataset gave is named."""
    with pytest.raises(DataError, match=f"item 4 is a {given}; a Dataset must give pairs"):
        as_sample(item, where="item 4")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 2, 3)])
def test_check_finite_names_the_first_sample_at_fault(value, shape):
    """Whatever the shape, it is the index along the first axis, plus the offset."""
    values = torch.zeros(shape)
    values[3].fill_(value)
    values[4].fill_(value)

    with pytest.raises(DataError, match="train inputs: NaN or infinite, first at index 103; drop or fill"):
        check_finite(values, where="train inputs", offset=100)


def test_check_finite_passes_numbers():
    """Finite floats and all whole numbers pass."""
    check_finite(torch.tensor([1e38, -1e38]), where="inputs")
    check_finite(torch.tensor([1, 2]), where="inputs")


def test_check_labels_names_the_first_label_at_fault():
    """Value, index and legal range are said."""
    with pytest.raises(DataError, match="label 5 at index 12 is out of range; 5 classes have labels 0 to 4: renumber"):
        check_labels(torch.tensor([4, 0, 5, 6]), n_classes=5, where="targets", offset=10)
    with pytest.raises(DataError, match="label -1 at index 1 is out of range; labels start at 0: renumber"):
        check_labels(torch.tensor([400, -1]), n_classes=None, where="targets")
    check_labels(torch.tensor([0, 4]), n_classes=5, where="targets")
