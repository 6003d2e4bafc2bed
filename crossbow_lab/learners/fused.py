"""The ``fused`` executor: all learners as one batched computation; the number of operators doesn't grow with k."""

import torch
from torch import Tensor

from crossbow_lab.errors import ExecutorError
from crossbow_lab.learners.dropout import iteration_keys, learner_keys
from crossbow_lab.learners.plan import Plan
from crossbow_lab.learners.trace import trace_iteration
from crossbow_lab.learners.work import Step, Work


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
    bank = work.bank
    weights, gradients = bank.views(bank.weights[:n_learners]), bank.views(bank.gradients[:n_learners])
    own_inputs = torch.zeros(n_learners, batch_size, *inputs.shape[1:], dtype=inputs.dtype, device=inputs.device)
    own_targets = torch.zeros(n_learners, batch_size, *targets.shape[1:], dtype=targets.dtype, device=inputs.device)
    seeds = learner_keys(work.seed, n_learners, inputs.device)
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
    except Exception as error:
        raise ExecutorError(
            f"{type(work.model).__name__} can't run fused: planning its memory failed with {error}. "
            "executor='loop' runs any model."
        ) from error
    flat_inputs, flat_targets = own_inputs.flatten(0, 1), own_targets.flatten(0, 1)

    def step(inputs: Tensor, targets: Tensor, iteration: int) -> Tensor:
        with torch.no_grad():
            flat_inputs.copy_(inputs)
            flat_targets.copy_(targets)
            if work.has_dropout:
                keys.copy_(iteration_keys(seeds, iteration))
            plan()
        return losses

    return step
