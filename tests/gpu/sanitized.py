"""Launches every kernel on awkward sizes, for compute-sanitizer to watch. A program, not a test.

Of each kernel float and bfloat16, or what it has: instantiations of one template do the same with memory. Of torch,
nothing but fills and copies runs on the device here.
"""

import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from gpu_support import DEVICE, wait  # noqa: E402  (found by the line above, wherever this is started)
from gpu_training import images  # noqa: E402
from gpu_updates import Case, arrays, launched  # noqa: E402

from crossbow_lab.averaging import SMA  # noqa: E402
from crossbow_lab.kernels import landscape  # noqa: E402
from crossbow_lab.kernels.batches import RandomCrop, advance, gather_inputs, gather_targets  # noqa: E402
from crossbow_lab.landscape import Settings  # noqa: E402
from crossbow_lab.workloads import ArraySplit  # noqa: E402

WAYS = (
    ("sma", True, True),
    ("sma", False, False),
    ("easgd", True, True),
    ("sgd", True, False),
    ("split sma", True, False),
    ("split easgd", False, False),
)


def averaging() -> None:
    """Update banks whose rows end within a tile, within a vector, and with both."""
    for dtype in (torch.float32, torch.bfloat16):
        for n in (1, 257, 2_049):
            for door, has_velocity, has_norms in WAYS:
                case = Case(door, dtype, 3, n, has_velocity, has_norms)
                launched(case, arrays(case, DEVICE))
            one = Case("ssgd", dtype, 1, n)
            launched(one, arrays(one, DEVICE))


def batches() -> None:
    """Gather varied images across the ends of epochs, and move the cursor."""
    split = images(3, 9, 10, n_samples=31).train
    assert isinstance(split, ArraySplit)
    order = torch.stack([torch.arange(31), torch.arange(31).flip(0)]).int().to(DEVICE)
    cursor = torch.tensor([20, 3], device=DEVICE)
    scale, shift = torch.tensor([0.1, 0.2, 0.3], device=DEVICE), torch.tensor([1.0], device=DEVICE)
    inputs = torch.zeros(33, 9, 10, 3, device=DEVICE).movedim(-1, 1)
    varied = RandomCrop.seeded(0, pad=2, flip=True)
    gather_inputs(split.inputs.to(DEVICE), order, cursor, scale, shift, inputs, offset=9, augmentation=varied)
    targets = torch.zeros(33, dtype=torch.int64, device=DEVICE)
    gather_targets(split.targets.to(DEVICE), order, cursor, targets, offset=9)
    advance(cursor, samples=33, iterations=1)


def surfaces() -> None:
    """Let more learners than a warp has lanes run on a surface, in several blocks."""
    settings = Settings(SMA(local_momentum=0.5), 0.001, noise=1.0)
    populations = landscape.populations_at(torch.zeros(3, 2, device=DEVICE), 70, local_momentum=True)
    laid_out = landscape.Settings(
        torch.tensor([[*settings.scalars(70), 0.0, 0.0, 0.0]] * 3, device=DEVICE),
        torch.tensor([settings.key] * 3, device=DEVICE),
        torch.tensor([1] * 3, dtype=torch.int32, device=DEVICE),
    )
    landscape.run(populations, laid_out, surface="rastrigin", algorithm="SMA", start=0, iterations=5)


if __name__ == "__main__":
    averaging()
    batches()
    surfaces()
    wait(DEVICE)
    sys.stdout.write("all launched\n")
