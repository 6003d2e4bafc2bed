"""Batches gathered on the GPU: the bits that the host's batches have, wherever in the stream."""

import pytest
import torch
from gpu_support import NEEDS_GPU, bits
from gpu_training import images

from crossbow_lab.kernels.batches import advance
from crossbow_lab.learners import Batches
from crossbow_lab.learners.resident import ResidentSupply
from crossbow_lab.workloads import ArraySplit, DataSet, load_dataset

pytestmark = NEEDS_GPU

SEED = 5
DATA = {
    "bytes": lambda: images(3, 9, 10, n_samples=31),
    "bytes, varied": lambda: images(3, 9, 10, n_samples=31, is_varied=True),
    "one channel": lambda: images(1, 28, 28, n_samples=50),
    "digits": lambda: load_dataset("digits"),
    "real values": lambda: real_values(),
}


def real_values() -> DataSet:
    """Return floating-point samples that aren't images, with real targets."""
    inputs = torch.arange(26 * 300).view(26, 300).double() / 7 - 100
    return DataSet(
        name="real values",
        train=ArraySplit(inputs, inputs[:, :2].clone()),
        test=None,
        input_shape=(300,),
        n_classes=None,
        scale=(1.0,),
        shift=(0.0,),
        augmentation=None,
        fingerprint="",
        is_named=False,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", DATA)
def test_batches_have_the_host_s_bits(device: torch.device, name: str, dtype: torch.dtype) -> None:
    """From any position, in batches of any size, across the ends of epochs, in plain memory and channels last."""
    data = DATA[name]()
    host = Batches(data, SEED, augment=True, device=torch.device("cpu"), dtype=dtype)
    supply = ResidentSupply(data, SEED, augment=True, device=device, dtype=dtype)
    kind = dtype if data.n_classes is None else torch.int64
    position = 0
    for count in (1, 2, 31, 32, 33, 25, 7):
        expected, expected_targets = host.take(position, count)
        supply.begin(position, 0, count)
        inputs = torch.full((count, *data.input_shape), float("nan"), dtype=dtype, device=device)
        if inputs.dim() == 4:
            inputs = inputs.to(memory_format=torch.channels_last)
        targets = torch.zeros(count, *data.train.targets.shape[1:], dtype=kind, device=device)
        supply.gather(inputs, targets, 0)
        assert bits(inputs) == bits(expected)
        assert bits(targets) == bits(expected_targets)
        position += count + 1_000


def test_the_cursor_says_where_batches_come_from(device: torch.device) -> None:
    """An offset counts from it, and it moves on the device."""
    data = images(1, 5, 6, n_samples=40)
    host = Batches(data, SEED, augment=False, device=torch.device("cpu"), dtype=torch.float32)
    supply = ResidentSupply(data, SEED, augment=False, device=device, dtype=torch.float32)
    supply.begin(0, 0, 40)
    advance(supply.cursor, samples=9, iterations=2)
    assert supply.cursor.tolist() == [9, 2]
    inputs, targets = torch.zeros(4, 1, 5, 6, device=device), torch.zeros(4, dtype=torch.int64, device=device)
    supply.gather(inputs, targets, 3)
    assert bits(inputs) == bits(host.take(12, 4)[0])
