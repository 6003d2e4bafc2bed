"""One entrant of a race: its session, and whether it takes turns."""

from typing import Any

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.racing.turns import Turns
from crossbow_lab.session import Accuracy, Session, TimeToAccuracy
from crossbow_lab.session.limits import Limits
from crossbow_lab.session.spells import is_over, spell, spell_limits


class Lane:
    """One entrant of a race; `crossbow_lab.racing.Race` makes it.

    Attributes
    ----------
    name : as the race was told.
    session : what trains. Adjust it here or there; start, pause and stop it here alone, or it would train beside the
        others instead of taking turns.
    error : why it ended early, as a text; None if it didn't.
    slices : turns it has had.
    """

    def __init__(self, name: str, session: Session, turns: Turns, goal: Accuracy | None) -> None:
        self.name, self.session = name, session
        self.error: str | None = None
        self.slices = 0
        self._turns, self._goal = turns, goal
        self._limits = Limits()
        self._credit_s = 0.0
        self._is_held = False
        self._ending = ""

    def __repr__(self) -> str:
        now = self.session.snapshot
        return f"<lane {self.name!r} {self.state}: {now.epoch:.2f} epochs in {now.elapsed_s:.2f} s>"

    # ---- what its owner does --------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """One of "ready", "running" (also while others have their turn), "paused", "finished", "stopped", "failed"."""
        if self._ending:
            return self._ending
        if self._is_held:
            return "paused"
        return "running" if self._turns.are_taken else "ready"

    @property
    def reached(self) -> TimeToAccuracy | None:
        """When it reached the race's target, on its own clock; None if it hasn't, or there is no target."""
        return None if self._goal is None else self.session.time_to_accuracy(self._goal)

    def adjust(self, **changes: Any) -> None:
        """Change settings from the next iteration on; see `Session.adjust`. They go into this lane's recipe.

        Between two turns the lane is at an iteration's end, and the change is made at once.

        Raises
        ------
        ConfigurationError
            If a value can't be; nothing changes then.
        """
        self.session.adjust(**changes)

    def pause(self) -> None:
        """Sit out, from the end of the present turn on; the others go on, and nothing is made up for later."""
        self._require_going("pause")
        self._turns.change(lambda: self._hold(is_held=True))

    def resume(self) -> None:
        """Take turns again."""
        self._require_going("resume")
        self._turns.change(lambda: self._hold(is_held=False))

    def stop(self) -> None:
        """Leave the race at the end of the present turn, with an evaluation of z; returns at once."""
        self._require_going("stop")
        self._turns.change(lambda: self.end("stopped"))

    def _require_going(self, what: str) -> None:
        """Refuse what makes no sense for a lane that has ended."""
        if self._ending:
            raise ConfigurationError(
                f"{what}() of lane {self.name!r}, which has {self._ending}; race.reset() begins again"
            )

    def _hold(self, *, is_held: bool) -> None:
        """Sit out, or no longer."""
        self._is_held = is_held

    # ---- what the race does ---------------------------------------------------------------------------------

    @property
    def can_go(self) -> bool:
        """Whether it isn't at its end."""
        return not self._ending

    @property
    def takes_turns(self) -> bool:
        """Whether it is to train."""
        return not self._ending and not self._is_held

    def prepare(self, epochs: float | None, seconds: float | None, *, is_needed: bool) -> Limits:
        """Return where it would end: limits are counted from now.

        Raises
        ------
        ConfigurationError
            As `Session.run`.
        """
        return spell_limits(self.session, epochs=epochs, seconds=seconds, until=self._goal, is_needed=is_needed)

    def line_up(self, limits: Limits) -> None:
        """Get ready to take turns; a lane that has reached the target, or failed, stays where it is."""
        if self._ending != "failed" and self.reached is None:
            self._limits, self._ending, self._credit_s, self.error = limits, "", 0.0, None

    def train(self, slice_s: float) -> None:
        """Have a turn of so many seconds of this lane's training time, more or less what its last turns took too long.

        A turn ends between two iterations, so it is never exact; what is too much now is taken off the next turns.
        """
        self._credit_s += slice_s
        if self._credit_s <= 0:
            return
        before_s, given_s = self.session.snapshot.elapsed_s, self._credit_s
        try:
            error = spell(self.session, self._limits, given_s)
        except ConfigurationError as refusal:  # somebody else lets it train, or has closed it
            self.error, self._ending = str(refusal), "stopped"
            return
        finally:
            took_s = self.session.snapshot.elapsed_s - before_s
            self._credit_s -= took_s
            self.slices += 1
        if error is not None:
            self.error, self._ending = self.session.error, "failed"
        elif self.session.state == "stopped":  # by its own stop()
            self._ending = "stopped"
        elif is_over(self.session, self._limits):
            self.end("finished")
        elif took_s < given_s:  # by its own pause()
            self._is_held = True

    def end(self, how: str) -> None:
        """Evaluate z, if it hasn't been as it is now, and train no more."""
        self._ending = how
        self.session.stop()

    def reset(self) -> None:
        """Begin again: the same recipe and seed, without adjustments."""
        self.session.reset()
        self._limits, self._credit_s, self._is_held, self._ending, self.error = Limits(), 0.0, False, "", None
        self.slices = 0
