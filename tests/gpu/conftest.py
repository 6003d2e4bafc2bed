"""The GPU, or the reason why there is none here; and the same arithmetic on both sides of a comparison."""

from collections.abc import Iterator

import gpu_support
import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Return the GPU; skip where kernels can't run, saying why."""
    reason = gpu_support.why_not()
    if reason is not None:
        pytest.skip(reason)
    return gpu_support.DEVICE


@pytest.fixture
def exactly(device: torch.device) -> Iterator[None]:
    """Let convolutions and products of float32 numbers round as float32 does, and give the same bits every time."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
    torch.backends.cuda.matmul.allow_tf32 = before
