"""Data on the device for contenders that take turns: one copy of it, and one place in the stream of samples."""

import torch

from crossbow_lab.learners import Batches
from crossbow_lab.learners.resident import Supply, make_supply
from crossbow_lab.workloads import DataSet


class Feed:
    """A supply with a place that all who take from it share, so that going on never waits for the device.

    Parameters
    ----------
    data : DataSet
        Its training samples are put on the device where they fit.
    device : torch.device
        Where samples go.
    has_augmentation : bool
        Whether samples are varied.

    Attributes
    ----------
    data, device : as given.
    batches : the same samples in the host's form, for the shapes of an example.
    supply : where batches come from.
    """

    def __init__(self, data: DataSet, device: torch.device, *, has_augmentation: bool) -> None:
        self.data, self.device = data, device
        dtype = torch.float32
        self.batches = Batches(data, 0, augment=has_augmentation, device=device, dtype=dtype)
        self.supply: Supply = make_supply(
            data, 0, augment=has_augmentation, device=device, dtype=dtype, batches=self.batches
        )
        self._position = self._iteration = 0

    def begin(self, samples: int) -> None:
        """Make ready for iterations that take so many samples; they need not follow."""
        self.supply.begin(self._position, self._iteration, samples)

    def advanced(self, samples: int, iterations: int) -> None:
        """Note that what was launched moves the cursor on."""
        self.supply.advanced(samples, iterations)
        self._position += samples
        self._iteration += iterations
