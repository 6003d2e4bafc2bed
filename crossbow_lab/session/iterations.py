"""Runs iterations: on torch's own operators, any device, or as programs with CUDA kernels (`device_iterations`)."""

import time
from typing import Protocol

import torch
from torch import Tensor

from crossbow_lab.learners import Batches, Choice, Step, Work, choose, make_step
from crossbow_lab.learners.gradients import gradient_squares
from crossbow_lab.learners.timeline import ALL, Recorder
from crossbow_lab.session.setting import Setting

_KEPT_STEPS = 6


class Iterations(Protocol):
    """What a trainer asks to train.

    Attributes
    ----------
    notices : what a user should know of how iterations are run, since whoever reads it last emptied it.
    prepares_first : whether a new setting may turn out to need more memory than there is, and is prepared before it
        is taken.
    most_at_once : no call of `run` trains more iterations than this.
    recorder : gets spans of tasks, see `record`; None: nothing is timed.
    """

    notices: list[str]
    prepares_first: bool
    most_at_once: int
    recorder: Recorder | None

    def record(self, recorder: Recorder | None) -> None:
        """Record tasks from the next iteration on, or none. Prepare the present setting after that."""

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

    def gradient_squares(self, setting: Setting, *, out: Tensor, total_n: Tensor) -> Tensor:
        """Return ‖g_j‖² of every replica in the last iteration, and ‖Σ_j g_j‖² behind them; never waits.

        Parameters
        ----------
        out, total_n : as in `crossbow_lab.learners.gradients.gradient_squares`; may be left alone.
        """


class Updating(Protocol):
    """What follows the learners' passes, and what may run beside them."""

    def begin(self, setting: Setting, *, synchronises: bool) -> None:
        """Start what an iteration's update needs and its gradients don't change."""

    def update(self, setting: Setting, n_before: int, *, synchronises: bool) -> None:
        """Update the learners, and z where they synchronise; ``n_before`` as in `averaging.synchronise`."""

    def distances(self, setting: Setting) -> Tensor:
        """Return every learner's Euclidean distance to z: (replicas,)."""


class HostIterations:
    """Iterations launched operator by operator, one at a time, on any device.

    Parameters
    ----------
    work : the learners' common task
    batches : where samples come from
    updates : what follows the learners' passes
    """

    prepares_first = False
    most_at_once = 1
    """More would make whoever adjusts wait longer; the bits don't depend on it."""

    def __init__(self, work: Work, batches: Batches, updates: Updating) -> None:
        self.notices: list[str] = []
        self.recorder: Recorder | None = None
        self._work, self._batches = work, batches
        self._steps: dict[tuple[str, int, int, Recorder | None], Step] = {}
        self.updates = updates

    def record(self, recorder: Recorder | None) -> None:
        """Forget the steps that were made for another recorder."""
        self.recorder = recorder
        self._steps = {key: step for key, step in self._steps.items() if key[-1] in (None, recorder)}

    def prepare(self, setting: Setting, position: int, iteration: int) -> None:
        """Make the executor's step."""
        del iteration
        self._step_for(setting, *self._batches.take(position, setting.aggregate_batch, setting.batch_size))

    def choose(self, setting: Setting, position: int, iteration: int) -> Choice:
        """Measure steps without updates."""
        del iteration
        example = self._batches.take(position, setting.aggregate_batch, setting.batch_size)
        return choose(self._work, setting.replicas, setting.replica_batch, *example)

    def run(
        self, setting: Setting, position: int, iteration: int, *, synchronises: bool, n_before: int, most: int
    ) -> Tensor:
        """Train."""
        samples = setting.aggregate_batch
        done = min(most, self.most_at_once)
        kept = []
        for i in range(done):
            recorder = self.recorder
            if recorder is not None and recorder.is_due(iteration + i):
                at = (position + i * samples, iteration + i, n_before + i)
                losses = self._run_timed(recorder, setting, *at, synchronises=synchronises)
            else:
                inputs, targets = self._batches.take(position + i * samples, samples, setting.batch_size)
                self.updates.begin(setting, synchronises=synchronises)
                losses = self._step_for(setting, inputs, targets)(inputs, targets, iteration + i)
                self.updates.update(setting, n_before + i, synchronises=synchronises)
            kept.append(losses if done == 1 else losses.clone())
        return kept[0].unsqueeze(0) if done == 1 else torch.stack(kept)

    def _run_timed(
        self,
        recorder: Recorder,
        setting: Setting,
        position: int,
        iteration: int,
        n_before: int,
        *,
        synchronises: bool,
    ) -> Tensor:
        """Train one iteration whose tasks are recorded; the same operators in the same order."""
        recorder.iteration, since_s = iteration, time.perf_counter()
        inputs, targets = self._batches.take(position, setting.aggregate_batch, setting.batch_size)
        self.updates.begin(setting, synchronises=synchronises)
        since_s = recorder.add("data", ALL, since_s)
        by_learner = recorder if setting.executor == "loop" else None
        losses = self._step_for(setting, inputs, targets, by_learner)(inputs, targets, iteration)
        since_s = recorder.add("learning", ALL, since_s) if by_learner is None else time.perf_counter()
        self.updates.update(setting, n_before, synchronises=synchronises)
        recorder.add("synchronisation" if synchronises else "learning", ALL, since_s)
        return losses

    def distances(self, setting: Setting, *, is_recent_enough: bool = False) -> Tensor:
        """Compute distances as they are now."""
        del is_recent_enough
        return self.updates.distances(setting)

    def gradient_squares(self, setting: Setting, *, out: Tensor, total_n: Tensor) -> Tensor:
        """Compute them from the bank."""
        return gradient_squares(self._work.bank.gradients[: setting.replicas], out=out, total_n=total_n)

    def _step_for(self, setting: Setting, inputs: Tensor, targets: Tensor, recorder: Recorder | None = None) -> Step:
        """Return the executor's step for a setting, made or found among the last few."""
        key = (setting.executor, setting.replicas, setting.replica_batch, recorder)
        step = self._steps.pop(key, None) or make_step(self._work, *key[:-1], inputs, targets, recorder)
        self._steps[key] = step
        if len(self._steps) > _KEPT_STEPS:
            del self._steps[next(iter(self._steps))]
        return step
