"""Scaling on paper: what the model says where the answer is known, and what it says of what was measured."""

import doctest
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossbow_lab.devices import DeviceWork, Link, Observation, fit_errors, fit_link, observations, scaling
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.resources import resource

LINKS = st.builds(Link, st.floats(0, 1e-2), st.floats(1e6, 1e12))
WORKS = st.builds(DeviceWork, st.floats(1e-4, 1.0), st.integers(1, 1000), st.floats(1e3, 1e9))


def test_its_examples_run() -> None:
    """Every example in a docstring gives what it says."""
    results = doctest.testmod(scaling)
    assert results.failed == 0
    assert results.attempted > 0


@given(LINKS, WORKS, st.integers(1, 64), st.sampled_from(["ring", "tree"]), st.integers(1, 9), st.booleans())
def test_bounds(link: Link, work: DeviceWork, devices: int, reduction: str, sync_period: int, overlaps: bool) -> None:
    """Never faster than as many times as devices; one device sums nothing; overlap and rarer sums never cost."""
    how = {"reduction": reduction, "sync_period": sync_period, "overlaps": overlaps}
    assert 0 < work.speed_up(link, devices, **how) <= devices * (1 + 1e-12)
    assert work.speed_up(link, 1, **how) == pytest.approx(1.0)
    plain = work.iteration_s(link, devices, reduction=reduction)  # type: ignore[arg-type]  # one of two
    assert work.iteration_s(link, devices, **how) <= plain  # type: ignore[arg-type]
    assert work.samples_per_s(link, devices, **how) == pytest.approx(
        work.speed_up(link, devices, **how) * work.samples / work.compute_s
    )


@given(LINKS, st.floats(1e3, 1e9), st.integers(1, 1024))
def test_a_ring_sends_less_than_two_vectors_through_each_link(link: Link, n_bytes: float, devices: int) -> None:
    """However many devices there are: only the latency grows with them."""
    waits_s = 2 * (devices - 1) * link.latency_s
    assert link.all_reduce_s(n_bytes, devices) - waits_s <= 2 * n_bytes / link.bytes_per_s * (1 + 1e-9) + 1e-12


@given(st.floats(1e-5, 1e-2), st.floats(1e6, 1e10), st.lists(st.floats(1e4, 1e8), min_size=3, max_size=6, unique=True))
def test_a_link_is_found_from_what_it_did(latency_s: float, bytes_per_s: float, sizes: list[float]) -> None:
    """Where the model is right, it predicts what it wasn't fitted to, too."""
    link = Link(latency_s, bytes_per_s)
    works = [DeviceWork(0.01 * (i + 1), 64, size) for i, size in enumerate(sizes)]
    seen = [Observation(str(i), work, 2, work.iteration_s(link, 2)) for i, work in enumerate(works)]
    found = fit_link(seen)
    for one in seen:
        assert one.work.iteration_s(found, 2) == pytest.approx(one.several_s, rel=1e-6)


def test_what_was_faster_on_two_devices_makes_no_negative_link() -> None:
    """As noise can have it."""
    seen = [Observation("", DeviceWork(0.01, 64, size), 2, 0.009) for size in (1e5, 1e6)]
    assert fit_link(seen) == Link(0.0, math.inf)


def test_the_shipped_measurement_is_fitted_and_its_error_known() -> None:
    """One model left out at a time, of what two processes of one CPU took."""
    document = json.loads(resource("data", "measured", "devices.json").read_text(encoding="utf-8"))
    seen = observations(document["results"]["devices"], samples=64)
    assert {one.name for one in seen} == {"digits-cnn", "mlp", "resnet-8"}
    errors = fit_errors(seen)
    assert max(map(abs, errors.values())) < 0.25
    assert min(map(abs, errors.values())) > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Link(-1.0, 1e9), "latency_s is -1.0; it must be a finite number of seconds"),
        (lambda: Link(0.0, 0.0), "bytes_per_s is 0.0; it must be greater than 0"),
        (lambda: DeviceWork(0.0, 64, 1e6), "compute_s is 0.0"),
        (lambda: Link(0.0, 1e9).all_reduce_s(1e6, 0), "devices is 0; it must be a whole number of at least 1"),
        (lambda: Link(0.0, 1e9).all_reduce_s(1e6, 2, "rnig"), "reduction is 'rnig'.*ring"),  # type: ignore[arg-type]
        (lambda: DeviceWork(1.0, 1, 1.0).iteration_s(Link(0.0, 1.0), 2, sync_period=0), "sync_period is 0"),
        (lambda: fit_link([]), "0 observations of models of one size"),
        (lambda: fit_errors([]), "to leave each out in turn takes three"),
    ],
)
def test_what_makes_no_sense_is_refused(make: object, message: str) -> None:
    """With what was given and what is needed."""
    with pytest.raises(ConfigurationError, match=message):
        make()  # type: ignore[operator]
