"""Updates of one device's learners and of its copy of z, with one sum over all devices in each synchronisation."""

from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from crossbow_lab.averaging import (
    SMA,
    SSGD,
    local_momentum,
    resolve_alpha,
    sma_step_with_sum,
    ssgd_step,
    sum_differences,
)
from crossbow_lab.devices.group import Group
from crossbow_lab.learners import Bank
from crossbow_lab.session.iterations import HostIterations
from crossbow_lab.session.setting import Setting
from crossbow_lab.session.updates import Updates

if TYPE_CHECKING:
    from crossbow_lab.session.trainer import Trainer


class GroupUpdates:
    """The rules, bound to a device's bank and to its group.

    Corrections are made of weights and of z as they are before the iteration, so their sum is under way while gradients
    are computed. S-SGD adds up the gradients themselves, and has nothing to compute meanwhile.

    Parameters
    ----------
    bank : the device's learners
    weight_decay : lambda
    group : Group

    Attributes
    ----------
    overlaps : whether sums run beside the passes. The bits don't depend on it.
    """

    def __init__(self, bank: Bank, weight_decay: float, group: Group) -> None:
        self.overlaps = True
        self._bank, self._weight_decay, self._group = bank, weight_decay, group
        self._alone = Updates(bank, weight_decay)
        self._total = torch.zeros_like(bank.centre)
        self._under_way: dist.Work | None = None

    def begin(self, setting: Setting, *, synchronises: bool) -> None:
        """Start to add up corrections."""
        if self.overlaps and synchronises and not isinstance(setting.algorithm, SSGD):
            self._under_way = self._start(setting)

    def update(self, setting: Setting, n_before: int, *, synchronises: bool) -> None:
        """Update the device's learners, and z where they synchronise."""
        algorithm, rows = setting.algorithm, self._alone.rows_of(setting)
        if isinstance(algorithm, SSGD):
            gradients = rows.gradients
            self._group.sum(gradients)
            gradients.div_(setting.devices)
            ssgd_step(
                rows.weights,
                gradients,
                rows.centre,
                rows.centre_velocity,
                learning_rate=setting.learning_rate,
                momentum=algorithm.momentum,
                weight_decay=self._weight_decay,
            )
            return
        if not synchronises:
            self._alone.update(setting, n_before, synchronises=False)
            return
        work, self._under_way = self._under_way or self._start(setting), None
        self._group.finish(work)
        own_momentum, has_centre = local_momentum(algorithm), isinstance(algorithm, SMA)
        sma_step_with_sum(
            rows.weights,
            rows.gradients,
            rows.centre,
            rows.centre_velocity if has_centre else None,
            self._total,
            learning_rate=setting.learning_rate,
            alpha=resolve_alpha(algorithm, setting.total_learners),
            momentum=algorithm.momentum if isinstance(algorithm, SMA) else 0.0,
            local_velocity_kn=rows.local_velocity if own_momentum > 0 else None,
            local_momentum=own_momentum,
            weight_decay=self._weight_decay,
            scratch=rows.scratch,
        )

    def distances(self, setting: Setting) -> Tensor:
        """Return the Euclidean distance to z of every learner of this device: (replicas,)."""
        return self._alone.distances(setting)

    def _start(self, setting: Setting) -> dist.Work:
        """Add up this device's differences, and begin to add up all devices'."""
        rows = self._alone.rows_of(setting)
        sum_differences(rows.weights, rows.centre, out=self._total, scratch=rows.scratch)
        return self._group.start_sum(self._total)


def overlap(trainer: "Trainer", *, on: bool) -> None:
    """Let the sums over devices run beside the learners' passes, or after them; the bits are the same."""
    iterations = trainer.iterations
    assert isinstance(iterations, HostIterations)  # noqa: S101 (as on several devices)
    assert isinstance(iterations.updates, GroupUpdates)  # noqa: S101
    with trainer.together.telling("overlap", on=on):
        iterations.updates.overlaps = on
