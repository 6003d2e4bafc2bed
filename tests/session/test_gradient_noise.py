"""Gradient noise in a session: right against autograd, free when off, and never in training's way."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from crossbow_lab.averaging import EASGD, SMA, SSGD
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.learners import Batches
from crossbow_lab.session import Session
from crossbow_lab.tuning import GoodputRule, Window
from crossbow_lab.tuning.reference import noise_of_gradients
from crossbow_lab.workloads import as_dataset

Make = Callable[..., Session]


def small_model() -> nn.Module:
    """Return a model with a hidden layer, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def gradients_at(model: nn.Module, data: Any, position: int, k: int, b: int) -> np.ndarray:
    """Return the gradients of k batches of b samples from this position of the stream on."""
    stream = Batches(as_dataset(data), 0, augment=False, device=torch.device("cpu"), dtype=torch.float64)
    inputs, targets = stream.take(position, k * b)
    rows = []
    for j in range(k):
        part = slice(j * b, (j + 1) * b)
        model.zero_grad()
        functional.cross_entropy(model(inputs[part]), targets[part]).backward()
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).numpy().copy())
    return np.array(rows)


@pytest.mark.parametrize("executor", ["loop", "fused"])
@pytest.mark.parametrize("algorithm", [SMA(), SMA(sync_period=3, local_momentum=0.5), EASGD()])
def test_the_first_reading_is_that_of_the_learners_own_gradients(
    make: Make, blobs: Any, executor: str, algorithm: Any
) -> None:
    """In the first iteration all are at w_0: the estimate is exact, and says that it isn't biased; later ones are."""
    session = make(
        small_model(),
        blobs,
        learners=3,
        batch_size=4,
        dtype="float64",
        executor=executor,
        algorithm=algorithm,
        weight_decay=0.1,
    )
    session.gradient_noise.start(every=1)
    session.run(iterations=3)
    expected = noise_of_gradients(gradients_at(small_model(), blobs[0], 0, 3, 4), 4)
    first, second = session.gradient_noise.readings.iloc[0], session.gradient_noise.readings.iloc[1]
    np.testing.assert_allclose([first.gradient_sq, first.variance], expected, rtol=1e-10)
    assert (first.source, first.iteration, first.learners, first.batch_size) == ("learners", 0, 3, 4)
    assert [bool(first.is_biased), bool(second.is_biased)] == [False, True]
    assert second.divergence > 0


def test_a_probe_is_at_z_with_the_samples_that_come_next(make: Make, blobs: Any) -> None:
    """Exact, whatever the learners do."""
    session = make(small_model(), blobs, learners=2, batch_size=4, dtype="float64", learning_rate=0.5)
    session.gradient_noise.start(every=1000, probe_every=7, probe_batches=5)
    session.run(iterations=8)
    readings = session.gradient_noise.readings
    probes = readings[readings.source == "probe"]
    assert list(probes.iteration) == [1, 8]
    assert not probes.is_biased.any()
    model = session.central_model().train()
    expected = noise_of_gradients(gradients_at(model, blobs[0], 8 * 8, 5, 4), 4)
    np.testing.assert_allclose(probes.iloc[-1][["gradient_sq", "variance"]].astype(float), expected, rtol=1e-10)


def test_measuring_changes_no_bit_of_training(make: Make, blobs: Any) -> None:
    """With dropout and batch norm, in whatever rhythm, started and stopped in between."""

    def noisy() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(2)
            return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3))

    marks = []
    for settings in (None, {"every": 1}, {"every": 3, "probe_every": 2}, {"probe_every": 1, "probe_batches": 3}):
        session = make(noisy(), blobs, batch_size=4, evaluate_every=0.4)
        session.run(iterations=5)
        if settings is not None:
            session.gradient_noise.start(**settings)
        session.run(iterations=20)
        session.gradient_noise.stop()
        session.run(iterations=5)
        marks.append(session.fingerprint())
    assert len(set(marks)) == 1


def test_it_is_in_snapshot_and_history(make: Make) -> None:
    """Both sources; NaN while it is off, and the last known after that."""
    session = make("mlp", learners=4, evaluate_every=0.1)
    session.run(iterations=5)
    assert math.isnan(session.snapshot.noise_scale_learners)
    session.gradient_noise.start(every=2, probe_every=4)
    assert session.gradient_noise.is_on
    session.run(iterations=20)
    session.gradient_noise.stop()
    now, last = session.snapshot, session.history.iloc[-1]
    assert now.noise_scale_learners == last.noise_scale_learners > 0
    assert now.noise_scale_probe == last.noise_scale_probe > 0
    assert math.isnan(session.history.iloc[0].noise_scale_probe)
    assert list(session.gradient_noise.readings.groupby("source").size()) == [10, 5]


def test_readings_follow_the_setting(make: Make) -> None:
    """More learners, another batch size; one learner and S-SGD have nothing to compare, so only a probe tells."""
    session = make("mlp", learners=4)
    session.gradient_noise.start(every=1, probe_every=10, probe_batches=2)
    session.run(iterations=2)
    session.adjust(learners=2, batch_size=4)
    session.run(iterations=2)
    session.adjust(learners=1)
    session.run(iterations=2)
    session.adjust(learners=4, algorithm=SSGD())
    session.run(iterations=8)
    readings = session.gradient_noise.readings
    learners = readings[readings.source == "learners"]
    assert list(zip(learners.iteration, learners.learners, learners.batch_size, strict=True)) == [
        (0, 4, 8), (1, 4, 8), (2, 2, 4), (3, 2, 4)
    ]  # fmt: skip
    assert list(readings.iteration[readings.source == "probe"]) == [1, 11]


def test_more_readings_than_the_ring_holds_are_all_kept(make: Make, monkeypatch: Any) -> None:
    """It is emptied in time, whoever looks how rarely."""
    monkeypatch.setattr("crossbow_lab.session.noise_meter._RING_ROWS", 8)
    monkeypatch.setattr("crossbow_lab.session.observer._LOOK_EVERY_S", 1000.0)
    session = make(evaluate_every=1000)
    session.gradient_noise.start(every=1)
    session.run(iterations=50)
    assert list(session.gradient_noise.readings.iteration) == list(range(50))


def test_when_off_nothing_is_computed(make: Make, monkeypatch: Any) -> None:
    """Neither before it is started nor after it is stopped."""
    session = make()
    session.gradient_noise.start(every=1)
    session.run(iterations=2)
    session.gradient_noise.stop()

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("it measures")

    monkeypatch.setattr("crossbow_lab.session.iterations.gradient_squares", fail)
    monkeypatch.setattr("crossbow_lab.session.noise_meter.probe_squares", fail)
    session.run(iterations=3)
    make().run(iterations=3)
    assert len(session.gradient_noise.readings) == 2


def test_the_goodput_rule_has_it_measured(make: Make) -> None:
    """And decides with it: with the noise scale of the moment."""
    session = make("mlp", learners=1, max_learners=4, batch_size=8)
    window = Window(seconds=0.0, iterations=8, windows=1, warm_up_s=0.0, warm_up_iterations=4)
    session.auto_tuner.start(GoodputRule(), window)
    session.run(iterations=100)
    assert session.auto_tuner.status.startswith("settled on")
    events = session.events
    details = list(events.detail[events.kind == "tuner"])
    assert "no noise scale is known" in details[1]  # one learner has nothing to compare
    assert "useful samples/s (noise scale" in details[-1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "every is 0; it must be a whole number >= 1"),
        ({"probe_every": 0}, "probe_every is 0"),
        ({"probe_every": 5, "probe_batches": 1}, "probe_batches is 1; it must be a whole number >= 2"),
        ({"probe_every": 5, "probe_batches": 1000}, "takes 8000 samples, but there are 1437; use fewer batches"),
    ],
)
def test_bad_numbers_are_refused(make: Make, settings: dict[str, int], message: str) -> None:
    """And it stays off."""
    session = make()
    with pytest.raises(ConfigurationError, match=message):
        session.gradient_noise.start(**settings)
    assert not session.gradient_noise.is_on
