"""What follows the learners' passes in an iteration on a device: one algorithm's kernels, bound to the bank.

In one piece for all learners, or in parts: each learner's own correction, which needs z as it was and nothing of the
other learners, and the averaging, which needs all corrections. So a learner goes on with its next forward pass while
z is still being averaged, as in the paper.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from crossbow_lab.kernels import averaging as kernels
from crossbow_lab.learners.bank import Bank

RULES = ("sma", "easgd", "ssgd", "sgd", "none")
"""SMA, EA-SGD, S-SGD (one replica), the learners' own steps between synchronisations, and no update at all: whoever
runs a program has another way to update, where there is no kernel."""

_Launch = Callable[[], None]


@dataclass(frozen=True)
class Rule:
    """What an iteration does after the learners' passes.

    Attributes
    ----------
    name : one of `RULES`.
    has_local_momentum : whether learners keep a velocity of their own.
    """

    name: str
    has_local_momentum: bool


@dataclass(frozen=True)
class SplitUpdate:
    """An update in parts.

    Attributes
    ----------
    corrections : of each learner, in order; independent of each other.
    average : follows all of them and precedes the next iteration's corrections; None where z rests.
    """

    corrections: tuple[_Launch, ...]
    average: _Launch | None


def whole_update(bank: Bank, rule: Rule, replicas: int, scalars: Tensor, partials: Tensor | None) -> _Launch:
    """Return the launch of one kernel for all learners.

    Parameters
    ----------
    scalars : from `crossbow_lab.kernels.averaging.make_scalars`
    partials : from `crossbow_lab.kernels.averaging.make_partials`, filled with squared norms; None to leave them out.
        Only "sma" and "easgd" fill them.
    """
    if rule.name == "none":
        return _do_nothing
    weights, gradients = bank.weights[:replicas], bank.gradients[:replicas]
    velocity = bank.local_velocity[:replicas] if rule.has_local_momentum else None
    centre = (bank.centre, bank.centre_velocity)
    if rule.name == "ssgd":
        return partial(kernels.ssgd_update, weights, gradients, *centre, scalars)
    if rule.name == "sgd":
        return partial(kernels.sgd_update, weights, gradients, scalars, local_velocity_kn=velocity)
    if rule.name == "easgd":
        update = partial(kernels.easgd_update, weights, gradients, bank.centre, scalars)
    else:
        update = partial(kernels.sma_update, weights, gradients, *centre, scalars)
    return partial(update, local_velocity_kn=velocity, partials=partials)


def split_update(bank: Bank, rule: Rule, replicas: int, scalars: Tensor) -> SplitUpdate:
    """Return the launches of an update in parts. Holds memory for the learners' differences from z."""
    if rule.name in ("ssgd", "sgd", "none"):
        single = [whole_update(_rows(bank, j), rule, 1, scalars, None) for j in range(replicas)]
        return SplitUpdate(tuple(single), None)
    differences = torch.zeros_like(bank.weights[:replicas])
    corrections = [
        partial(
            kernels.sma_correct,
            bank.weights[j],
            bank.gradients[j],
            bank.centre,
            differences[j],
            scalars,
            local_velocity_n=bank.local_velocity[j] if rule.has_local_momentum else None,
        )
        for j in range(replicas)
    ]
    if rule.name == "sma":
        average = partial(kernels.sma_average, bank.centre, bank.centre_velocity, differences, scalars)
    else:
        average = partial(kernels.easgd_average, bank.centre, differences, scalars)
    return SplitUpdate(tuple(corrections), average)


def rehearse(bank: Bank, rule: Rule, replicas: int, has_norms: bool, *, is_split: bool) -> None:
    """Launch an update on a bank of a few columns, so that all its kernels are compiled and loaded."""
    columns = slice(0, min(64, bank.weights.shape[1]))
    small = Bank(
        slots=(),
        weights=bank.weights[:replicas, columns].clone(),
        gradients=torch.zeros_like(bank.gradients[:replicas, columns]),
        centre=bank.centre[columns].clone(),
        centre_velocity=bank.centre_velocity[columns].clone(),
        local_velocity=torch.zeros_like(bank.local_velocity[:replicas, columns]),
        buffers={},
    )
    scalars = kernels.make_scalars(bank.weights)
    if is_split:
        update = split_update(small, rule, replicas, scalars)
        for launch in update.corrections:
            launch()
        if update.average is not None:
            update.average()
        return
    whole_update(small, rule, replicas, scalars, kernels.make_partials(small.weights) if has_norms else None)()


def _do_nothing() -> None:
    """Launch nothing."""


def _rows(bank: Bank, first: int) -> Bank:
    """Return the bank of one learner."""
    own = slice(first, first + 1)
    return Bank(
        slots=bank.slots,
        weights=bank.weights[own],
        gradients=bank.gradients[own],
        centre=bank.centre,
        centre_velocity=bank.centre_velocity,
        local_velocity=bank.local_velocity[own],
        buffers={},
    )
