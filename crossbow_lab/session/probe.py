"""The exact probe of gradient noise: gradients of several batches, all at z. Changes nothing of training."""

from contextlib import nullcontext

import torch
from torch import Tensor

from crossbow_lab.learners import learner_loss
from crossbow_lab.learners.dropout import KeyedDropout, iteration_keys, learner_keys
from crossbow_lab.session.trainer import Trainer


def probe_squares(trainer: Trainer, batches: int) -> Tensor:
    """Return the mean of ‖g‖² over batches of b samples at z, and ‖mean g‖²: float64 (2,), on the device.

    Takes the samples that training takes next, in training mode on a copy of the model: their gradients at z are
    independent of how z came about in this epoch. Costs the passes of ``batches`` learners, eager; waits for nothing.

    Parameters
    ----------
    batches : at least 2.
    """
    work, progress, size = trainer.work, trainer.progress, trainer.setting.batch_size
    model = trainer.central_copy().train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    keys = iteration_keys(learner_keys(work.seed, batches, trainer.bank.centre.device), progress.iteration)
    inputs, targets = trainer.batches.take(progress.position, batches * size)
    totals: list[Tensor] = []
    single = torch.zeros((), dtype=torch.float64, device=trainer.bank.centre.device)
    for i in range(batches):
        part = slice(i * size, (i + 1) * size)
        with torch.enable_grad(), work.autocast(), KeyedDropout(keys[i]) if work.has_dropout else nullcontext():
            loss = learner_loss(work.loss, model(inputs[part]), targets[part])
        found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        single += _square(found)
        if totals:
            torch._foreach_add_(totals, found)
        else:
            totals = [gradient.detach().clone() for gradient in found]
    return torch.stack([single / batches, _square(totals) / batches**2])


def _square(parts: "list[Tensor] | tuple[Tensor, ...]") -> Tensor:
    """Return the squared norm of a gradient that lies in parts."""
    return torch.stack([part.detach().double().square().sum() for part in parts]).sum()
