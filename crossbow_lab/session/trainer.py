"""Trains, one iteration at a time, deterministically. Knows nothing of threads, clocks or users.

The same recipe makes the same sequence of operations, so on the same hardware and versions the same bits.
"""

import copy
import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from crossbow_lab import kernels
from crossbow_lab.averaging import local_momentum, restart, sync_period_at
from crossbow_lab.devices.group import Group
from crossbow_lab.errors import ConfigurationError, ModelError
from crossbow_lab.learners import (
    Bank,
    Batches,
    Choice,
    Loss,
    Preparation,
    Work,
    admit,
    bind,
    check_batch,
    draws_random_numbers,
    make_bank,
)
from crossbow_lab.learners.resident import make_supply
from crossbow_lab.session.device_iterations import DeviceIterations
from crossbow_lab.session.evaluation import recalibrate
from crossbow_lab.session.group.together import Together
from crossbow_lab.session.group.updates import GroupUpdates
from crossbow_lab.session.iterations import HostIterations, Iterations
from crossbow_lab.session.policies import Policy, factor_at, steps_at
from crossbow_lab.session.recipe import Recipe
from crossbow_lab.session.setting import Setting, changes_to_json
from crossbow_lab.session.updates import Updates
from crossbow_lab.workloads import DataSet


@dataclass
class Progress:
    """How far training has come; all of it that isn't a tensor.

    Attributes
    ----------
    iteration : iterations done.
    position : samples taken from the stream.
    since_synchronisation : iterations since learners were last corrected.
    synchronisations : how many there have been since averaging began or restarted.
    restart_due : whether averaging restarts after the next synchronisation.
    schedule_steps : how many of the steps of the recipe's learning-rate steps or policy have been taken.
    base_rate : what the recipe's learning-rate policy is a factor of; an adjustment of the rate scales it.
    """

    iteration: int = 0
    position: int = 0
    since_synchronisation: int = 0
    synchronisations: int = 0
    restart_due: bool = False
    schedule_steps: int = 0
    base_rate: float = 0.0


class Trainer:
    """The learners of one session and the algorithm that keeps them together.

    Parameters
    ----------
    recipe : Recipe, with its executor and threads chosen
    model : the initial model, in the recipe's dtype and on its device; not changed
    data, loss, has_dropout : what `crossbow_lab.session.sources` found
    group : the devices that train together, or None for one alone. The leader's trainer tells the others' what to do:
        all of them do the same in the same order.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        data: DataSet,
        loss: Loss,
        *,
        has_dropout: bool,
        group: Group | None = None,
    ) -> None:
        self.recipe, self.data, self.loss = recipe, data, loss
        self.setting = recipe.setting
        self.progress = Progress(base_rate=recipe.learning_rate)
        self.together = Together(group)
        device, dtype = torch.device(recipe.device), getattr(torch, recipe.dtype)
        self._template = model.train()
        self.bank: Bank = make_bank(model, max_learners=recipe.max_learners)
        rank, n_devices = self.together.place
        place: dict[str, Any] = {"rank": rank, "n_devices": n_devices}
        augments = bool(recipe.augment)
        self.batches = Batches(data, recipe.seed, augment=augments, device=device, dtype=dtype, **place)
        self.prepare = Preparation(data, device, dtype)
        self._work = Work(model, self.bank, loss, recipe.seed, has_dropout, recipe.amp, **place)
        self.iterations = self._make_iterations(device, dtype)
        self._central = copy.deepcopy(model)
        self._admit(0, model)
        bind(self._central, self.bank.views(self.bank.centre), dict(self._central.named_buffers()))

    @property
    def epoch(self) -> float:
        """Passes over the training data so far, by all learners together."""
        return self.progress.position / self.batches.epoch_samples

    @property
    def work(self) -> Work:
        """What executors are given."""
        return self._work

    @property
    def state(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """The learners' weights and gradients, and their local velocity where the algorithm has one."""
        replicas = self.setting.replicas
        velocity = self.bank.local_velocity[:replicas] if self._local_momentum else None
        return self.bank.weights[:replicas], self.bank.gradients[:replicas], velocity

    def step(self, most: int = 1) -> Tensor:
        """Train one iteration, or several if that is faster here, but at most ``most``.

        Returns
        -------
        (done, replicas) : the losses of the iterations done, a tensor that the next call overwrites.
        """
        with self.together.telling("step", most=most):
            return self._step(most)

    def _step(self, most: int) -> Tensor:
        """Train, once the other devices know."""
        progress, setting = self.progress, self.setting
        period = sync_period_at(setting.algorithm, self.epoch)
        until_synchronised = period - progress.since_synchronisation
        synchronises = until_synchronised <= 1
        is_period_final = period == sync_period_at(setting.algorithm, math.inf)
        if progress.restart_due or (synchronises and period > 1) or not is_period_final:
            alike = 1
        else:
            alike = most if synchronises else until_synchronised - 1
        losses = self.iterations.run(
            setting,
            progress.position,
            progress.iteration,
            synchronises=synchronises,
            n_before=progress.synchronisations,
            most=self._with_one_rate(max(1, min(most, alike))),
        )
        done = losses.shape[0]
        progress.since_synchronisation = 0 if synchronises else progress.since_synchronisation + done
        progress.synchronisations += done if synchronises else 0
        if synchronises:
            self.together.compare(self.fingerprint, done)
        if synchronises and progress.restart_due:
            self.restart_averaging(keeps_momentum=_restart_of(setting) == "copy_on_lr_change")
        progress.iteration += done
        progress.position += done * setting.aggregate_batch
        return losses

    def prepare_step(self, setting: Setting) -> None:
        """Make what a setting needs, so that the next iteration with it finds it made.

        Raises
        ------
        ExecutorError
            If the executor can't run the model here.
        ConfigurationError
            If there is no memory for it.
        """
        self.iterations.prepare(setting, self.progress.position, self.progress.iteration)

    def choose(self) -> Choice:
        """Measure the executors that run the present setting here, and choose the fastest."""
        return self.iterations.choose(self.setting, self.progress.position, self.progress.iteration)

    def restart_averaging(self, *, keeps_momentum: bool = False) -> None:
        """Set all learners to z, and clear the momentum of z and of the learners, unless all of that is kept."""
        weights, _, velocity = self.state
        if keeps_momentum:
            weights.copy_(self.bank.centre.expand_as(weights))
        else:
            restart(weights, self.bank.centre, self.bank.centre_velocity, velocity)
        self.progress.restart_due = False
        self.progress.since_synchronisation = self.progress.synchronisations = 0

    def check(self, changes: dict[str, Any], setting: Setting | None = None) -> Setting:
        """Return what the present setting, or another, would be after ``changes``.

        Raises
        ------
        ConfigurationError
            If it isn't possible.
        """
        new = (setting or self.setting).adjusted(changes)
        if new.learners > self.recipe.max_learners:
            raise ConfigurationError(
                f"{new.learners} learners asked for, but the bank holds max_learners="
                f"{self.recipe.max_learners}; start the session with a larger max_learners"
            )
        check_batch(self.data, new.total_learners, new.batch_size)
        return new

    def adjust(self, changes: dict[str, Any]) -> None:
        """Change the setting before the next iteration.

        A learner that is added starts at z; one that leaves takes nothing with it. A change of the learning rate
        makes SMA restart after the next synchronisation, and a policy go on from that rate; another algorithm
        restarts at once, but the same one with another α or momentum goes on from where it is.

        Raises
        ------
        ConfigurationError, ExecutorError, ModelError
            If the new setting isn't possible; nothing has changed then.
        """
        old, new = self.setting, self.check(changes)
        with self.together.telling("adjust", changes=changes_to_json(changes)):
            self.together.agree(lambda: self._try_out(old, new))
            self._take(old, new, changes)

    def _take(self, old: Setting, new: Setting, changes: dict[str, Any]) -> None:
        """Change the setting, once everybody can."""
        is_new_algorithm = type(new.algorithm) is not type(old.algorithm)
        had_local_momentum = self._local_momentum > 0
        # Another algorithm may have other replicas (S-SGD has one), so all of them start anew.
        staying = 0 if is_new_algorithm else min(old.replicas, new.replicas)
        central = self.central_model() if staying < new.replicas else None
        self.setting = new
        if central is not None:
            self._admit(staying, central)
        if self._local_momentum > 0 and not had_local_momentum:
            self.bank.local_velocity[: new.replicas].zero_()
        if is_new_algorithm or "restart" in changes:
            self.restart_averaging()
        if new.learning_rate != old.learning_rate:
            self._scale_policy()
            self._note_learning_rate_change()

    def _try_out(self, old: Setting, new: Setting) -> None:
        """Refuse a setting that the model can't run with, before anything has changed."""
        if new.executor != old.executor or self.iterations.prepares_first:
            self.prepare_step(new)
        if new.replica_batch == 1 != old.replica_batch:  # the one size that models with batch norm may refuse
            inputs, _ = self.batches.take(self.progress.position, new.aggregate_batch, new.batch_size)
            try:
                draws_random_numbers(self._template, inputs[:1])
            except Exception as error:  # whatever a user's forward pass raises
                raise ModelError(
                    f"the model can't train on one sample at a time ({error}); use batch_size=2 or more"
                ) from error

    def take_over(self, setting: Setting, progress: Progress) -> None:
        """Go on from another trainer's setting and progress; its tensors are to be copied in next."""
        self.setting, self.progress = setting, progress
        self._admit(0, self._template)

    def follow_schedule(self) -> float | None:
        """Take the recipe's learning-rate steps that are due; return the new rate if there is one.

        A policy's smooth changes are taken without a word: they are no steps.
        """
        if self.recipe.learning_rate_policy is not None:
            return self._follow_policy(self.recipe.learning_rate_policy)
        steps, taken = self.recipe.learning_rate_steps, None
        while self.progress.schedule_steps < len(steps):
            epoch, rate = steps[self.progress.schedule_steps]
            if self.progress.position < epoch * self.batches.epoch_samples:
                break
            self.progress.schedule_steps += 1
            self.setting = replace(self.setting, learning_rate=rate)
            self._note_learning_rate_change()
            taken = rate
        return taken

    def _follow_policy(self, policy: Policy) -> float | None:
        """Take the rate that a policy has now; return it if it stepped there."""
        progress = self.progress
        rate, steps = self._rate_after(policy, 0), steps_at(policy, progress.iteration, self.epoch)
        if rate != self.setting.learning_rate:
            self.setting = replace(self.setting, learning_rate=rate)
        if steps == progress.schedule_steps:
            return None
        progress.schedule_steps = steps
        self._note_learning_rate_change()
        return rate

    def _scale_policy(self) -> None:
        """Let a policy go on from the rate that is in force."""
        policy, progress = self.recipe.learning_rate_policy, self.progress
        if policy is not None:
            progress.base_rate = self.setting.learning_rate / factor_at(policy, progress.iteration, self.epoch)

    def _rate_after(self, policy: Policy, iterations: int) -> float:
        """Return the rate that a policy has after so many iterations more."""
        progress = self.progress
        position = progress.position + iterations * self.setting.aggregate_batch
        epoch = position / self.batches.epoch_samples
        return progress.base_rate * factor_at(policy, progress.iteration + iterations, epoch)

    def central_model(self) -> nn.Module:
        """Return z as a module in evaluation mode, a copy that later training doesn't change.

        Its batch-norm statistics are the learners' average, or recalibrated on training samples, as the recipe
        says.
        """
        model = self.central_copy()
        if self.recipe.batch_norm == "recalibrate":
            recalibrate(model, self.data, self.prepare)
        return model.eval()

    def central_copy(self) -> nn.Module:
        """Return a copy of the module with z as its parameters and the learners' average buffers."""
        replicas = self.setting.replicas
        buffers, n_rows = dict(self._central.named_buffers()), self.setting.total_replicas
        with torch.no_grad(), self.together.telling("buffers", if_any=bool(buffers)):
            for name, buffer in buffers.items():
                rows = self.bank.buffers[name][:replicas]
                buffer.copy_(self.together.mean(rows, n_rows) if rows.is_floating_point() else rows[0])
        return copy.deepcopy(self._central)

    def distances(self, *, is_recent_enough: bool = False) -> Tensor:
        """Return every learner's Euclidean distance to z, on all devices: (k,); see `Iterations.distances`."""
        with self.together.telling("distances", is_recent_enough=is_recent_enough):
            own = self.iterations.distances(self.setting, is_recent_enough=is_recent_enough)
            return self.together.joined(own.unsqueeze(0)).squeeze(0)

    def join_losses(self, losses: Tensor) -> Tensor:
        """Return the losses of all devices' learners, (done, k), of those of this one's, (done, m)."""
        with self.together.telling("losses"):
            return self.together.joined(losses)

    def fingerprint(self) -> str:
        """Return the SHA-256 of z's bytes, padding not counted."""
        centre = self.bank.centre[: self.bank.n_parameters].cpu().contiguous()
        return hashlib.sha256(centre.view(torch.uint8).numpy().tobytes()).hexdigest()

    @property
    def _local_momentum(self) -> float:
        """Local momentum of the present algorithm; 0 where it has none."""
        return local_momentum(self.setting.algorithm)

    def _make_iterations(self, device: torch.device, dtype: torch.dtype) -> Iterations:
        """Return what runs iterations here: our kernels on CUDA, torch's own operators elsewhere."""
        recipe = self.recipe
        missing = kernels.why_not(device) if self.together.group is None else "kernels run on one device alone"
        if missing is None:
            supply = make_supply(
                self.data, recipe.seed, augment=bool(recipe.augment), device=device, dtype=dtype, batches=self.batches
            )
            return DeviceIterations(self._work, supply, self.batches, recipe.weight_decay)
        updates: Updates | GroupUpdates = Updates(self.bank, recipe.weight_decay)
        if self.together.group is not None:
            updates = GroupUpdates(self.bank, recipe.weight_decay, self.together.group)
        iterations = HostIterations(self._work, self.batches, updates)
        if device.type == "cuda":
            iterations.notices.append(f"iterations run on torch's own operators, several times slower: {missing}")
        return iterations

    def _with_one_rate(self, most: int) -> int:
        """Return how many of so many iterations have the same learning rate by the recipe; at least one."""
        policy, steps = self.recipe.learning_rate_policy, self.recipe.learning_rate_steps
        if policy is not None:
            rate, alike = self.setting.learning_rate, 1
            while alike < min(most, self.iterations.most_at_once) and self._rate_after(policy, alike) == rate:
                alike += 1
            return alike
        taken = self.progress.schedule_steps
        if taken >= len(steps):
            return most
        samples = min(steps[taken][0] * self.batches.epoch_samples, 2.0**60) - self.progress.position
        return max(1, min(most, math.ceil(samples / self.setting.aggregate_batch)))

    def _note_learning_rate_change(self) -> None:
        """Make SMA restart after the next synchronisation, if it is to."""
        if _restart_of(self.setting) != "never":
            self.progress.restart_due = True

    def _admit(self, first: int, model: nn.Module) -> None:
        """Let the learners from this one on start at z, with the buffers of ``model``."""
        has_velocity = self._local_momentum > 0
        admit(self.bank, first, self.setting.replicas, model, local_momentum=has_velocity)


def _restart_of(setting: Setting) -> str:
    """Return when the algorithm restarts averaging, in the word that it has for it."""
    return str(getattr(setting.algorithm, "restart", "never"))
