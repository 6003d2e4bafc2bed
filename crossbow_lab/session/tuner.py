"""The auto-tuner on the training thread: measures throughput while it trains, and asks for more or fewer learners.

It stands between two iterations as an observer. What it decides it asks for as a user would, so every decision is an
adjustment of the recipe, and a replay, which has no tuner, measures nothing again.
"""

import queue
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from crossbow_lab.errors import ConfigurationError, CrossbowError
from crossbow_lab.session.limits import Limits
from crossbow_lab.session.observer import Observer
from crossbow_lab.session.trainer import Trainer
from crossbow_lab.tuning import Decision, GoodputRule, Measurement, Stopwatch, TuningRule, Window, decide
from crossbow_lab.tuning.rules import counted

_NOISE_EVERY = 4  # windows are short


@dataclass
class _Tuning:
    """One search for the best number of learners, from its first measurement until it has settled."""

    rule: TuningRule
    window: Window
    asked: int  # most learners, as the owner wants it
    most: int  # and as far as is known by now
    first: int  # the rule's, or what the algorithm or the owner wants in its place
    stopwatch: Stopwatch
    measured: list[Measurement] = field(default_factory=list)
    settled_on: int | None = None


class Tuner:
    """Tunes a trainer; lives on the training thread.

    Parameters
    ----------
    trainer, observer : of the session
    commands : what is done before the next iteration
    adjust : makes an adjustment, records it, and raises what refuses it
    """

    def __init__(
        self,
        trainer: Trainer,
        observer: Observer,
        commands: "queue.SimpleQueue[Callable[[], None]]",
        adjust: Callable[[dict[str, Any]], None],
    ) -> None:
        self._trainer, self._observer, self._commands, self._adjust = trainer, observer, commands, adjust
        self._tuning: _Tuning | None = None
        self._is_adjusting = False

    @property
    def n_devices(self) -> int:
        """How many devices train."""
        return self._trainer.setting.devices

    @property
    def status(self) -> str:
        """What it does at present, in a few words; empty while it is off."""
        tuning = self._tuning
        if tuning is None:
            return ""
        if tuning.settled_on is not None:
            return f"settled on {counted(tuning.settled_on)}"
        return f"measuring {counted(self._trainer.setting.learners)}"

    def start(self, rule: TuningRule, window: Window, most: int) -> None:
        """Begin a search: with the rule's first number of learners, from the next iteration on."""
        first = min(max(rule.first, self.least_that_fit()), most)
        tuning = self._tuning = _Tuning(rule, window, most, most, first, Stopwatch(window))
        if isinstance(rule, GoodputRule) and not self._observer.noise.is_on:
            self._observer.noise.start(_NOISE_EVERY, None, 2)
        self._observer.note("tuner", f"on: {rule}, from {counted(first)} to {most}")
        self._go_to(tuning, Decision(first, is_final=False, reason=""))

    def stop(self) -> None:
        """End it; learners stay as they are."""
        if self._tuning is not None:
            self._observer.note("tuner", f"off: {counted(self._trainer.setting.learners)} stay")
        self._tuning = None

    def look(self) -> None:
        """Note that iterations have been done; decide where that completes a measurement."""
        tuning = self._tuning
        if tuning is None or tuning.settled_on is not None:
            return
        progress, setting = self._trainer.progress, self._trainer.setting
        rates = tuning.stopwatch.add(
            elapsed_s=self._observer.clock.elapsed_s, iteration=progress.iteration, samples=progress.position
        )
        if rates is not None:
            found = Measurement.of_windows(setting.learners, setting.batch_size, rates, self._observer.noise.scale)
            tuning.measured.append(found)
            tuning.stopwatch = Stopwatch(tuning.window)
            self._decide(tuning)

    def adjusted(self, changes: dict[str, Any]) -> None:
        """Begin again where somebody else has changed what throughput depends on.

        From the rule's first number of learners; where learners were set by hand, from those.
        """
        tuning = self._tuning
        if tuning is None or self._is_adjusting or set(changes) <= {"learning_rate", "restart"}:
            return
        learners, asked = self._trainer.setting.learners, tuning.asked
        most = max(learners, min(asked, self.most_that_fit()))
        first = learners if "learners" in changes else min(max(tuning.rule.first, self.least_that_fit()), most)
        self._tuning = _Tuning(tuning.rule, tuning.window, asked, most, first, Stopwatch(tuning.window))
        self._observer.note("tuner", f"begun again: {', '.join(changes)} changed; from {counted(first)}")
        self._go_to(self._tuning, Decision(first, is_final=False, reason=""))

    def check(self, limits: Limits) -> None:
        """Refuse to train for so few iterations that nothing can be measured.

        Raises
        ------
        ConfigurationError
            Naming how many one measurement takes.
        """
        tuning, iteration = self._tuning, self._trainer.progress.iteration
        if tuning is None or tuning.settled_on is not None or limits.iteration is None:
            return
        given, needed = limits.iteration - iteration, tuning.window.least_iterations + 1
        if given < needed:
            raise ConfigurationError(
                f"auto-tuning measures for {needed} iterations at least before it can decide anything, but training "
                f"is to stop after {given}; train longer, give a shorter cb.tuning.Window, or end it with "
                "session.auto_tuner.stop()"
            )

    def most_that_fit(self) -> int:
        """Return the most learners that bank, data and algorithm allow; memory may allow fewer."""
        for most in range(self._trainer.recipe.max_learners, 1, -1):
            with suppress(ConfigurationError):
                self._trainer.check({"learners": most})
                return most
        return 1

    def least_that_fit(self) -> int:
        """Return the fewest learners that the algorithm allows; the present ones do, whatever it is."""
        for least in range(1, self._trainer.setting.learners):
            with suppress(ConfigurationError):
                self._trainer.check({"learners": least})
                return least
        return self._trainer.setting.learners

    def _decide(self, tuning: _Tuning) -> None:
        """Decide, and have done before the next iteration what was decided."""
        rule = replace(tuning.rule, first=tuning.first)
        decision = decide(rule, tuning.measured, tuning.most, self.least_that_fit())
        self._observer.note("tuner", str(decision))
        self._go_to(tuning, decision)

    def _go_to(self, tuning: _Tuning, decision: Decision) -> None:
        """Ask for a number of learners, as a user would."""
        if decision.is_final:
            tuning.settled_on = decision.learners
        if decision.learners != self._trainer.setting.learners:
            self._commands.put(lambda: self._take(tuning, decision))

    def _take(self, tuning: _Tuning, decision: Decision) -> None:
        """Make the adjustment, unless the search has been given up meanwhile; halve the way to what can't be."""
        if tuning is not self._tuning:
            return
        self._is_adjusting = True
        try:
            self._adjust({"learners": decision.learners})
        except CrossbowError as error:  # no memory, or a model that this executor can't run so; `adjust` notes it
            if not tuning.measured:
                self._tuning = None
                self._observer.note("tuner", f"off: {counted(decision.learners)} can't train: {error}")
                return
            done = max(one.learners for one in tuning.measured)
            tuning.most, tuning.settled_on = max(done, (done + decision.learners) // 2), None
            self._decide(tuning)
        finally:
            self._is_adjusting = False
        tuning.stopwatch = Stopwatch(tuning.window)
