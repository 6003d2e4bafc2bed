"""Splits and what a data set says of itself."""

from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from crossbow_lab.errors import ConfigurationError, DataError
from crossbow_lab.workloads.data import ArraySplit, Augmentation, DataSet, DatasetSplit, fingerprint_of

SPLIT = ArraySplit(torch.arange(24.0).reshape(4, 3, 2, 1), torch.tensor([3, 1, 0, 1]))


class ListDataset:
    """A map-style Dataset over a list, as simple as can be."""

    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> object:
        return self.items[index]


def dataset_of(split: ArraySplit) -> DataSet:
    """Wrap a split of images."""
    return DataSet("own data", split, None, (3, 2, 1), 4, (1.0,), (0.0,), None, fingerprint_of(split, None), False)


def test_array_split_fetches_in_the_order_asked():
    """Repeats and any order are fine, and what comes back is a copy."""
    inputs, targets = SPLIT.fetch(torch.tensor([2, 0, 2]))

    assert torch.equal(SPLIT.inputs[[2, 0, 2]], inputs)
    assert targets.tolist() == [0, 3, 0]
    inputs.zero_()
    assert torch.equal(torch.arange(24.0).reshape(4, 3, 2, 1), SPLIT.inputs)


def test_array_split_refuses_different_lengths():
    """Each input has one target."""
    with pytest.raises(DataError, match="2 inputs but 3 targets"):
        ArraySplit(torch.zeros(2, 1), torch.zeros(3))


def test_dataset_split_stacks_items():
    """Items come back as an ArraySplit of them would give them."""
    items = [(x.numpy(), int(y)) for x, y in zip(SPLIT.inputs, SPLIT.targets, strict=True)]
    split = DatasetSplit(ListDataset(items), input_shape=(3, 2, 1), n_classes=4)
    indices = torch.tensor([3, 3, 0])

    assert len(split) == 4
    for ours, theirs in zip(split.fetch(indices), SPLIT.fetch(indices), strict=True):
        assert torch.equal(theirs, ours)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            (torch.zeros(3), 0),
            r"item 1 of the test Dataset has an input of shape \(3,\), the first item's is \(2,\)",
        ),
        ((torch.tensor([0.0, torch.nan]), 0), "test inputs: NaN or infinite, first at index 1"),
        (
            (torch.zeros(2), 2),
            "test targets: label 2 at index 1 is out of range; 2 classes have labels 0 to 1",
        ),
        ((torch.zeros(2), -1), "test targets: label -1 at index 1"),
        (
            (torch.zeros(2), 0.5),
            r"item 1 of the test Dataset has a target of dtype torch.float64 .* one whole number",
        ),
        ((torch.zeros(2), torch.tensor([0, 1])), r"target of dtype torch.int64 and shape \(2,\)"),
        ((torch.zeros(2), "cat"), "the target of item 1 of the test Dataset: dtype <U3 isn't numeric"),
        (torch.zeros(2), "item 1 of the test Dataset is a Tensor; a Dataset must give pairs"),
    ],
)
def test_dataset_split_checks_items_as_it_reads_them(item, message):
    """A bad item is found when it is fetched, by index, and no good item is refused for it."""
    split = DatasetSplit(ListDataset([(torch.zeros(2), 1), item]), input_shape=(2,), n_classes=2, name="test")

    split.fetch(torch.tensor([0]))
    with pytest.raises(DataError, match=message):
        split.fetch(torch.tensor([0, 1]))


def test_dataset_split_checks_regression_targets():
    """NaN among targets, or targets of two shapes, are refused."""
    items = [(torch.zeros(2), 0.5), (torch.zeros(2), torch.nan), (torch.zeros(2), torch.zeros(3))]
    split = DatasetSplit(ListDataset(items), input_shape=(2,), n_classes=None)

    with pytest.raises(DataError, match="train targets: NaN or infinite, first at index 1"):
        split.fetch(torch.tensor([1]))
    with pytest.raises(DataError, match="train Dataset's targets differ in shape"):
        split.fetch(torch.tensor([0, 2]))


@pytest.mark.parametrize(("pad", "flip"), [(-1, True), (1.0, True), (True, True), (4, 1), (4, None)])
def test_augmentation_refuses_what_makes_no_sense(pad, flip):
    """Padding is a count of pixels, flipping a yes or no."""
    with pytest.raises(ConfigurationError, match="must be"):
        Augmentation(pad=pad, flip=flip)


def test_data_set_is_frozen():
    """Nobody changes a data set that something is training on."""
    with pytest.raises(FrozenInstanceError):
        dataset_of(SPLIT).name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("field", ["scale", "shift"])
def test_data_set_takes_one_value_per_channel_or_one_for_all(field):
    """Any other number of values is refused."""
    assert replace(dataset_of(SPLIT), **{field: (1.0, 2.0, 3.0)}).input_shape == (3, 2, 1)
    with pytest.raises(ConfigurationError, match=rf"{field} has 2 values, inputs of shape \(3, 2, 1\) need 1 or 3"):
        replace(dataset_of(SPLIT), **{field: (1.0, 2.0)})


def test_data_set_augments_images_only():
    """Crops and flips need rows and columns."""
    with pytest.raises(ConfigurationError, match=r"augmentation needs images \(C, H, W\), got inputs of shape \(3,\)"):
        replace(dataset_of(SPLIT), input_shape=(3,), augmentation=Augmentation(pad=1, flip=True))


@pytest.mark.parametrize(
    "other",
    [
        ArraySplit(SPLIT.inputs, torch.tensor([3, 1, 0, 2])),
        ArraySplit(SPLIT.inputs.double(), SPLIT.targets),
        ArraySplit(SPLIT.inputs.reshape(4, 6), SPLIT.targets),
        ArraySplit(SPLIT.inputs.flip(0), SPLIT.targets),
    ],
)
def test_fingerprint_changes_with_the_content(other):
    """A changed label, dtype, shape or order shows; a copy doesn't."""
    copy = ArraySplit(SPLIT.inputs.clone(), SPLIT.targets.clone())

    assert fingerprint_of(SPLIT, None) == fingerprint_of(copy, None)
    assert fingerprint_of(SPLIT, None) != fingerprint_of(other, None)
    assert fingerprint_of(SPLIT, other) != fingerprint_of(other, SPLIT)


def test_fingerprint_of_a_dataset_is_the_same_in_another_process():
    """It takes class, length and first item, never an address in memory."""

    def split(value: float, n: int) -> DatasetSplit:
        return DatasetSplit(ListDataset([(torch.full((2,), value), 1)] * n), input_shape=(2,), n_classes=2)

    assert fingerprint_of(split(0.5, 3), None) == fingerprint_of(split(0.5, 3), None)
    assert fingerprint_of(split(0.5, 3), None) != fingerprint_of(split(0.25, 3), None)
    assert fingerprint_of(split(0.5, 3), None) != fingerprint_of(split(0.5, 4), None)
