"""What came of trainings: when each reached the target, and how fast it was; and the same over seeds."""

import math
import statistics as pystatistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from crossbow_lab.runs.comparing.configurations import Configuration
from crossbow_lab.runs.comparing.statistics import Estimate, geometric_mean, median
from crossbow_lab.runs.comparing.trials import Trial

if TYPE_CHECKING:
    from crossbow_lab.session.history import Row
    from crossbow_lab.session.limits import Accuracy

SECONDS, EPOCHS, SAMPLES_PER_S = "seconds_to_target", "epochs_to_target", "samples_per_s"
TO_TARGET = (SECONDS, EPOCHS)


@dataclass(frozen=True)
class Outcome:
    """What came of one training.

    Parameters
    ----------
    trial : Trial
    seconds_to_target : float
        Training time, evaluation not counted [s]; infinite if the target wasn't reached, NaN without a target.
    epochs_to_target : float
        Passes over the training data, likewise.
    samples_per_s : float
        All samples over all training time; NaN without a history.
    trained_s : float
        All its training time [s]; NaN without a history.
    final_accuracy : float
        The last test accuracy of z, 0..1; NaN without a history.
    """

    trial: Trial
    seconds_to_target: float
    epochs_to_target: float
    samples_per_s: float
    trained_s: float
    final_accuracy: float


@dataclass(frozen=True)
class Result:
    """What came of one configuration.

    Parameters
    ----------
    configuration : Configuration
    outcomes : tuple of Outcome
        One per training.
    """

    configuration: Configuration
    outcomes: tuple[Outcome, ...]

    def values(self, measure: str) -> list[float]:
        """Return one value for each seed: the median over its attempts, as they aren't independent of each other."""
        by_seed: dict[Any, list[float]] = {}
        for index, outcome in enumerate(self.outcomes):
            seed = outcome.trial.seed
            value = getattr(outcome, measure)
            if not math.isnan(value):
                by_seed.setdefault(("?", index) if seed is None else seed, []).append(value)
        return [pystatistics.median(values) for values in by_seed.values()]

    @property
    def n_seeds(self) -> int:
        """How many different seeds there are."""
        seeds = [outcome.trial.seed for outcome in self.outcomes]
        return len({seed for seed in seeds if seed is not None}) + seeds.count(None)

    @property
    def n_reached(self) -> int:
        """With how many seeds the target was reached."""
        return sum(math.isfinite(value) for value in self.values(SECONDS))

    def headline(self, measure: str) -> tuple[Estimate, str]:
        """Return the estimate to show, and its name.

        The geometric mean where there is one, else the median, which can count what wasn't reached.
        """
        values = self.values(measure)
        mean = geometric_mean(values)
        return (median(values), "median") if math.isinf(mean.value) else (mean, "geometric mean")


def measure_trial(trial: Trial, target: "Accuracy | None") -> Outcome:
    """Say what came of one training."""
    from crossbow_lab.session.history import time_to_accuracy

    if trial.history is None:
        never = math.nan if target is None else math.inf
        return Outcome(trial, never, never, math.nan, math.nan, math.nan)
    history = trial.history
    seconds = epochs = math.nan
    if target is not None:
        reached = time_to_accuracy(cast("Sequence[Row]", list(history.itertuples())), target)
        seconds, epochs = (math.inf, math.inf) if reached is None else (reached.seconds, reached.epochs)
    last = history.iloc[-1]
    samples, elapsed_s = float(last["samples"]), float(last["elapsed_s"])
    return Outcome(
        trial=trial,
        seconds_to_target=float(seconds),
        epochs_to_target=float(epochs),
        samples_per_s=samples / elapsed_s if elapsed_s > 0 else math.nan,
        trained_s=elapsed_s,
        final_accuracy=float(last["test_accuracy"]),
    )
