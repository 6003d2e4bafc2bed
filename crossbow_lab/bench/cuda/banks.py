"""Updates of a bank as work to time: our kernels, and torch's own rules on the same rows."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from crossbow_lab.averaging import easgd_step, local_step, make_scratch, sma_step, ssgd_step
from crossbow_lab.bench.cuda.traffic import Update
from crossbow_lab.kernels import averaging as kernels

LEARNING_RATE, MOMENTUM, LOCAL_MOMENTUM = 1e-4, 0.9, 0.5
_LINE = 64  # elements that rows are padded to
_SETS = 8  # banks that take turns, where rows are left for as many

Launch = Callable[[], object]


@dataclass(frozen=True)
class Banks:
    """Rows for several banks that take turns, so that one launch doesn't find in the cache what the last one left.

    Attributes
    ----------
    weights, gradients : T (rows, n), rows padded
    local_velocity : A (rows, n)
    centres, centre_velocities : A (sets, n)
    """

    weights: Tensor
    gradients: Tensor
    local_velocity: Tensor
    centres: Tensor
    centre_velocities: Tensor


def make_banks(rows: int, n: int, dtype: torch.dtype, device: torch.device) -> Banks:
    """Return banks full of random numbers: zeros can be faster than real values."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    generator = torch.Generator(device).manual_seed(0)
    padded = -(-n // _LINE) * _LINE

    def filled(count: int, kind: torch.dtype, scale: float) -> Tensor:
        values = torch.empty(count, padded, dtype=kind, device=device)
        return values.normal_(0.0, scale, generator=generator)[:, :n]

    return Banks(
        weights=filled(rows, dtype, 1.0),
        gradients=filled(rows, dtype, 1.0),
        local_velocity=filled(rows, wide, 1e-4),
        centres=filled(min(rows, _SETS), wide, 1.0),
        centre_velocities=filled(min(rows, _SETS), wide, 1e-4),
    )


def alpha_of(n_learners: int) -> float:
    """Return a correction strength with which a bank stays bounded however often it is updated."""
    return 0.5 if n_learners == 1 else 1 / n_learners


def kernel_launches(banks: Banks, update: Update) -> list[Launch]:
    """Return one launch of a kernel for each bank that takes its turn."""
    scalars = kernels.make_scalars(banks.weights)
    kernels.write_scalars(
        scalars,
        learning_rate=LEARNING_RATE,
        alpha=alpha_of(update.n_learners),
        momentum=MOMENTUM,
        local_momentum=LOCAL_MOMENTUM if update.has_local_momentum else 0.0,
    )
    return [_kernel(banks, update, scalars, number) for number in range(_n_sets(banks, update))]


def torch_launches(banks: Banks, update: Update) -> list[Launch]:
    """Return the same updates by torch's own operators, which users without our kernels would run."""
    return [_torch_rule(banks, update, number) for number in range(_n_sets(banks, update))]


def _n_sets(banks: Banks, update: Update) -> int:
    """Return how many banks of this many learners can take turns."""
    return max(1, min(len(banks.centres), len(banks.weights) // update.n_learners))


def _rows(tensor: Tensor, update: Update, number: int) -> Tensor:
    """Return the rows of one bank."""
    return tensor[number * update.n_learners : (number + 1) * update.n_learners]


def _kernel(banks: Banks, update: Update, scalars: Tensor, number: int) -> Launch:
    """Bind one launch."""
    weights, gradients = _rows(banks.weights, update, number), _rows(banks.gradients, update, number)
    velocity = _rows(banks.local_velocity, update, number) if update.has_local_momentum else None
    z, e = banks.centres[number], banks.centre_velocities[number]
    partials = kernels.make_partials(weights) if update.has_norms else None
    if update.rule == "sma":
        return lambda: kernels.sma_update(
            weights, gradients, z, e, scalars, local_velocity_kn=velocity, partials=partials
        )
    if update.rule == "easgd":
        return lambda: kernels.easgd_update(
            weights, gradients, z, scalars, local_velocity_kn=velocity, partials=partials
        )
    if update.rule == "ssgd":
        return lambda: kernels.ssgd_update(weights, gradients, z, e, scalars)
    return lambda: kernels.sgd_update(weights, gradients, scalars, local_velocity_kn=velocity)


def _torch_rule(banks: Banks, update: Update, number: int) -> Launch:
    """Bind one step."""
    weights, gradients = _rows(banks.weights, update, number), _rows(banks.gradients, update, number)
    z, e = banks.centres[number], banks.centre_velocities[number]
    rate, alpha = LEARNING_RATE, alpha_of(update.n_learners)
    if update.rule == "ssgd":
        return lambda: ssgd_step(weights, gradients, z, e, learning_rate=rate, momentum=MOMENTUM)
    if update.rule == "sgd":
        return lambda: local_step(weights, gradients, learning_rate=rate)
    scratch = make_scratch(weights)
    if update.rule == "easgd":
        return lambda: easgd_step(weights, gradients, z, learning_rate=rate, alpha=alpha, scratch=scratch)
    return lambda: sma_step(
        weights, gradients, z, e, learning_rate=rate, alpha=alpha, momentum=MOMENTUM, scratch=scratch
    )
