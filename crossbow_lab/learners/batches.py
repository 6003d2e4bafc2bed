"""Shared, seeded batches: which samples come next depends on (seed, epoch, position) and on nothing else.

All learners draw from one stream of samples: the training data in a new random order each epoch, epoch after epoch.
Position p of the stream is sample p mod N of epoch p div N. In an iteration at position p learner j takes samples
``p + j b .. p + (j + 1) b - 1``, so the order survives any change of the number of learners or of the batch size,
and a last partial batch rolls into the next epoch instead of being dropped. Augmentation is keyed by position.

Over g devices learner j lives on device j mod g, so that learners keep their numbers, and so their samples, when each
device gets one more or one less. A device draws its own learners' samples only.
"""

import torch
from torch import Tensor

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.random import permutation, random_below, stream_key
from crossbow_lab.workloads import Augmentation, DataSet

# Samples are gathered in blocks: one gather for many iterations, in memory that a second-level cache holds. Measured on
# one thread, digits, k b = 64: 41 us an iteration one by one, 17 us in blocks of 256 KiB, 21 us in blocks of 1 MiB.
_BLOCK_BYTES = 1 << 18
_BLOCK_SAMPLES = 1 << 12  # a block of very small data spans many epochs, each with an order to draw: 8 samples, 0.02 ms


class Batches:
    """The stream of training samples of one session, in the form the model takes.

    Parameters
    ----------
    data : DataSet
    seed : int
        Seeds the order of every epoch and the augmentation.
    augment : bool
        Whether to apply the data set's augmentation.
    device, dtype
        Where samples go and the floating-point type of inputs (and of real-valued targets).
    rank, n_devices : int
        Which of so many devices this one is.
    """

    def __init__(
        self,
        data: DataSet,
        seed: int,
        *,
        augment: bool,
        device: torch.device,
        dtype: torch.dtype,
        rank: int = 0,
        n_devices: int = 1,
    ) -> None:
        self._rank, self._n_devices = rank, n_devices
        self._split = data.train
        self._seed = seed
        self._prepare = Preparation(data, device, dtype)
        self._augmentation = data.augmentation if augment else None
        self._order: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))
        self._start = self._stop = self._batch_size = 0
        self._inputs = self._targets = torch.empty(0)

    @property
    def epoch_samples(self) -> int:
        """Samples in one epoch."""
        return len(self._split)

    def take(self, position: int, count: int, batch_size: int = 1) -> tuple[Tensor, Tensor]:
        """Return samples ``position .. position + count - 1`` of the stream: of several devices, this one's share.

        Parameters
        ----------
        batch_size : b, samples per learner; only looked at where there are several devices.

        Returns
        -------
        inputs (count / n_devices, *input_shape) and targets (count / n_devices, ...). Both are views of a block that a
        later call may overwrite: use them before asking again.
        """
        is_alone = self._n_devices == 1
        if not (self._start <= position <= self._stop - count and (is_alone or batch_size == self._batch_size)):
            self._fill(position, count, batch_size)
        first, share = (position - self._start) // self._n_devices, count // self._n_devices
        return self._inputs[first : first + share], self._targets[first : first + share]

    def indices(self, position: int, count: int) -> Tensor:
        """Return which training samples are at ``position .. position + count - 1``: int64 (count,)."""
        parts = []
        while count:
            epoch, offset = divmod(position, self.epoch_samples)
            part = self._epoch_order(epoch)[offset : offset + count]
            parts.append(part)
            position += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _fill(self, position: int, count: int, batch_size: int) -> None:
        """Gather the block of samples that starts at ``position``: a whole number of batches of ``count``."""
        samples = min(_BLOCK_SAMPLES, _BLOCK_BYTES // self._prepare.bytes_per_sample)
        total = count * max(1, self._n_devices * samples // count)
        indices, counters = self.indices(position, total), torch.arange(position, position + total)
        if self._n_devices > 1:
            indices, counters = (self._share(each, batch_size) for each in (indices, counters))
        raw, targets = self._split.fetch(indices)
        if self._augmentation is not None:
            raw = augmented(raw, self._augmentation, self._seed, counters)
        self._inputs, self._targets = self._prepare(raw, targets)
        self._start, self._stop, self._batch_size = position, position + total, batch_size

    def _share(self, stream: Tensor, batch_size: int) -> Tensor:
        """Return what belongs to the learners of this device: every n-th batch of b samples."""
        return stream.view(-1, self._n_devices, batch_size)[:, self._rank].flatten()

    def _epoch_order(self, epoch: int) -> Tensor:
        """Return the order of one epoch, kept until another one is asked for."""
        if self._order[0] != epoch:
            self._order = (epoch, permutation(self.epoch_samples, stream_key(self._seed, "order", epoch)))
        return self._order[1]


class Preparation:
    """Turns raw samples into what a model takes: ``raw * scale + shift`` per channel, on the device."""

    def __init__(self, data: DataSet, device: torch.device, dtype: torch.dtype) -> None:
        trailing = (1,) * (len(data.input_shape) - 1)
        self._device, self._dtype = device, dtype
        self._is_plain = set(data.scale) == {1.0} and set(data.shift) == {0.0}
        self._scale = torch.tensor(data.scale, dtype=dtype, device=device).view(-1, *trailing)
        self._shift = torch.tensor(data.shift, dtype=dtype, device=device).view(-1, *trailing)
        self.bytes_per_sample = dtype.itemsize * max(1, torch.Size(data.input_shape).numel())

    def __call__(self, raw: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``raw`` (m, *input_shape) as floating point and ``targets`` on the device."""
        inputs = raw.to(self._device, self._dtype)
        if not self._is_plain:
            inputs = inputs.mul_(self._scale).add_(self._shift)  # what a split fetches is new, or made so here
        kind = self._dtype if targets.is_floating_point() else torch.int64
        return inputs.contiguous(), targets.to(self._device, kind)


def augmented(raw: Tensor, augmentation: Augmentation, seed: int, positions: Tensor) -> Tensor:
    """Crop and flip images (m, C, H, W) at random, each by its position in the stream alone.

    Zero-pads by ``augmentation.pad`` on every side, crops back to (H, W) at a random place, and mirrors half of them.
    """
    count, channels, height, width = raw.shape
    pad = augmentation.pad
    if pad:
        raw = torch.nn.functional.pad(raw, (pad, pad, pad, pad))
    top = random_below(stream_key(seed, "crop-top"), positions, 2 * pad + 1)
    left = random_below(stream_key(seed, "crop-left"), positions, 2 * pad + 1)
    columns = torch.arange(width).expand(count, width)
    if augmentation.flip:
        mirrored = random_below(stream_key(seed, "flip"), positions, 2).bool()
        columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
    rows = (top[:, None] + torch.arange(height))[:, None, :, None]
    columns = (left[:, None] + columns)[:, None, None, :]
    return raw[torch.arange(count)[:, None, None, None], torch.arange(channels)[:, None, None], rows, columns]


def check_batch(data: DataSet, learners: int, batch_size: int) -> None:
    """Refuse an aggregate batch larger than the training data.

    Raises
    ------
    ConfigurationError
        Naming both numbers, and the largest batch size or number of learners that fits.
    """
    n_samples = len(data.train)
    if learners * batch_size > n_samples:
        way_out = (
            f"use at most batch_size={n_samples // learners} with {learners} learners, or fewer learners"
            if learners <= n_samples
            else f"use at most {n_samples} learners"
        )
        raise ConfigurationError(
            f"{learners} learners x batch size {batch_size} = {learners * batch_size} samples an iteration, but "
            f"{data.name} has only {n_samples} training samples; {way_out}"
        )
