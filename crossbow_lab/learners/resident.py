"""Batches on a device: data that fits lives there as raw values, and a kernel gathers each batch where it is needed.

Samples and their order are those of `Batches`, to the bit. Where training stands, position and iteration, is a cursor
in device memory, so that a captured graph goes on by itself.
"""

from typing import Protocol

import torch
from torch import Tensor

from crossbow_lab.kernels.batches import RandomCrop, advance, gather_inputs, gather_targets
from crossbow_lab.learners.batches import Batches
from crossbow_lab.random import permutation, stream_key
from crossbow_lab.workloads import ArraySplit, DataSet

# Orders of this many epochs are kept on the device: more than the iterations of one replay can span.
RING_EPOCHS = 10
_RAW_KINDS = (torch.uint8, torch.float32, torch.float64)
# Of the device's free memory when a session opens, so much may hold data; the bank and its graphs take the rest.
_SHARE_OF_MEMORY = 0.4


class Supply(Protocol):
    """Where the batches of a device's iterations come from.

    Attributes
    ----------
    cursor : int64 (2,) on the device, position in the stream of samples and iteration.
    most_iterations : how many iterations may follow one `begin`.
    """

    cursor: Tensor
    most_iterations: int

    def begin(self, position: int, iteration: int, samples: int) -> None:
        """Make ready for iterations that take ``samples`` samples from ``position`` on; the host doesn't wait."""

    def gather(self, inputs: Tensor, targets: Tensor, offset: int) -> None:
        """Launch: fill ``inputs`` (m, *shape) and ``targets`` (m, ...) with the samples from cursor + offset on."""

    def advance(self, samples: int, iterations: int) -> None:
        """Launch: move the cursor on."""

    def advanced(self, samples: int, iterations: int) -> None:
        """Note that the cursor has been moved on, or will be by what was launched."""


class ResidentSupply:
    """Batches of data that lives on the device.

    Parameters
    ----------
    data, seed, augment, device, dtype
        As `Batches`; ``data.train`` is an ArraySplit.
    """

    # A batch is at most an epoch, so that many iterations span at most as many epochs as there are orders.
    most_iterations = RING_EPOCHS - 1

    def __init__(self, data: DataSet, seed: int, *, augment: bool, device: torch.device, dtype: torch.dtype) -> None:
        split = data.train
        assert isinstance(split, ArraySplit)  # noqa: S101  (see make_supply)
        raw = split.inputs if split.inputs.dtype in _RAW_KINDS else split.inputs.to(dtype)
        self._seed, self._device = seed, device
        self._samples = raw.to(device).contiguous()
        self._targets = split.targets.to(device, _target_kind(split, dtype)).contiguous()
        is_plain = set(data.scale) == {1.0} and set(data.shift) == {0.0}
        self._scale = None if is_plain else torch.tensor(data.scale, dtype=dtype, device=device)
        self._shift = None if is_plain else torch.tensor(data.shift, dtype=dtype, device=device)
        varied = data.augmentation if augment else None
        self._augmentation = None if varied is None else RandomCrop.seeded(seed, pad=varied.pad, flip=varied.flip)
        self._order = torch.zeros(RING_EPOCHS, len(split), dtype=torch.int32, device=device)
        self._epochs = [-1] * RING_EPOCHS  # whose order each row of the ring holds
        self.cursor = torch.zeros(2, dtype=torch.int64, device=device)
        self._at = (0, 0)

    def begin(self, position: int, iteration: int, samples: int) -> None:
        """Put the orders of the epochs on the device, and the cursor where it must be."""
        n_samples = self._samples.shape[0]
        for epoch in range(position // n_samples, (position + samples - 1) // n_samples + 1):
            row = epoch % RING_EPOCHS
            if self._epochs[row] != epoch:
                self._order[row] = permutation(n_samples, stream_key(self._seed, "order", epoch), self._device)
                self._epochs[row] = epoch
        if self._at != (position, iteration):
            _put(self.cursor, position, iteration)
            self._at = (position, iteration)

    def gather(self, inputs: Tensor, targets: Tensor, offset: int) -> None:
        """Launch two kernels."""
        gather_inputs(
            self._samples,
            self._order,
            self.cursor,
            self._scale,
            self._shift,
            inputs,
            offset=offset,
            augmentation=self._augmentation,
        )
        gather_targets(self._targets, self._order, self.cursor, targets, offset=offset)

    def advance(self, samples: int, iterations: int) -> None:
        """Launch one kernel of one thread."""
        advance(self.cursor, samples=samples, iterations=iterations)

    def advanced(self, samples: int, iterations: int) -> None:
        """Note where the cursor is."""
        self._at = (self._at[0] + samples, self._at[1] + iterations)


class StreamedSupply:
    """Batches of data that doesn't live on the device: prepared by the host, one iteration at a time.

    Parameters
    ----------
    batches : Batches for the device
    device : where they go
    """

    most_iterations = 1

    def __init__(self, batches: Batches, device: torch.device) -> None:
        self._batches = batches
        self._staged: dict[int, tuple[Tensor, Tensor]] = {}
        self._samples = 0
        self.cursor = torch.zeros(2, dtype=torch.int64, device=device)

    def begin(self, position: int, iteration: int, samples: int) -> None:
        """Put one iteration's samples where `gather` finds them."""
        found = self._batches.take(position, samples)
        if samples not in self._staged:
            self._staged[samples] = (found[0].clone(), found[1].clone())
        for place, new in zip(self._staged[samples], found, strict=True):
            place.copy_(new)
        self._samples = samples
        _put(self.cursor, position, iteration)

    def gather(self, inputs: Tensor, targets: Tensor, offset: int) -> None:
        """Launch two copies."""
        own_inputs, own_targets = self._staged[self._samples]
        inputs.copy_(own_inputs[offset : offset + len(inputs)])
        targets.copy_(own_targets[offset : offset + len(targets)])

    def advance(self, samples: int, iterations: int) -> None:
        """Do nothing: `begin` puts the cursor where it must be."""

    def advanced(self, samples: int, iterations: int) -> None:
        """Do nothing."""


def _put(cursor: Tensor, position: int, iteration: int) -> None:
    """Put a cursor somewhere, without waiting for the device: torch keeps pinned memory until it has been copied."""
    staging = torch.tensor([position, iteration], pin_memory=cursor.is_cuda)
    cursor.copy_(staging, non_blocking=True)


def make_supply(
    data: DataSet, seed: int, *, augment: bool, device: torch.device, dtype: torch.dtype, batches: Batches
) -> Supply:
    """Put the training data on the device where it fits there; else let the host prepare each batch."""
    if not _fits(data, device):
        return StreamedSupply(batches, device)
    try:
        return ResidentSupply(data, seed, augment=augment, device=device, dtype=dtype)
    except torch.OutOfMemoryError:  # another program of the machine has taken it meanwhile
        return StreamedSupply(batches, device)


def _fits(data: DataSet, device: torch.device) -> bool:
    """Tell whether the training data may live on the device."""
    split = data.train
    if not isinstance(split, ArraySplit) or (data.augmentation is not None and len(data.input_shape) != 3):
        return False
    if device.type != "cuda":
        return True
    needed = split.inputs.nbytes + split.targets.nbytes + 4 * RING_EPOCHS * len(split)
    return needed <= _SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]


def _target_kind(split: ArraySplit, dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of targets on the device, as `Preparation` has it."""
    return dtype if split.targets.is_floating_point() else torch.int64
