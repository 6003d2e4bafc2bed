"""What every executor is given, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from crossbow_lab.learners.bank import Bank
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
    """

    model: nn.Module
    bank: Bank
    loss: Loss
    seed: int
    has_dropout: bool
