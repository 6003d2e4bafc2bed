"""Throughput with one number of learners: how long it is measured, and what is kept of it."""

import math
import statistics
from dataclasses import dataclass

from crossbow_lab.errors import ConfigurationError


@dataclass(frozen=True)
class Window:
    """How a throughput is measured: a warm-up that doesn't count, then a few windows, of which the median counts.

    Every one of them lasts until both its time and its iterations are over.

    Attributes
    ----------
    seconds, iterations : of one window.
    windows : how many.
    warm_up_s, warm_up_iterations : before the first; in them an executor is made and its memory is first used.

    Raises
    ------
    ConfigurationError
        If a number is outside its range.
    """

    seconds: float = 0.3
    iterations: int = 8
    windows: int = 3
    warm_up_s: float = 0.2
    warm_up_iterations: int = 4

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, least in (("iterations", 1), ("windows", 1), ("warm_up_iterations", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigurationError(f"{name} of a window is {value!r}; it must be a whole number >= {least}")
        for name in ("seconds", "warm_up_s"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ConfigurationError(f"{name} of a window is {value!r}; it must be a finite number >= 0")

    @property
    def least_iterations(self) -> int:
        """Iterations that one measurement takes at least."""
        return self.warm_up_iterations + self.windows * self.iterations


@dataclass(frozen=True)
class Measurement:
    """What was measured with one number of learners.

    Attributes
    ----------
    learners, batch_size : m per device, and b.
    samples_per_s : throughput, the median of the windows; greater than 0.
    spread : between the fastest and the slowest window, as a share of the median.
    noise_scale : gradient noise scale at that moment, in samples; NaN where it isn't known.

    Raises
    ------
    ConfigurationError
        If a number can't have been measured: a gap (NaN) or a zero among it.
    """

    learners: int
    batch_size: int
    samples_per_s: float
    spread: float = 0.0
    noise_scale: float = math.nan

    def __post_init__(self) -> None:
        """Refuse what nothing can be decided from."""
        if self.learners < 1 or self.batch_size < 1:
            raise ConfigurationError(
                f"a measurement with {self.learners} learners and batch size {self.batch_size}; both must be >= 1"
            )
        if not 0 < self.samples_per_s < math.inf:
            raise ConfigurationError(
                f"the throughput with {self.learners} learners is {self.samples_per_s} samples/s; the auto-tuner "
                "needs finite numbers > 0: leave out windows in which nothing was trained, and measure again"
            )

    @classmethod
    def of_windows(
        cls, learners: int, batch_size: int, rates: tuple[float, ...], noise_scale: float = math.nan
    ) -> "Measurement":
        """Return the measurement that windows of these samples/s give.

        Examples
        --------
        >>> Measurement.of_windows(2, 16, (90.0, 100.0, 40.0)).samples_per_s
        90.0
        """
        if not rates or not all(0 < rate < math.inf for rate in rates):
            raise ConfigurationError(
                f"windows with {learners} learners gave {list(rates)} samples/s; there must be one at least, and "
                "each must be finite and > 0: a window without iterations says nothing"
            )
        middle = statistics.median(rates)
        return cls(learners, batch_size, middle, (max(rates) - min(rates)) / middle, noise_scale)


class Stopwatch:
    """Measures the throughput of one setting from what is known between two iterations.

    On a GPU the host is a few launches ahead at most, so windows of many iterations are as long there as here.

    Parameters
    ----------
    window : how long

    Examples
    --------
    >>> watch = Stopwatch(Window(seconds=1.0, iterations=1, windows=2, warm_up_s=0.0, warm_up_iterations=0))
    >>> [watch.add(elapsed_s=t, iteration=t, samples=100 * t) for t in (0, 1, 2)]
    [None, None, (100.0, 100.0)]
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._since: tuple[float, int, int] | None = None
        self._is_warm = window.warm_up_iterations == 0
        self._rates: list[float] = []

    def add(self, *, elapsed_s: float, iteration: int, samples: int) -> tuple[float, ...] | None:
        """Note how far training has come; return samples/s of every window once there are enough of them."""
        window, now = self._window, (elapsed_s, iteration, samples)
        if self._since is None:
            self._since = now
            return None
        span_s, iterations = elapsed_s - self._since[0], iteration - self._since[1]
        if not self._is_warm:
            if span_s >= window.warm_up_s and iterations >= window.warm_up_iterations:
                self._is_warm, self._since = True, now
            return None
        if span_s > 0 and span_s >= window.seconds and iterations >= window.iterations:
            self._rates.append((samples - self._since[2]) / span_s)
            self._since = now
        return tuple(self._rates) if len(self._rates) == window.windows else None
