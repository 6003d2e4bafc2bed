"""The ``loop`` executor: one learner after the other, eager. It runs any model, and is the oracle of the others."""

import copy
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from crossbow_lab.learners.bank import bind
from crossbow_lab.learners.dropout import KeyedDropout, iteration_keys, learner_keys
from crossbow_lab.learners.losses import learner_loss
from crossbow_lab.learners.work import Step, Work


def make_loop(work: Work, n_learners: int, batch_size: int) -> Step:
    """Return a step that runs ``n_learners`` ordinary modules whose parameters are rows of the bank."""
    bank = work.bank
    weights, gradients = bank.views(bank.weights), bank.views(bank.gradients)
    modules, parameters, targets_of, rows_of = [], [], [], []
    held = (*work.model.parameters(), *work.model.buffers())
    for j in range(n_learners):
        module = bind(
            copy.deepcopy(work.model, {id(tensor): tensor for tensor in held}),  # bind puts others in their place
            {name: view[j] for name, view in weights.items()},
            {name: rows[j] for name, rows in bank.buffers.items()},
        )
        named = dict(module.named_parameters())
        modules.append(module)
        parameters.append([named[slot.name] for slot in bank.slots])
        targets_of.append([gradients[slot.name][j] for slot in bank.slots])
        rows_of.append(_places(module))
    keys = learner_keys(work.seed, n_learners, bank.centre.device)
    losses = torch.zeros(n_learners, dtype=bank.centre.dtype, device=bank.centre.device)

    def step(inputs: Tensor, targets: Tensor, iteration: int) -> Tensor:
        drawn = iteration_keys(keys, iteration) if work.has_dropout else keys
        for j in range(n_learners):
            part = slice(j * batch_size, (j + 1) * batch_size)
            with KeyedDropout(drawn[j]) if work.has_dropout else nullcontext():
                loss = learner_loss(work.loss, modules[j](inputs[part]), targets[part])
            found = torch.autograd.grad(loss, parameters[j], allow_unused=True, materialize_grads=True)
            torch._foreach_copy_(targets_of[j], found)
            losses[j] = loss.detach()
            _write_back(rows_of[j])
        return losses

    return step


def _places(module: nn.Module) -> list[tuple[dict[str, Tensor | None], str, Tensor]]:
    """List where a module holds its buffers, under which name, and which they are."""
    return [
        (part._buffers, name, buffer)
        for part in module.modules()
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]


def _write_back(places: list[tuple[dict[str, Tensor | None], str, Tensor]]) -> None:
    """Copy buffers that a forward pass has replaced into the bank's rows, and let the module use the rows again."""
    for holder, name, row in places:
        new = holder[name]
        if new is not row and new is not None:
            row.copy_(new.detach())
            holder[name] = row
