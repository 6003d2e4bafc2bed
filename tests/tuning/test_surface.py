"""The model of an iteration's time, and what the noise scale makes of samples."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.tuning import Measurement, goodput, statistical_efficiency
from crossbow_lab.tuning.surface import IterationTime, fit_error, fit_iteration_time, samples_to_accuracy

quick = settings(max_examples=60, deadline=None)

TERMS = st.sampled_from([0.0, 1e-5, 1e-4, 1e-3, 1e-2])


def surface(
    time: IterationTime, ks: tuple[int, ...] = (1, 2, 4, 8), bs: tuple[int, ...] = (4, 16, 64)
) -> list[Measurement]:
    """Return exact measurements of a model."""
    return [Measurement(k, b, time.samples_per_s(k, b)) for b in bs for k in ks]


@quick
@given(TERMS, TERMS, TERMS)
def test_an_exact_surface_gives_its_own_model_back(fixed_s: float, per_learner_s: float, per_sample_s: float) -> None:
    """Whichever terms are there; also for settings far outside."""
    time = IterationTime(fixed_s, per_learner_s, per_sample_s)
    if fixed_s + per_learner_s + per_sample_s == 0:
        return
    found = fit_iteration_time(surface(time))
    for k, b in ((3, 5), (64, 256), (1, 1)):
        assert found.samples_per_s(k, b) == pytest.approx(time.samples_per_s(k, b), rel=1e-3)
    assert fit_error(surface(time)) < 1e-3


@quick
@given(st.lists(st.floats(0.5, 2.0), min_size=12, max_size=12))
def test_whatever_was_measured_no_term_is_negative(factors: list[float]) -> None:
    """So no prediction is a negative or an infinite throughput."""
    exact = surface(IterationTime(1e-3, 1e-4, 1e-5))
    noisy = [
        Measurement(one.learners, one.batch_size, one.samples_per_s * factor)
        for one, factor in zip(exact, factors, strict=True)
    ]
    found = fit_iteration_time(noisy)
    assert min(found.fixed_s, found.per_learner_s, found.per_sample_s) >= 0
    assert all(0 < found.samples_per_s(k, b) < math.inf for k in (1, 100) for b in (1, 1000))


@pytest.mark.parametrize(
    ("ks", "bs", "message"),
    [
        ((1,), (4, 8, 16), "3 settings with 1 numbers of learners and 3 batch sizes"),
        ((1, 2, 3), (4,), "3 settings with 3 numbers of learners and 1 batch sizes"),
        ((), (), "0 settings"),
    ],
)
def test_too_few_settings_tell_nothing_of_others(ks: tuple[int, ...], bs: tuple[int, ...], message: str) -> None:
    """Nor how far the model would be off."""
    measured = surface(IterationTime(1e-3, 1e-4, 1e-5), ks, bs)
    with pytest.raises(ConfigurationError, match=message):
        fit_iteration_time(measured)
    assert not measured or math.isnan(fit_error(measured))


@quick
@given(st.floats(1.0, 1e4), st.floats(1.0, 1e4), st.floats(1.0, 1e4), st.floats(1.0, 1e6))
def test_larger_batches_take_more_samples_and_efficiency_says_how_many(
    batch: float, more: float, noise: float, samples: float
) -> None:
    """Samples x efficiency is the same for every batch; and nearly none is lost far below the noise scale."""
    needed = samples_to_accuracy(samples, batch, batch + more, noise)
    assert needed > samples
    kept = needed * statistical_efficiency(batch + more, noise)
    assert kept == pytest.approx(samples * statistical_efficiency(batch, noise))
    assert samples_to_accuracy(needed, batch + more, batch, noise) == pytest.approx(samples)
    assert goodput(samples, batch, math.inf) == samples
