"""How many bytes the kernels must move: each array's elements that are read, and those that are written, once."""

from dataclasses import dataclass

import torch

TILE = 256  # elements that one partial sum covers


@dataclass(frozen=True)
class Update:
    """One update of a whole bank, by rule.

    Attributes
    ----------
    rule : "sma", "easgd", "sgd" or "ssgd".
    n_learners : rows of the bank; S-SGD has one.
    dtype : of weights and gradients.
    has_local_momentum, has_norms : what else the kernel does.
    """

    rule: str
    n_learners: int
    dtype: torch.dtype = torch.float32
    has_local_momentum: bool = False
    has_norms: bool = False

    def __str__(self) -> str:
        options = [name for name, has in (("v", self.has_local_momentum), ("norms", self.has_norms)) if has]
        kind = str(self.dtype).removeprefix("torch.")
        return " ".join([self.rule, f"k={self.n_learners}", *([] if kind == "float32" else [kind]), *options])


def update_bytes(update: Update) -> float:
    """Return the bytes that an update moves for each parameter, by the header of its source.

    Parameters
    ----------
    update : Update
        Which one.

    Examples
    --------
    >>> update_bytes(Update("sma", 8)), update_bytes(Update("ssgd", 1))
    (112.0, 24.0)
    """
    weight, k = update.dtype.itemsize, update.n_learners
    wide = 8 if update.dtype == torch.float64 else 4
    learners = k * (3 * weight + 2 * wide * update.has_local_momentum)  # w read and written, g read; v likewise
    centre = {"sma": 4, "easgd": 2, "sgd": 0, "ssgd": 3}[update.rule] * wide
    norms = (2 * k + 1) * wide / TILE if update.has_norms else 0.0
    return float(learners + centre + norms)


def gather_bytes(count: int, elements: int, raw: torch.dtype, to: torch.dtype) -> int:
    """Return the bytes that a batch moves: each raw value read, each input written.

    Examples
    --------
    >>> gather_bytes(16, 784, torch.uint8, torch.float32)
    62720
    """
    return count * elements * (raw.itemsize + to.itemsize)


def copy_bytes(tensor_bytes: int) -> int:
    """Return the bytes that copying a tensor on the device moves: all read, all written."""
    return 2 * tensor_bytes


def gb_per_s(n_bytes: float, seconds: float) -> float:
    """Return gigabytes (10^9) a second."""
    return n_bytes / seconds / 1e9
