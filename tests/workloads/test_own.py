"""Your own data."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from crossbow_lab.errors import ConfigurationError, DataError
from crossbow_lab.workloads.data import ArraySplit, DatasetSplit
from crossbow_lab.workloads.own import as_dataset
from crossbow_lab.workloads.sources import load_dataset

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Y = np.array([0, 1, 2, 0, 1, 2])


class Squares(Dataset):
    """Items (i, i squared mod ``modulus``) that count how often they are read."""

    def __init__(self, n: int, modulus: int) -> None:
        self.n = n
        self.modulus = modulus
        self.n_reads = 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[list[float], int]:
        self.n_reads += 1
        return [float(index)], index**2 % self.modulus


@settings(deadline=None)  # machines are shared
@given(
    labels=arrays.arrays(
        dtype=arrays.integer_dtypes() | arrays.unsigned_integer_dtypes(),
        shape=st.integers(1, 20),
        elements=st.integers(0, 100),
    )
)
def test_as_dataset_takes_labels_of_any_whole_number_dtype(labels):
    """Labels become int64 unchanged, and the classes are counted from the largest."""
    if labels.max() == 0:
        labels[0] = 1
    dataset = as_dataset((np.zeros((len(labels), 2)), labels))

    assert dataset.train.targets.dtype == torch.int64
    assert labels.tolist() == dataset.train.targets.tolist()
    assert int(labels.max()) + 1 == dataset.n_classes


@settings(deadline=None)
@given(inputs=arrays.arrays(np.float32, arrays.array_shapes(min_dims=2), elements=st.floats(-1, 1, width=32)))
def test_as_dataset_hands_out_what_it_was_given(inputs):
    """Floating-point inputs and targets of any shape come back by index, bit for bit."""
    dataset = as_dataset((inputs, inputs))
    fetched = dataset.train.fetch(torch.arange(len(inputs)))

    assert dataset.n_classes is None
    assert inputs.shape[1:] == dataset.input_shape
    for values in fetched:
        assert np.array_equal(inputs, values.numpy())


@pytest.mark.parametrize(
    "form",
    [
        (X, Y),
        [X, Y],
        (torch.from_numpy(X), torch.from_numpy(Y)),
        (X, torch.from_numpy(Y)),
        TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
    ],
)
def test_as_dataset_takes_one_part_for_training(form):
    """Arrays, tensors, a mix, or a TensorDataset are the same data, without a test part."""
    dataset = as_dataset(form)

    assert isinstance(dataset.train, ArraySplit)
    assert dataset.test is None
    assert dataset.input_shape == (3,)
    assert dataset.n_classes == 3
    assert not dataset.is_named
    assert as_dataset((X, Y)).fingerprint == dataset.fingerprint


def test_as_dataset_takes_train_and_test():
    """Pairs and Datasets may be mixed; the classes are counted over both; the test may be None."""
    dataset = as_dataset(((np.ones((2, 1)), [0, 1]), Squares(4, 10)))

    assert len(dataset.train) == 2
    assert len(dataset.test) == 4
    assert dataset.n_classes == 10
    assert as_dataset(((X, Y), None)).test is None


def test_as_dataset_copies_arrays():
    """A later change to the user's array can't reach a training run."""
    x, y = X.copy(), Y.copy()
    dataset = as_dataset((x, y))
    x[:] = np.nan
    y[:] = -1

    assert np.array_equal(X, dataset.train.inputs.numpy())
    assert Y.tolist() == dataset.train.targets.tolist()


@pytest.mark.parametrize(
    ("inputs", "scale", "dtype"),
    [
        (np.full((6, 2), 51, np.uint8), 1 / 255, torch.uint8),
        (np.full((6, 2), 51, np.int32), 1.0, torch.float32),
        (np.full((6, 2), 51, np.float64), 1.0, torch.float64),
    ],
)
def test_as_dataset_scales_bytes_only(inputs, scale, dtype):
    """Bytes go to [0, 1]; everything else is taken as it is."""
    dataset = as_dataset((inputs, Y))

    assert (scale,) == dataset.scale
    assert dataset.shift == (0.0,)
    assert dtype == dataset.train.inputs.dtype


def test_as_dataset_passes_a_data_set_through():
    """What is a DataSet already stays the object it is."""
    digits = load_dataset("digits")

    assert as_dataset(digits) is digits
    assert as_dataset(digits, n_classes=10) is digits
    with pytest.raises(ConfigurationError, match="n_classes=11 was given, but digits has 10; leave it out"):
        as_dataset(digits, n_classes=11)


def test_as_dataset_reads_a_dataset_no_more_than_needed():
    """With n_classes given, only the first item is read; without, each item once more."""
    told, untold = Squares(50, 7), Squares(50, 7)

    assert as_dataset(told, n_classes=7).n_classes == 7
    assert as_dataset(untold).n_classes == 5  # squares mod 7 are 0, 1, 2, 4
    assert told.n_reads < 5
    assert 50 <= untold.n_reads < 55


def test_as_dataset_believes_listed_targets():
    """A Dataset that lists its targets, as torchvision's do, isn't read for them unless it changes them."""
    listed, transformed, other = Squares(50, 7), Squares(50, 7), Squares(50, 7)
    listed.targets = [index % 12 for index in range(50)]
    transformed.targets = listed.targets
    transformed.target_transform = abs
    other.targets = ["names", "not labels"]

    assert as_dataset(listed).n_classes == 12
    assert listed.n_reads < 5
    assert as_dataset(transformed).n_classes == 5
    assert as_dataset(other).n_classes == 5


def test_as_dataset_checks_a_datasets_labels_when_read():
    """A label beyond n_classes is found at its index, not before."""
    dataset = as_dataset(Squares(10, 7), n_classes=3)

    assert isinstance(dataset.train, DatasetSplit)
    with pytest.raises(
        DataError, match="train targets: label 4 at index 2 is out of range; 3 classes have labels 0 to 2"
    ):
        dataset.train.fetch(torch.tensor([2]))


class Negative(Squares):
    """One label is below zero."""

    def __getitem__(self, index: int) -> tuple[list[float], int]:
        return [0.0], -1 if index == 3 else 1


class Stream(IterableDataset):
    """Has no length."""

    def __iter__(self):
        yield from ()


def broken(values: np.ndarray, index: int, value: float) -> np.ndarray:
    """Copy an array with one row changed."""
    values = values.copy()
    values[index] = value
    return values


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (
            (broken(X, 4, np.nan), Y),
            "train inputs: NaN or infinite, first at index 4; drop or fill such samples",
        ),
        ((broken(X, 2, np.inf), Y), "train inputs: NaN or infinite, first at index 2"),
        ((X, broken(Y * 1.0, 5, np.nan)), "train targets: NaN or infinite, first at index 5"),
        (((X, Y), (broken(X, 1, np.nan), Y)), "test inputs: NaN or infinite, first at index 1"),
        ((X, broken(Y, 3, -1)), "train targets: label -1 at index 3 is out of range; labels start at 0"),
        (Negative(5, 2), "train targets: label -1 at index 3"),
        ((X, Y[:5]), "train has 6 inputs but 5 targets"),
        ((X[:0], Y[:0]), r"train inputs have shape \(0, 3\); at least one sample"),
        ((X[:, :0], Y), r"train inputs have shape \(6, 0\); at least one sample with at least one feature"),
        ((X[:, 0], Y), r"train inputs have shape \(6,\); .*a single feature is inputs\[:, None\]"),
        ((X, np.zeros((6, 0))), r"train targets have shape \(6, 0\)"),
        ((X, np.float32(1)), r"train targets have shape \(\)"),
        (Squares(0, 2), "train Dataset is empty; give at least one sample"),
        (((X, Y), Squares(0, 2)), "test Dataset is empty"),
        ((X.astype(str), Y), "train inputs: dtype <U32 isn't numeric"),
        ((X, np.array(list("abcdef"))), "train targets: dtype <U1 isn't numeric"),
        ((X, np.eye(3, dtype=int)[Y]), r"whole numbers of shape \(6, 3\); .*argmax\(1\) of one-hot"),
        ((X, Y[:, None]), r"whole numbers of shape \(6, 1\); .*\[:, 0\] of a column"),
        (
            ((X, Y), (X[:, :2], Y)),
            r"train inputs have shape \(3,\) a sample, test inputs \(2,\); give both the same",
        ),
        (((X, Y), (X.astype(np.uint8), Y)), "train inputs are torch.float32, test inputs torch.uint8"),
        (((X, Y), (X, Y * 1.0)), "train targets are torch.int64, test targets torch.float64"),
        (((X, X), (X, X[:, :2])), r"train targets have shape \(3,\) a sample, test targets \(2,\)"),
        ((X, Y * 0), "every label is 0; classification needs two classes: pass n_classes"),
        (X, r"the data set is a ndarray; give \(inputs, targets\)"),
        ((X, Y, X, Y), r"the data set is a tuple of length 4; give \(inputs, targets\), or \(train, test\)"),
        ("digits", r"the data set is a str of length 6; .*load_dataset\(name\)"),
        ({"x": X}, "the data set is a dict of length 1"),
        ((X.tolist(), Y.tolist()), r"train is a list; give .* NumPy arrays or torch tensors"),
        (((X, Y), "mnist"), "test is a str; give"),
        (Stream(), "the data set is a Stream; give .* map-style"),
    ],
)
def test_as_dataset_refuses_bad_data(dataset, message):
    """What is wrong, where it is first wrong, and what to do, before anything trains on it."""
    with pytest.raises(DataError, match=message):
        as_dataset(dataset)


def test_as_dataset_holds_labels_against_the_classes_given():
    """More classes than labels are fine; fewer name the first label beyond, in train and in test."""
    assert as_dataset((X, Y), n_classes=7).n_classes == 7
    assert as_dataset((X, Y * 0), n_classes=2).n_classes == 2
    with pytest.raises(
        DataError, match="train targets: label 2 at index 2 is out of range; 2 classes have labels 0 to 1"
    ):
        as_dataset((X, Y), n_classes=2)
    with pytest.raises(DataError, match="test targets: label 8 at index 1"):
        as_dataset(((X, Y), (X, broken(Y, 1, 8))), n_classes=3)


def test_as_dataset_refuses_classes_of_floating_point_targets():
    """Floating-point targets are regression; saying n_classes too is a contradiction."""
    with pytest.raises(DataError, match=r"n_classes=3 was given, but the targets are floating point; .*'int64'"):
        as_dataset((X, Y * 1.0), n_classes=3)


@pytest.mark.parametrize("n_classes", [1, 0, -3, 2.0, True, "3"])
def test_as_dataset_refuses_what_is_no_number_of_classes(n_classes):
    """At least two classes, as a whole number."""
    with pytest.raises(ConfigurationError, match="n_classes must be a whole number of at least 2, got"):
        as_dataset((X, Y), n_classes=n_classes)
