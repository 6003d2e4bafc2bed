"""Runs iterations: on torch's own operators, any device, or as programs with CUDA kernels (`device_iterations`)."""

from typing import Protocol

import torch
from torch import Tensor

from crossbow_lab.learners import Batches, Choice, Step, Work, choose, make_step
from crossbow_lab.session.setting import Setting
from crossbow_lab.session.updates import Updates

_KEPT_STEPS = 6


class Iterations(Protocol):
    """What a trainer asks to train.

    Attributes
    ----------
    notices : what a user should know of how iterations are run, since whoever reads it last emptied it.
    prepares_first : whether a new setting may turn out to need more memory than there is, and is prepared before it
        is taken.
    most_at_once : no call of `run` trains more iterations than this.
    """

    notices: list[str]
    prepares_first: bool
    most_at_once: int

    def prepare(self, setting: Setting, position: int, iteration: int) -> None:
        """Make ready for a setting, so that `run` finds everything made.

        Raises
        ------
        ExecutorError
            If the executor can't run the model here.
        ConfigurationError
            If there is no memory for the setting.
        """

    def choose(self, setting: Setting, position: int, iteration: int) -> Choice:
        """Measure the executors that run this setting here, and choose the fastest; leaves no trace in the bank."""

    def run(
        self, setting: Setting, position: int, iteration: int, *, synchronises: bool, n_before: int, most: int
    ) -> Tensor:
        """Train one iteration, or several alike but at most ``most``.

        Parameters
        ----------
        n_before : synchronisations since the start or the last restart of averaging.

        Returns
        -------
        (done, replicas) : the losses of the iterations done; overwritten by the next call.
        """

    def distances(self, setting: Setting, *, is_recent_enough: bool = False) -> Tensor:
        """Return every learner's Euclidean distance to z: (replicas,).

        Parameters
        ----------
        is_recent_enough : whether the distances before the last iteration's update will do, which cost next to
            nothing where the update's kernel has measured them.
        """


class HostIterations:
    """Iterations launched operator by operator, one at a time, on any device.

    Parameters
    ----------
    work : the learners' common task
    batches : where samples come from
    weight_decay : lambda
    """

    prepares_first = False
    most_at_once = 1
    """More would make whoever adjusts wait longer; the bits don't depend on it."""

    def __init__(self, work: Work, batches: Batches, weight_decay: float) -> None:
        self.notices: list[str] = []
        self._work, self._batches = work, batches
        self._steps: dict[tuple[str, int, int], Step] = {}
        self._updates = Updates(work.bank, weight_decay)

    def prepare(self, setting: Setting, position: int, iteration: int) -> None:
        """Make the executor's step."""
        del iteration
        self._step_for(setting, *self._batches.take(position, setting.aggregate_batch))

    def choose(self, setting: Setting, position: int, iteration: int) -> Choice:
        """Measure steps without updates."""
        del iteration
        example = self._batches.take(position, setting.aggregate_batch)
        return choose(self._work, setting.replicas, setting.replica_batch, *example)

    def run(
        self, setting: Setting, position: int, iteration: int, *, synchronises: bool, n_before: int, most: int
    ) -> Tensor:
        """Train."""
        samples = setting.aggregate_batch
        done = min(most, self.most_at_once)
        kept = []
        for i in range(done):
            inputs, targets = self._batches.take(position + i * samples, samples)
            losses = self._step_for(setting, inputs, targets)(inputs, targets, iteration + i)
            kept.append(losses if done == 1 else losses.clone())
            self._updates.update(setting, n_before + i, synchronises=synchronises)
        return kept[0].unsqueeze(0) if done == 1 else torch.stack(kept)

    def distances(self, setting: Setting, *, is_recent_enough: bool = False) -> Tensor:
        """Compute distances as they are now."""
        del is_recent_enough
        return self._updates.distances(setting)

    def _step_for(self, setting: Setting, inputs: Tensor, targets: Tensor) -> Step:
        """Return the executor's step for a setting, made or found among the last few."""
        key = (setting.executor, setting.replicas, setting.replica_batch)
        step = self._steps.pop(key, None) or make_step(self._work, *key, inputs, targets)
        self._steps[key] = step
        if len(self._steps) > _KEPT_STEPS:
            del self._steps[next(iter(self._steps))]
        return step
