"""The ``fused`` executor: all learners as one batched computation; the number of operators doesn't grow with k."""

import torch
from torch import Tensor

from crossbow_lab.errors import ExecutorError
from crossbow_lab.learners.dropout import iteration_keys
from crossbow_lab.learners.plan import Plan
from crossbow_lab.learners.trace import trace_iteration
from crossbow_lab.learners.work import Learning, Step, Work


def make_fused(work: Work, n_learners: int, batch_size: int, inputs: Tensor, targets: Tensor) -> Step:
    """Return a step that runs ``n_learners`` learners as one traced and planned computation.

    Parameters
    ----------
    inputs, targets : (k b, ...)
        One example batch, for shapes and dtypes; its values are not used.

    Raises
    ------
    ExecutorError
        If the model can't be traced, naming why and that ``executor="loop"`` runs any model.
    """
    learning = fused_learning(work, n_learners, batch_size, inputs, targets)
    flat_inputs, flat_targets = learning.inputs.flatten(0, 1), learning.targets.flatten(0, 1)
    (run,) = learning.parts
    number = torch.zeros((), dtype=torch.int64, device=inputs.device)

    def step(inputs: Tensor, targets: Tensor, iteration: int) -> Tensor:
        with torch.no_grad():
            flat_inputs.copy_(inputs)
            flat_targets.copy_(targets)
            if work.has_dropout:
                number.fill_(iteration)
        run(number)
        return learning.losses

    return step


def fused_learning(work: Work, n_learners: int, batch_size: int, inputs: Tensor, targets: Tensor) -> Learning:
    """Return the passes of ``n_learners`` learners as one part for all of them.

    Parameters, Raises
    ------------------
    As `make_fused`.
    """
    bank = work.bank
    weights, gradients = bank.views(bank.weights[:n_learners]), bank.views(bank.gradients[:n_learners])
    own_inputs = inputs.new_zeros(n_learners, batch_size, *inputs.shape[1:])
    own_targets = targets.new_zeros(n_learners, batch_size, *targets.shape[1:])
    seeds = work.keys(n_learners)
    keys = torch.zeros_like(seeds)
    losses = torch.zeros(n_learners, dtype=bank.centre.dtype, device=inputs.device)
    parameters = [weights[slot.name] for slot in bank.slots]
    buffers = [rows[:n_learners] for rows in bank.buffers.values()]
    traced = trace_iteration(work, parameters, buffers, own_inputs, own_targets, keys)
    try:
        plan = Plan(
            traced,
            [*parameters, *buffers, own_inputs, own_targets, keys],
            [losses, *(gradients[slot.name] for slot in bank.slots)],
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise ExecutorError(
            f"{type(work.model).__name__} can't run fused: planning its memory failed with {error}. "
            "executor='loop' runs any model."
        ) from error

    def run(iteration: Tensor) -> None:
        with torch.no_grad():
            if work.has_dropout:
                keys.copy_(iteration_keys(seeds, iteration))
            plan()

    return Learning(own_inputs, own_targets, losses, (run,))
