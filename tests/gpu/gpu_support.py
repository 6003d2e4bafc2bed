"""What the tests that need a GPU share. Nothing but torch, NumPy, pytest and the package is imported here."""

import hashlib
import warnings

import pytest
import torch
from torch import Tensor

from crossbow_lab import kernels
from crossbow_lab.random import random_bits

DEVICE = torch.device("cuda")

# Warnings of libraries on a machine that we don't know are no failures of ours.
NEEDS_GPU = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]


def why_not() -> str | None:
    """Say why kernels can't run here; None if they can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kernels.why_not(DEVICE)


def numbers(*shape: int, key: int) -> Tensor:
    """Return float64 numbers in -1..1 that float32 holds exactly: the same on every machine and version."""
    count = torch.Size(shape).numel()
    return ((random_bits(key, torch.arange(count)) >> 40).double() / 2**23).view(shape)


def bits(*tensors: Tensor | None) -> str:
    """Return the SHA-256 of the bits of tensors, wherever they are."""
    digest = hashlib.sha256()
    for tensor in tensors:
        if tensor is not None:
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def wait(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
