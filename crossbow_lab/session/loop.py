"""The training loop: obeys commands between iterations, trains, and looks and evaluates when it is time to."""

import contextlib
import queue
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from crossbow_lab.errors import CheckpointError, ConfigurationError, CrossbowError
from crossbow_lab.learners import one_device
from crossbow_lab.session import checkpoint as checkpoints
from crossbow_lab.session.build import Built
from crossbow_lab.session.history import Record
from crossbow_lab.session.limits import Limits, Origin
from crossbow_lab.session.observer import Observer
from crossbow_lab.session.progress import progress_line
from crossbow_lab.session.recipe import Recipe
from crossbow_lab.session.setting import Adjustment
from crossbow_lab.session.threads import using_threads
from crossbow_lab.session.tuner import Tuner

_PROGRESS_EVERY_S = 2.0
_CHECKPOINT_EVERY_S = 60.0


class Loop:
    """Trains in whichever thread calls `run`, and keeps the record.

    Parameters
    ----------
    built : the trainer, its recipe, and why its executor was chosen
    folder : where the record is written as it happens, or None
    past : the checkpoint to go on from, which the trainer has been loaded from; or None

    Attributes
    ----------
    state : "ready", "running", "paused", "finished", "stopped" or "failed".
    error, traceback : why it failed, as texts; None if it didn't.
    limits : where training stops, or stopped the last time.
    commands : what to do before the next iteration. Put into it from any thread, and from signal handlers.
    tuner : asks for more or fewer learners, where it is on.
    """

    def __init__(self, built: Built, folder: Path | None, past: checkpoints.Checkpoint | None) -> None:
        self.trainer = built.trainer
        self.error: str | None = None
        self.traceback: str | None = None
        self.limits = Limits()
        self.commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.record = Record(folder, past.entries if past else None)
        self.observer = Observer(built.trainer, self.record, past.memory if past else None)
        self.tuner = Tuner(built.trainer, self.observer, self.commands, self.adjust)
        self._recipe = replace(built.recipe, adjustments=(), iterations=None)
        self._script = deque(past.script if past else built.recipe.adjustments)
        self._adjustments = list(past.recipe.adjustments) if past else []
        self._end = past.end if past else built.recipe.iterations
        self._trains = False
        self._steps_left: int | None = None
        self._step_done: Future[None] | None = None
        self._ending: str | None = None
        self._next_line_s = self._last_checkpoint_s = 0.0
        if past:
            self.observer.note("restored", f"at iteration {self.trainer.progress.iteration}")
        else:
            self.observer.note("executor", f"{built.recipe.executor}: {built.reason}")
        self._pass_on_notices()
        self._write_recipe()

    @property
    def state(self) -> str:
        """How the session stands, in one word."""
        return self.observer.state

    @property
    def origin(self) -> Origin:
        """What limits are counted from."""
        data, progress = self.trainer.data, self.trainer.progress
        lacks = {"has no test data": data.test is None, "has real targets": data.n_classes is None}
        return Origin(
            iteration=progress.iteration,
            position=progress.position,
            elapsed_s=self.observer.clock.elapsed_s,
            epoch_samples=self.trainer.batches.epoch_samples,
            end=self._end,
            no_accuracy=" and ".join(f"{data.name} {lack}" for lack, holds in lacks.items() if holds),
        )

    def run(self, limits: Limits, progress: bool, at_end: str) -> None:
        """Train until a limit or a command to stop; leaves `state` saying which, ``at_end`` for a limit."""
        self._begin_or_end(trains=True)
        self.limits = limits
        self._next_line_s = time.perf_counter() + _PROGRESS_EVERY_S
        if limits.until is not None and self.observer.has_reached(limits.until):
            self._ending = at_end
        with using_threads(self._recipe.threads), one_device(self.trainer.bank.centre.device), torch.enable_grad():
            while self._goes_on(limits, at_end):
                if self._steps_left == 0 and at_end == "paused":
                    self._ending = at_end  # whoever trains only until a pause must get back what it lent
                elif self._steps_left == 0:
                    self._rest()
                else:
                    self._iterate(limits, progress, at_end)
            self._finish()

    def _goes_on(self, limits: Limits, at_end: str) -> bool:
        """Obey what is asked, and tell whether training goes on after that."""
        self._obey()
        progress = self.trainer.progress
        if self._ending is None and (
            (limits.iteration is not None and progress.iteration >= limits.iteration)
            or (limits.position is not None and progress.position >= limits.position)
            or (limits.seconds is not None and self.observer.clock.elapsed_s >= limits.seconds)
        ):
            self._ending = at_end
        return self._ending is None

    def _obey(self) -> None:
        """Do what is due before an iteration: commands, and the adjustments of the recipe that is replayed."""
        for _ in range(self.commands.qsize()):  # those that are there: more may come as fast as they are obeyed
            self.observer.read_losses()  # a loss that isn't finite concerns training, not whoever asks
            self.commands.get()()
        while self._script and self._script[0].iteration <= self.trainer.progress.iteration:
            self.observer.read_losses()
            self.adjust(self._script.popleft().changes)

    def _iterate(self, limits: Limits, progress: bool, at_end: str) -> None:
        """Train one iteration; look and evaluate if it is time to."""
        trainer, observer = self.trainer, self.observer
        if not observer.clock.is_running:
            observer.state = "running"
            observer.clock.start()
        restart_was_due = trainer.progress.restart_due
        before = trainer.progress.iteration
        losses = trainer.step(self._most_iterations(limits))
        if restart_was_due and not trainer.progress.restart_due:
            observer.note("restart", "after a change of the learning rate")
        # Before any command at this boundary, so that a replay, too, takes steps before adjustments.
        rate = trainer.follow_schedule()
        if rate is not None:
            observer.note("learning_rate", f"{rate:g}, by schedule")
        if self._steps_left is not None:
            self._steps_left -= trainer.progress.iteration - before
        self._pass_on_notices()
        self.tuner.look()
        if observer.watch(losses) and progress:
            self._print_line(limits)
        if observer.is_evaluation_due:
            self._evaluate()
            if limits.until is not None and observer.has_reached(limits.until):
                goal = limits.until
                observer.note("target", f"median test accuracy of {goal.window} evaluations reached {goal.target:g}")
                self._ending = at_end

    def _most_iterations(self, limits: Limits) -> int:
        """Return how many iterations may be trained before something is due between two of them; at least one."""
        progress, samples = self.trainer.progress, self.trainer.setting.aggregate_batch
        position = self.observer.next_evaluation
        if limits.position is not None:
            position = min(position, limits.position)
        counts = [self.observer.most_iterations, -(-(position - progress.position) // samples)]
        if limits.iteration is not None:
            counts.append(limits.iteration - progress.iteration)
        if self._script:
            counts.append(self._script[0].iteration - progress.iteration)
        if self._steps_left is not None:
            counts.append(self._steps_left)
        return max(1, min(counts))

    def _pass_on_notices(self) -> None:
        """Note what a user should know of how iterations are run."""
        notices = self.trainer.iterations.notices
        while notices:
            self.observer.note("executor", notices.pop(0))

    def _rest(self) -> None:
        """Wait, paused, for one command, and obey it."""
        if self.observer.clock.is_running or self.state != "paused":
            self.observer.clock.stop()
            self.observer.look(waits=True)
            self.observer.state = "paused"  # after the look: whoever sees the state may read the snapshot
            self._complete_step()
        self.commands.get()()

    def _finish(self) -> None:
        """Look and evaluate a last time, and say how it ended."""
        ending = self._ending or "stopped"
        self.observer.read_losses()
        if ending != "paused" and not self.observer.is_evaluated:
            self._evaluate()
        self.observer.clock.stop()
        self._begin_or_end(trains=False)
        self.observer.look(waits=True)
        self._write_recipe()
        self.observer.state = ending
        self._complete_step()

    def _begin_or_end(self, *, trains: bool) -> None:
        """Begin with no plan to pause or end, or end and make no such plans any more."""
        self._trains, self._ending, self._steps_left = trains, None, None

    def fail(self, error: BaseException) -> None:
        """Note a failure; everything recorded stays, and the snapshot stays the last good one."""
        self.observer.clock.stop()
        self.trainer.together.release()
        self._begin_or_end(trains=False)
        self.error = str(error) or type(error).__name__
        self.traceback = "".join(traceback.format_exception(error))
        self.observer.state = "failed"
        with contextlib.suppress(CrossbowError):  # a full disk may be what failed; memory holds everything
            self.observer.note("failed", self.error)
            self._write_recipe()
        self._complete_step(error)

    # ---- commands, obeyed between iterations ----------------------------------------------------------------

    def pause(self) -> None:
        """Pause before the next iteration; steps that somebody waits for end early."""
        if self._trains:
            self._steps_left = 0
            self._complete_step()

    def resume(self) -> None:
        """Go on, without pausing after steps that somebody waits for."""
        self._steps_left = None
        self._complete_step()

    def step(self, n: int, done: Future[None]) -> None:
        """Train ``n`` iterations, then pause and complete ``done``.

        Raises
        ------
        ConfigurationError
            If it isn't paused, or about to be.
        """
        if not self._trains:
            raise ConfigurationError(f"step({n}) came when training had just ended; call it again")
        if self._steps_left != 0:
            raise ConfigurationError(f"step({n}) while the session is {self.state}; pause() it first")
        self._complete_step()  # an earlier one, whose iterations are done
        self._steps_left, self._step_done = n, done

    def stop(self) -> None:
        """Stop before the next iteration."""
        self._ending = "stopped"

    def adjust(self, changes: dict[str, Any]) -> None:
        """Change the setting, and note it in recipe and events; a refusal is an event too, and changes nothing.

        Raises
        ------
        ConfigurationError, ExecutorError, ModelError
            Why it was refused.
        """
        others = {name: value for name, value in changes.items() if name != "restart"}
        try:
            self.trainer.adjust(changes)
        except CrossbowError as error:
            self.observer.note("refused", f"{_listed(others)}: {error}")
            raise
        self._adjustments.append(Adjustment(self.trainer.progress.iteration, changes))
        self.observer.adjusted()
        if others:
            self.observer.note("adjustment", _listed(others))
        if "restart" in changes:
            self.observer.note("restart", "asked for")
        self.tuner.adjusted(changes)
        self._write_recipe()

    def save(self, path: Path) -> Path:
        """Write a checkpoint."""
        content = checkpoints.to_json(
            recipe=self.recipe(),
            script=tuple(self._script),
            end=self._end,
            entries=self.record.entries_to_json(),
            memory=self.observer.memory,
        )
        checkpoints.save(path, self.trainer, content)
        self.observer.note("checkpoint", path.name)
        return path

    # ---- the record -----------------------------------------------------------------------------------------

    def recipe(self) -> Recipe:
        """Return the recipe of what has been done so far; may be called from any thread."""
        # The iteration first: an adjustment made before it is in the list by then.
        iteration = self.trainer.progress.iteration
        made = tuple(adjustment for adjustment in self._adjustments if adjustment.iteration <= iteration)
        return replace(self._recipe, adjustments=made, iterations=iteration or None)

    def _evaluate(self) -> None:
        """Evaluate z, and leave recipe and checkpoint in the folder."""
        self.observer.evaluate()
        now_s, folder = time.perf_counter(), self.record.folder
        if folder is not None and now_s - self._last_checkpoint_s >= _CHECKPOINT_EVERY_S:
            self._last_checkpoint_s = now_s
            self._write_recipe()
            try:
                self.save(folder / "last.safetensors")
            except CheckpointError as error:  # training itself needs none
                self.observer.note("checkpoint", f"not written: {error}")

    def _write_recipe(self) -> None:
        """Leave the recipe in the folder."""
        if self.record.folder is not None:
            self.record.write_recipe(self.recipe())

    def _complete_step(self, error: BaseException | None = None) -> None:
        """Tell whoever waits for a step that it is done, or what went wrong."""
        done, self._step_done = self._step_done, None
        if done is not None and error is None:
            done.set_result(None)
        elif done is not None:
            done.set_exception(error)

    def _print_line(self, limits: Limits) -> None:
        """Print how training stands, at most every two seconds."""
        now_s = time.perf_counter()
        if now_s >= self._next_line_s:
            self._next_line_s = now_s + _PROGRESS_EVERY_S
            line = progress_line(self.observer.snapshot, limits, self.trainer.batches.epoch_samples)
            print(line, flush=True)  # noqa: T201  (asked for by progress=True)


def _listed(changes: dict[str, Any]) -> str:
    """Say changes in words."""
    return ", ".join(f"{name} {value}" for name, value in changes.items())
