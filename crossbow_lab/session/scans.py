"""Scans: the throughput of every combination of learners and batch sizes, and what it predicts with the noise scale."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from crossbow_lab.devices import check_one_device
from crossbow_lab.errors import ConfigurationError, CrossbowError
from crossbow_lab.session.build import Own, build, rebuild
from crossbow_lab.session.checks import check_positive, check_whole
from crossbow_lab.session.predictions import Prediction, Reference
from crossbow_lab.session.recipe import Recipe
from crossbow_lab.session.session import Session
from crossbow_lab.tuning import Measurement, Stopwatch, Window, statistical_efficiency
from crossbow_lab.tuning.surface import IterationTime, fit_error, fit_iteration_time, samples_to_accuracy

_WINDOW = Window(seconds=0.2)
_STEPS_TO_A_WINDOW = 3
_NEVER = 1e9  # epochs between evaluations
_STANDING = 1e-8  # a learning rate at which nothing can diverge; the arithmetic is the same


def scan(
    session: Session | Recipe,
    learners: Iterable[int],
    batch_sizes: Iterable[int],
    *,
    window: Window | None = None,
    noise_scale: float | None = None,
    say: Callable[[str], None] | None = None,
) -> "Scan":
    """Measure the throughput of every number of learners with every batch size.

    In a session of its own, with a learning rate of almost nothing, so that no setting diverges; the session given is
    left as it is. What can't be run (too many samples for the data, no memory) is kept with the reason. All settings
    use one executor, the session's.

    Parameters
    ----------
    session : Session or Recipe
        What is trained; a session must not be training, or both would be slower.
    learners, batch_sizes : whole numbers >= 1
    window : how long each setting is measured; None: a warm-up of 0.2 s, then three windows of 0.2 s.
    noise_scale : gradient noise scale in samples, for predictions; None: the session's latest, a probe's before the
        learners'. See `Session.gradient_noise`.
    say : gets a line for each setting, such as ``print``.

    Returns
    -------
    Scan
        `crossbow_lab.dashboard.heat_map` draws it.

    Raises
    ------
    ConfigurationError
        If a number is outside its range, there is none, the session is training, or has several devices.

    Examples
    --------
    >>> session = Session(model="logreg", dataset="digits", executor="loop")
    >>> quick = Window(seconds=0.0, iterations=2, warm_up_s=0.0)
    >>> found = scan(session, learners=[1, 2], batch_sizes=[4, 8], window=quick, noise_scale=100.0)
    >>> list(found.frame.columns)
    ['learners', 'batch_size', 'samples_per_s', 'spread', 'refused']
    >>> found.predict(2, 16).efficiency
    0.7575757575757576
    """
    recipe = session.recipe if isinstance(session, Session) else session
    check_one_device("scan", recipe.n_devices if isinstance(recipe, Recipe) else 1)
    ks, bs = _checked("learners", learners), _checked("batch_sizes", batch_sizes)
    if noise_scale is not None:
        noise_scale = check_positive("noise_scale", noise_scale)
    elif isinstance(session, Session):
        now = session.snapshot
        noise_scale = now.noise_scale_learners if math.isnan(now.noise_scale_probe) else now.noise_scale_probe
    apart = _apart(session, max(ks))
    points = []
    with apart:
        for b in bs:
            for k in ks:
                points.append(_measure(apart, k, b, window or _WINDOW))
                if say is not None:
                    say(str(points[-1]))
        about = apart.recipe
    return Scan(tuple(points), math.nan if noise_scale is None else noise_scale, about)


@dataclass(frozen=True)
class ScanPoint:
    """One setting of a scan.

    Attributes
    ----------
    learners, batch_size : the setting.
    samples_per_s : throughput, the median of the windows; NaN where it was refused.
    spread : between the fastest and the slowest window, as a share of the median.
    refused : why it can't be run; empty where it can.
    """

    learners: int
    batch_size: int
    samples_per_s: float
    spread: float
    refused: str = ""

    def __str__(self) -> str:
        """Say it in a line."""
        found = self.refused or f"{self.samples_per_s:,.0f} samples/s"
        return f"{self.learners} x {self.batch_size}: {found}"


@dataclass(frozen=True)
class Scan:
    """Throughput over learners and batch sizes, and what it predicts.

    Attributes
    ----------
    points : what was measured, by batch size and then learners.
    noise_scale : gradient noise scale in samples; NaN if it isn't known.
    recipe : of the session in which it was measured.
    """

    points: tuple[ScanPoint, ...]
    noise_scale: float
    recipe: Recipe = field(repr=False)

    @property
    def frame(self) -> pd.DataFrame:
        """One row per setting, columns as in `ScanPoint`."""
        return pd.DataFrame([vars(point) for point in self.points])

    @property
    def iteration_time(self) -> IterationTime:
        """The model of an iteration's time, fitted to what was measured."""
        return fit_iteration_time(self._measured)

    @property
    def fit_error(self) -> float:
        """How far that model is off where it wasn't fitted, as a share: each setting left out in turn, the median."""
        return fit_error(self._measured)

    @property
    def _measured(self) -> list[Measurement]:
        return [Measurement(p.learners, p.batch_size, p.samples_per_s, p.spread) for p in self.points if not p.refused]

    def predict(
        self, learners: int, batch_size: int, reference: "Reference | Session | None" = None, target: Any = None
    ) -> Prediction:
        """Predict throughput, goodput and, from a reference, time to accuracy of a setting, run or not.

        Throughput is what was measured, or of the fitted model between; efficiency is of the aggregate batch k·b.

        Parameters
        ----------
        learners, batch_size : the setting.
        reference : Reference, or a session that has reached ``target`` with one setting from beginning to end.
        target : Accuracy or float, with a session as reference.

        Raises
        ------
        ConfigurationError
            If the noise scale isn't known, nothing tells the throughput, or the reference tells no time.
        """
        k, b = check_whole("learners", learners), check_whole("batch_size", batch_size)
        if math.isnan(self.noise_scale):
            raise ConfigurationError(
                "no gradient noise scale is known, so goodput can't be predicted; train for a while after "
                "session.gradient_noise.start(), and scan then, or give scan(..., noise_scale=...)"
            )
        here = [p.samples_per_s for p in self.points if (p.learners, p.batch_size) == (k, b) and not p.refused]
        rate = here[0] if here else self.iteration_time.samples_per_s(k, b)
        samples = math.nan
        if reference is not None:
            known = reference if isinstance(reference, Reference) else Reference.of_session(reference, target)
            samples = samples_to_accuracy(known.samples, known.batch, k * b, self.noise_scale)
        return Prediction(
            learners=k,
            batch_size=b,
            samples_per_s=rate,
            is_measured=bool(here),
            efficiency=statistical_efficiency(k * b, self.noise_scale),
            samples_to_target=samples,
        )


def _checked(name: str, values: Iterable[int]) -> list[int]:
    """Return ascending whole numbers."""
    found = sorted({check_whole(f"each of {name}", value) for value in values})
    if not found:
        raise ConfigurationError(f"{name} is empty; give at least one, as {name}=[1, 2, 4]")
    return found


def _apart(session: Session | Recipe, most: int) -> Session:
    """Return a session of its own in which settings are measured."""
    if isinstance(session, Session):
        if session.state == "running":
            raise ConfigurationError(
                "the session is training, and would slow down the scan; pause() or stop() it first"
            )
        built = session._built
        return Session._of(rebuild(replace(built, recipe=_standing(built.recipe, most))))
    if not isinstance(session, Recipe):
        raise ConfigurationError(f"scan takes a Session or a Recipe; got {type(session).__name__}")
    return Session._of(build(_standing(session, most), Own()))


def _standing(recipe: Recipe, most: int) -> Recipe:
    """Return a recipe that trains without moving, for as many learners as are measured."""
    return replace(
        recipe,
        learning_rate=_STANDING,
        learning_rate_steps=(),
        evaluate_every=_NEVER,
        max_learners=max(most, recipe.max_learners),
        adjustments=(),
        iterations=None,
    )


def _measure(session: Session, learners: int, batch_size: int, window: Window) -> ScanPoint:
    """Measure one setting."""
    try:
        session.adjust(learners=learners, batch_size=batch_size)
    except CrossbowError as error:
        return ScanPoint(learners, batch_size, math.nan, math.nan, refused=str(error))
    watch, steps, rates = Stopwatch(window), max(1, window.warm_up_iterations), None
    while rates is None:
        before = session.snapshot
        rates = watch.add(elapsed_s=before.elapsed_s, iteration=before.iteration, samples=before.samples)
        if rates is None:
            session.step(steps)
            # As many at once as fit into a window: a device runs bursts of iterations, which short steps would cut.
            if session.snapshot.elapsed_s - before.elapsed_s < window.seconds / _STEPS_TO_A_WINDOW:
                steps *= 2
    found = Measurement.of_windows(learners, batch_size, rates)
    return ScanPoint(learners, batch_size, found.samples_per_s, found.spread)
