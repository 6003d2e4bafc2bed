"""The bank: weights, gradients and momenta of all learners of a device, as rows of contiguous arrays.

Row j belongs to learner j. Rows are padded to 256 bytes, so that every row starts aligned for 128-bit accesses;
the padding of an admitted row holds zeros and every update rule keeps it so. The arrays are allocated once for
``max_learners``: changing the number of learners moves no memory, and on a CPU rows that were never used cost no
physical memory.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from crossbow_lab.errors import ModelError

_ALIGNMENT_BYTES = 256


@dataclass(frozen=True)
class Slot:
    """Where one parameter lies within a row: elements ``start .. start + size``."""

    name: str
    shape: torch.Size
    start: int
    size: int


@dataclass(frozen=True)
class Bank:
    """All state of the learners of one device, n parameters each.

    Attributes
    ----------
    slots : where each parameter lies within a row.
    weights, gradients : (max_learners, ld), ld >= n; row j is learner j.
    centre : (ld,), the central average model z.
    centre_velocity : (ld,), z - z_prev, held as the last increment of z.
    local_velocity : (max_learners, ld), the learners' local momentum; undefined until an algorithm uses it, so that
        on a CPU it costs no physical memory before.
    buffers : name -> (max_learners, *shape), the modules' buffers (batch-norm statistics and such), per learner.
    """

    slots: tuple[Slot, ...]
    weights: Tensor
    gradients: Tensor
    centre: Tensor
    centre_velocity: Tensor
    local_velocity: Tensor
    buffers: dict[str, Tensor]

    @property
    def max_learners(self) -> int:
        """Number of rows."""
        return self.weights.shape[0]

    @property
    def n_parameters(self) -> int:
        """Parameters of one learner, padding not counted."""
        return sum(slot.size for slot in self.slots)

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Return each parameter's part of ``rows`` (k, ld) or of one row (ld,), by name, in its own shape."""
        return {
            slot.name: rows[..., slot.start : slot.start + slot.size].view((*rows.shape[:-1], *slot.shape))
            for slot in self.slots
        }


def make_bank(model: nn.Module, *, max_learners: int) -> Bank:
    """Allocate a bank for ``max_learners`` replicas of ``model``; every row and the centre start at its weights.

    Only parameters that require a gradient are in the bank: frozen ones stay the model's own.

    Raises
    ------
    ModelError
        If the model has nothing to train, or its parameters differ in dtype or device.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ModelError(
            f"{type(model).__name__} has no parameter that requires a gradient; there is nothing to train. "
            "Give a model with trainable parameters."
        )
    kinds = {(p.dtype, p.device) for p in parameters.values()}
    if len(kinds) > 1 or not next(iter(parameters.values())).is_floating_point():
        found = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise ModelError(f"the model's parameters are {found}; all must be of one real dtype on one device")
    dtype, device = kinds.pop()

    slots, start = [], 0
    for name, parameter in parameters.items():
        slots.append(Slot(name, parameter.shape, start, parameter.numel()))
        start += parameter.numel()
    per_line = _ALIGNMENT_BYTES // dtype.itemsize
    leading = math.ceil(start / per_line) * per_line

    def rows() -> Tensor:  # left untouched: a page that no learner uses is never paid for
        return torch.empty(max_learners, leading, dtype=dtype, device=device)

    centre = torch.zeros(leading, dtype=dtype, device=device)
    for slot, parameter in zip(slots, parameters.values(), strict=True):
        centre[slot.start : slot.start + slot.size] = parameter.detach().reshape(-1)
    return Bank(
        slots=tuple(slots),
        weights=rows(),
        gradients=rows(),
        centre=centre,
        centre_velocity=torch.zeros_like(centre),
        local_velocity=rows(),
        buffers={
            name: torch.zeros(max_learners, *buffer.shape, dtype=buffer.dtype, device=buffer.device)
            for name, buffer in model.named_buffers()
        },
    )


def admit(bank: Bank, first: int, last: int, model: nn.Module, *, local_momentum: bool) -> None:
    """Let learners ``first .. last - 1`` start at the central average model, with the buffers of ``model``."""
    bank.weights[first:last] = bank.centre
    bank.gradients[first:last, bank.n_parameters :].zero_()  # the rest is written before it is read
    if local_momentum:
        bank.local_velocity[first:last].zero_()
    for name, buffer in model.named_buffers():
        bank.buffers[name][first:last] = buffer


def bind(module: nn.Module, parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> nn.Module:
    """Make ``module`` use these tensors as its parameters and buffers, in place; return it.

    Tied parameters stay tied: every place that holds a parameter of that name's tensor is pointed at the view.
    """
    replaced = {
        id(parameter): nn.Parameter(parameters[name])
        for name, parameter in module.named_parameters()
        if name in parameters
    }
    replaced_buffers = {id(buffer): buffers[name] for name, buffer in module.named_buffers()}
    for part in module.modules():
        for own, parameter in part._parameters.items():
            if parameter is not None and id(parameter) in replaced:
                part._parameters[own] = replaced[id(parameter)]
        for own, buffer in part._buffers.items():
            if buffer is not None and id(buffer) in replaced_buffers:
                part._buffers[own] = replaced_buffers[id(buffer)]
    return module
