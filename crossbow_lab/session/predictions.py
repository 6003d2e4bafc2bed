"""What a scan predicts of settings that haven't been run, and how far that was off once they have."""

import math
from dataclasses import dataclass

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session.limits import Accuracy
from crossbow_lab.session.session import Session


@dataclass(frozen=True)
class Reference:
    """What one run took to the target accuracy.

    Attributes
    ----------
    batch : its aggregate batch k·b.
    samples : that it trained on until the target.
    """

    batch: int
    samples: float

    @classmethod
    def of_session(cls, session: Session, target: Accuracy | float | None) -> "Reference":
        """Return what a session took.

        Raises
        ------
        ConfigurationError
            If it hasn't reached the target, or had more than one setting until then.
        """
        if target is None:
            raise ConfigurationError("a session as reference needs a target= accuracy, as cb.Accuracy(0.9)")
        reached = session.time_to_accuracy(target)
        if reached is None:
            raise ConfigurationError(f"the reference hasn't reached {target}; train it longer, or give a lower target")
        history = session.history
        until = history[history["samples"] <= reached.samples]
        batches = (until["learners"] * until["batch_size"]).unique()
        if len(batches) > 1:
            raise ConfigurationError(
                f"until the target the reference trained with aggregate batches of {sorted(map(int, batches))}; "
                "give one that kept one setting"
            )
        return cls(int(batches[0]), float(reached.samples))


@dataclass(frozen=True)
class Prediction:
    """What is expected of one setting.

    Attributes
    ----------
    learners, batch_size : the setting.
    samples_per_s : throughput.
    is_measured : whether that was measured; else it is of the fitted model.
    efficiency : statistical efficiency, 0 to 1: `crossbow_lab.tuning.statistical_efficiency` of the aggregate batch.
    samples_to_target : training samples until the target accuracy; NaN without a reference.
    """

    learners: int
    batch_size: int
    samples_per_s: float
    is_measured: bool
    efficiency: float
    samples_to_target: float = math.nan

    @property
    def goodput(self) -> float:
        """Useful samples per second: throughput times efficiency."""
        return self.samples_per_s * self.efficiency

    @property
    def seconds_to_target(self) -> float:
        """Training time until the target accuracy; NaN without a reference."""
        return self.samples_to_target / self.samples_per_s

    def against(self, session: Session, target: Accuracy | float | None = None) -> "PredictionError":
        """Hold the prediction against a session that was run with this setting.

        Parameters
        ----------
        target : as in `Scan.predict`; None: throughput alone.

        Raises
        ------
        ConfigurationError
            If the session has no evaluation, or had another setting.
        """
        history = session.history
        found = sorted({(int(k), int(b)) for k, b in zip(history["learners"], history["batch_size"], strict=True)})
        if found != [(self.learners, self.batch_size)]:
            raise ConfigurationError(
                f"the session's evaluations are of learners x batch size {found}; the prediction is of "
                f"{self.learners} x {self.batch_size}: run that, from beginning to end, to an evaluation"
            )
        last, reached = history.iloc[-1], None if target is None else session.time_to_accuracy(target)
        return PredictionError(
            prediction=self,
            samples_per_s=float(last["samples"] / last["elapsed_s"]),
            samples_to_target=math.nan if reached is None else float(reached.samples),
            seconds_to_target=math.nan if reached is None else reached.seconds,
        )


@dataclass(frozen=True)
class PredictionError:
    """What was found where something had been predicted.

    Attributes
    ----------
    prediction : that.
    samples_per_s, samples_to_target, seconds_to_target : what was found; NaN where the target wasn't reached.
    """

    prediction: Prediction
    samples_per_s: float
    samples_to_target: float = math.nan
    seconds_to_target: float = math.nan

    def error_of(self, name: str) -> float:
        """Return by which share a prediction was too large: 0.1 for 10 % too large; NaN where nothing was found.

        Examples
        --------
        >>> expected = Prediction(2, 8, samples_per_s=900.0, is_measured=False, efficiency=0.5)
        >>> round(PredictionError(expected, samples_per_s=1000.0).error_of("samples_per_s"), 6)
        -0.1
        """
        return float(getattr(self.prediction, name) / getattr(self, name)) - 1.0

    def __str__(self) -> str:
        """Say it in a line."""
        one = self.prediction
        parts = [
            f"{name.replace('_', ' ')} {getattr(one, name):,.4g} predicted, {getattr(self, name):,.4g} found "
            f"({100 * self.error_of(name):+.0f} %)"
            for name in ("samples_per_s", "samples_to_target", "seconds_to_target")
            if not math.isnan(self.error_of(name))
        ]
        return f"{one.learners} x {one.batch_size}: " + "; ".join(parts)
