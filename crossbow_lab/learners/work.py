"""What every executor is given, and what it gives back."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from crossbow_lab.learners.bank import Bank
from crossbow_lab.learners.dropout import learner_keys
from crossbow_lab.learners.losses import Loss

Step = Callable[[Tensor, Tensor, int], Tensor]
"""``step(inputs (k b, *shape), targets (k b, ...), iteration) -> losses (k,)``.

Computes each learner's mean loss and its gradient on its own b samples at its row of ``bank.weights``, leaves the
gradients in ``bank.gradients`` and updates the rows of ``bank.buffers``. Doesn't touch the weights. The returned
tensor is reused by the next call.
"""


@dataclass(frozen=True)
class Work:
    """The learners' common task.

    Attributes
    ----------
    model : the module whose replicas are trained, in training mode. Its own parameters are not used.
    bank : where the replicas live.
    loss : a name or a function of (output, target).
    seed : seeds dropout.
    has_dropout : whether the forward pass uses dropout.
    amp : whether forward and backward passes run in bfloat16 where torch's autocast finds it safe.
    rank, n_devices : which of several devices this one is; its learners are those with j mod n_devices = rank.
    """

    model: nn.Module
    bank: Bank
    loss: Loss
    seed: int
    has_dropout: bool
    amp: bool = False
    rank: int = 0
    n_devices: int = 1

    def keys(self, n_learners: int) -> Tensor:
        """Return the dropout keys of this device's learners, int64 (n_learners,)."""
        device = self.bank.centre.device
        return learner_keys(self.seed, n_learners, device, first=self.rank, step=self.n_devices)

    def autocast(self) -> AbstractContextManager[object]:
        """Return what a forward pass runs in, by `amp`."""
        if not self.amp:
            return nullcontext()
        # Without the cache: it would keep casts of weights that a captured graph casts anew each time.
        return torch.autocast(self.bank.centre.device.type, torch.bfloat16, cache_enabled=False)


@dataclass(frozen=True)
class Learning:
    """The learners' forward and backward passes bound to memory, for a device that runs them again and again.

    Attributes
    ----------
    inputs, targets : (k, b, ...)
        Read by the parts; whoever runs them fills these first.
    losses : (k,)
        Written by the parts.
    parts : callables of the iteration's number, an int64 tensor (), that is only looked at where there is dropout.
        Either one for all learners, or one for each; those are independent of each other.
    """

    inputs: Tensor
    targets: Tensor
    losses: Tensor
    parts: tuple[Callable[[Tensor], None], ...]
