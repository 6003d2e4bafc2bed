"""How long a session trains, and what reaching a target accuracy means."""

import math
from dataclasses import dataclass

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session.checks import check_positive, check_whole


@dataclass(frozen=True)
class Accuracy:
    """A target: the median test accuracy of z over the last ``window`` evaluations reaches ``target``.

    The median over five evaluations is the paper's definition (after the paper, from secondary sources); it
    keeps one lucky evaluation from counting.

    Parameters
    ----------
    target : float
        In 0 < target <= 1.
    window : int
        How many evaluations, at least 1. Until there are as many, the target is not reached.
    """

    target: float
    window: int = 5

    @classmethod
    def of(cls, target: "float | Accuracy", window: int = 5) -> "Accuracy":
        """Return a target accuracy as one of these."""
        return target if isinstance(target, Accuracy) else cls(target, window)

    def __post_init__(self) -> None:
        """Check the ranges."""
        if check_positive("target accuracy", self.target) > 1:
            raise ConfigurationError(
                f"target accuracy {self.target} is outside 0 < target <= 1; write 99 % as cb.Accuracy(0.99)"
            )
        check_whole("window, in evaluations,", self.window)


@dataclass(frozen=True)
class TimeToAccuracy:
    """When a target was reached.

    Attributes
    ----------
    epochs : passes over the training data (statistical efficiency).
    seconds : training time, evaluation not counted.
    samples : training samples processed, by all learners together.
    """

    epochs: float
    seconds: float
    samples: int


@dataclass(frozen=True)
class Limits:
    """Where training stops: whichever comes first. None means no limit of that kind.

    Attributes
    ----------
    iteration : the iteration to stop at, counted from the session's start.
    position : the number of samples to stop at, counted from the session's start.
    seconds : the training clock's reading to stop at.
    until : the target accuracy to stop at.
    """

    iteration: int | None = None
    position: int | None = None
    seconds: float | None = None
    until: Accuracy | None = None


@dataclass(frozen=True)
class Origin:
    """Where limits are counted from.

    Attributes
    ----------
    iteration, position, elapsed_s : how far training has come, on each of the three scales.
    epoch_samples : samples in an epoch.
    end : the iteration where the recipe that is followed ends, or None.
    no_accuracy : why no test accuracy is measured; empty where one is.
    """

    iteration: int
    position: int
    elapsed_s: float
    epoch_samples: int
    end: int | None
    no_accuracy: str


def make_limits(
    origin: Origin,
    *,
    epochs: float | None = None,
    iterations: int | None = None,
    seconds: float | None = None,
    until: Accuracy | float | None = None,
    is_needed: bool = False,
) -> Limits:
    """Turn what a user asked for, counted from now, into limits counted from the session's start.

    Parameters
    ----------
    is_needed : whether there must be a limit beside a target. The recipe's end is one where no other is given.

    Raises
    ------
    ConfigurationError
        If a limit is not a positive number, none is given but one is needed, or a target can never be reached.
    """
    iteration = position = stop_s = None
    if epochs is not None:
        samples = min(_checked("epochs", epochs) * origin.epoch_samples, 2.0**60)  # infinite for 1e308 epochs
        position = origin.position + math.ceil(samples)
    if iterations is not None:
        iteration = origin.iteration + check_whole("iterations, counted from now,", iterations)
    if seconds is not None:
        stop_s = origin.elapsed_s + _checked("seconds", seconds)
    if until is not None and origin.no_accuracy:
        raise ConfigurationError(f"until={until!r} can't be reached: {origin.no_accuracy}; give another limit")
    if until is not None and not isinstance(until, Accuracy):
        until = Accuracy(until)
    if iteration is position is stop_s is None:
        if origin.end is not None and origin.end > origin.iteration and until is None:
            iteration = origin.end
        elif is_needed:
            raise ConfigurationError(
                "nothing says when to end; give epochs=, iterations= or seconds= (and until=, if you like). "
                "Only a recipe that says where it ends (iterations) can do without, until it is there"
            )
    return Limits(iteration=iteration, position=position, seconds=stop_s, until=until)


def _checked(name: str, value: object) -> float:
    """Return a limit that is counted from now."""
    return check_positive(f"{name}, counted from now,", value)
