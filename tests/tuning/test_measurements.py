"""What counts as a measurement of throughput."""

import pytest

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.tuning import Measurement, Stopwatch, Window


def test_the_warm_up_does_not_count_and_each_window_lasts_long_enough() -> None:
    """In seconds and in iterations: the first iterations are slow, and a window ends at the first that fulfils both."""
    watch = Stopwatch(Window(seconds=1.0, iterations=3, windows=2, warm_up_s=1.5, warm_up_iterations=2))
    times = [0.0, 5.0, 5.1, 5.3, 5.5, 5.7, 6.3, 7.3, 8.3, 9.3]
    found = [watch.add(elapsed_s=at, iteration=i, samples=10 * i) for i, at in enumerate(times)]
    assert found[:-1] == [None] * 9
    # Warm at 5.1 s (2 iterations, 1.5 s); windows 5.1 to 6.3 (4 iterations) and 6.3 to 9.3 (3 iterations).
    assert found[-1] == (pytest.approx(40 / 1.2), pytest.approx(30 / 3.0))


def test_several_iterations_at_once_are_counted_as_so_many() -> None:
    """As a device reports them."""
    watch = Stopwatch(Window(seconds=0.0, iterations=8, windows=1, warm_up_s=0.0, warm_up_iterations=8))
    found = [watch.add(elapsed_s=float(i), iteration=8 * i, samples=80 * i) for i in range(3)]
    assert found == [None, None, (80.0,)]


def test_a_measurement_takes_at_least_its_iterations() -> None:
    """Warm-up and windows."""
    window = Window(seconds=0.0, iterations=5, windows=3, warm_up_s=0.0, warm_up_iterations=2)
    assert window.least_iterations == 17
    watch = Stopwatch(window)
    found = [watch.add(elapsed_s=float(i), iteration=i, samples=i) for i in range(18)]
    assert [one is None for one in found] == [True] * 17 + [False]


def test_the_median_of_the_windows_counts_and_their_spread_is_kept() -> None:
    """One slow window moves nothing but the spread."""
    found = Measurement.of_windows(3, 8, (100.0, 98.0, 50.0), 12.0)
    assert (found.samples_per_s, found.noise_scale) == (98.0, 12.0)
    assert found.spread == pytest.approx(50 / 98)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seconds": -1.0}, "seconds of a window is -1.0"),
        ({"seconds": float("inf")}, "seconds of a window is inf"),
        ({"iterations": 0}, "iterations of a window is 0; it must be a whole number >= 1"),
        ({"windows": 0}, "windows of a window is 0"),
        ({"warm_up_iterations": -1}, "warm_up_iterations of a window is -1"),
        ({"warm_up_s": "1"}, "warm_up_s of a window is '1'"),
    ],
)
def test_windows_that_cannot_be_are_refused(settings: dict[str, float], message: str) -> None:
    """With their legal range."""
    with pytest.raises(ConfigurationError, match=message):
        Window(**settings)  # type: ignore[arg-type]
