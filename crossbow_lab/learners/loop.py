"""One learner after the other, eager: the ``loop`` executor, which runs any model and is the oracle of the others.

Its parts, one for each learner, are also what the ``streams`` executor runs side by side.
"""

import copy
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from crossbow_lab.learners.bank import bind
from crossbow_lab.learners.dropout import KeyedDropout, iteration_keys
from crossbow_lab.learners.losses import learner_loss
from crossbow_lab.learners.timeline import Recorder
from crossbow_lab.learners.work import Learning, Step, Work

Branch = Callable[[Tensor, Tensor, Tensor], None]
"""``branch(inputs (b, *shape), targets (b, ...), key ())``: one learner's forward and backward pass."""


def make_loop(work: Work, n_learners: int, batch_size: int, recorder: Recorder | None = None) -> Step:
    """Return a step that runs ``n_learners`` ordinary modules whose parameters are rows of the bank.

    Parameters
    ----------
    recorder : gets each learner's passes as a span; None: nothing is timed.
    """
    device = work.bank.centre.device
    keys = work.keys(n_learners)
    losses = torch.zeros(n_learners, dtype=work.bank.centre.dtype, device=device)
    branches = make_branches(work, losses)
    if recorder is not None:
        branches = [_timed(branch, j, recorder) for j, branch in enumerate(branches)]

    def step(inputs: Tensor, targets: Tensor, iteration: int) -> Tensor:
        drawn = iteration_keys(keys, iteration) if work.has_dropout else keys
        for j, branch in enumerate(branches):
            part = slice(j * batch_size, (j + 1) * batch_size)
            branch(inputs[part], targets[part], drawn[j])
        return losses

    return step


def _timed(branch: Branch, learner: int, recorder: Recorder) -> Branch:
    """Return a branch whose passes are recorded."""

    def timed_branch(inputs: Tensor, targets: Tensor, key: Tensor) -> None:
        since_s = time.perf_counter()
        branch(inputs, targets, key)
        recorder.add("learning", learner, since_s)

    return timed_branch


def split_learning(work: Work, n_learners: int, batch_size: int, inputs: Tensor, targets: Tensor) -> Learning:
    """Return the passes of ``n_learners`` learners as one part for each.

    Parameters
    ----------
    inputs, targets : (k b, ...)
        One example batch, for shapes and dtypes.
    """
    device = work.bank.centre.device
    keys = work.keys(n_learners)
    losses = torch.zeros(n_learners, dtype=work.bank.centre.dtype, device=device)
    own_inputs = inputs.new_zeros(n_learners, batch_size, *inputs.shape[1:])
    own_targets = targets.new_zeros(n_learners, batch_size, *targets.shape[1:])

    def part_of(j: int, branch: Branch) -> Callable[[Tensor], None]:
        def part(iteration: Tensor) -> None:
            key = iteration_keys(keys[j], iteration) if work.has_dropout else keys[j]
            branch(own_inputs[j], own_targets[j], key)

        return part

    parts = [part_of(j, branch) for j, branch in enumerate(make_branches(work, losses))]
    return Learning(own_inputs, own_targets, losses, tuple(parts))


def make_branches(work: Work, losses: Tensor) -> list[Branch]:
    """Return one branch for each learner; branch j writes ``losses[j]``, its gradient and its buffers."""
    bank = work.bank
    weights, gradients = bank.views(bank.weights), bank.views(bank.gradients)
    held = (*work.model.parameters(), *work.model.buffers())
    branches = []
    for j in range(len(losses)):
        module = bind(
            copy.deepcopy(work.model, {id(tensor): tensor for tensor in held}),  # bind puts others in their place
            {name: view[j] for name, view in weights.items()},
            {name: rows[j] for name, rows in bank.buffers.items()},
        )
        named = dict(module.named_parameters())
        parameters = [named[slot.name] for slot in bank.slots]
        targets = [gradients[slot.name][j] for slot in bank.slots]
        branches.append(_branch(work, module, parameters, targets, losses[j]))
    return branches


def _branch(
    work: Work, module: nn.Module, parameters: Sequence[Tensor], into: list[Tensor], loss_place: Tensor
) -> Branch:
    """Return the pass of one module that writes its gradients into ``into`` and its loss into ``loss_place``."""
    places = _places(module)

    def branch(inputs: Tensor, targets: Tensor, key: Tensor) -> None:
        with (
            torch.enable_grad(),
            work.autocast(),
            KeyedDropout(key) if work.has_dropout else nullcontext(),
        ):
            loss = learner_loss(work.loss, module(inputs), targets)
        found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        torch._foreach_copy_(into, found)
        loss_place.copy_(loss.detach())
        _write_back(places)

    return branch


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
