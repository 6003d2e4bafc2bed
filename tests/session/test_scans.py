"""Scans: every setting measured apart from the session, and predictions held against what was run."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from crossbow_lab.averaging import SMA
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session import Accuracy, Prediction, Recipe, Reference, Scan, ScanPoint, Session, scan
from crossbow_lab.tuning import Window
from crossbow_lab.tuning.surface import IterationTime

Make = Callable[..., Session]

QUICK = Window(seconds=0.0, iterations=2, windows=3, warm_up_s=0.0, warm_up_iterations=1)
TIME = IterationTime(fixed_s=1e-3, per_learner_s=1e-4, per_sample_s=1e-5)


def surface(noise_scale: float = 64.0) -> Scan:
    """Return a scan of exact throughputs."""
    points = [ScanPoint(k, b, TIME.samples_per_s(k, b), 0.0) for b in (4, 16) for k in (1, 2, 4)]
    return Scan(tuple(points), noise_scale, Recipe("mlp", "digits"))


def test_every_setting_is_measured_and_the_session_is_left_as_it_is(make: Make) -> None:
    """In order; what was trained before, and its recipe, don't matter."""
    session = make("mlp", max_learners=2)
    session.run(iterations=5)
    before = session.fingerprint(), session.recipe, len(session.events)
    said: list[str] = []
    found = scan(session, [4, 1], (8, 2), window=QUICK, say=said.append)
    assert [(point.learners, point.batch_size) for point in found.points] == [(1, 2), (4, 2), (1, 8), (4, 8)]
    assert all(point.samples_per_s > 0 and not point.refused for point in found.points)
    assert (session.fingerprint(), session.recipe, len(session.events)) == before
    assert len(said) == 4
    assert said[0].startswith("1 x 2: ")
    assert list(found.frame["samples_per_s"]) == [point.samples_per_s for point in found.points]


def test_a_session_of_the_users_own_things_can_be_scanned(make: Make, blobs: Any) -> None:
    """Model, data and loss have no names, so a recipe alone couldn't."""
    session = make(
        lambda: nn.Linear(5, 3), blobs, loss=lambda output, target: output.square().mean() + 0 * target.sum()
    )
    found = scan(session, [1, 2], [4], window=QUICK)
    assert [point.refused for point in found.points] == ["", ""]


def test_a_recipe_can_be_scanned() -> None:
    """By itself, whatever its learning rate would do."""
    recipe = Recipe("logreg", "digits", learning_rate=1e30, executor="loop", learning_rate_steps=((0.001, 1e35),))
    found = scan(recipe, [1, 2], [4, 8], window=QUICK, noise_scale=10.0)
    assert len(found.points) == 4
    assert found.noise_scale == 10.0


def test_what_cannot_be_run_is_kept_with_the_reason(make: Make) -> None:
    """Too many samples for the data; a fixed alpha too large for so many learners."""
    found = scan(make("logreg", algorithm=SMA(alpha=0.5)), [2, 8], [4, 800], window=QUICK)
    refused = {(point.learners, point.batch_size): point.refused for point in found.points}
    assert refused[2, 4] == ""
    assert "alpha must be below" in refused[8, 4]
    assert "has only 1437 training samples" in refused[2, 800]
    assert math.isnan(found.frame["samples_per_s"].iloc[-1])


def test_the_noise_scale_is_the_sessions_latest(make: Make) -> None:
    """A probe's before the learners', for that one isn't biased."""
    session = make("mlp", learners=4)
    session.gradient_noise.start(every=1)
    session.run(iterations=4)
    assert scan(session, [1], [4], window=QUICK).noise_scale == session.snapshot.noise_scale_learners
    session.gradient_noise.start(every=1, probe_every=2)
    session.run(iterations=4)
    assert scan(session, [1], [4], window=QUICK).noise_scale == session.snapshot.noise_scale_probe


def test_throughput_is_what_was_measured_or_of_the_model() -> None:
    """And the model says itself how far it is off."""
    found = surface()
    inside, outside = found.predict(2, 16), found.predict(8, 32)
    assert (inside.is_measured, outside.is_measured) == (True, False)
    assert inside.samples_per_s == TIME.samples_per_s(2, 16)
    assert outside.samples_per_s == pytest.approx(TIME.samples_per_s(8, 32))
    assert outside.efficiency == 1 / (1 + 256 / 64)
    assert outside.goodput == pytest.approx(TIME.samples_per_s(8, 32) / 5)
    assert math.isnan(outside.seconds_to_target)
    assert found.fit_error < 1e-9


def test_time_to_accuracy_follows_from_a_reference() -> None:
    """Four times the aggregate batch at the noise scale: 2.5 times the samples."""
    one = surface().predict(4, 64, Reference(batch=64, samples=10_000))
    assert one.samples_to_target == pytest.approx(10_000 * 5 / 2)
    assert one.seconds_to_target == pytest.approx(25_000 / TIME.samples_per_s(4, 64))


def test_predictions_are_held_against_what_was_run(make: Make) -> None:
    """With the error of throughput and of time to accuracy, in numbers and in words."""
    goal = Accuracy(0.8, window=1)
    reference = make("logreg", learners=2, batch_size=8, evaluate_every=0.1, learning_rate=0.1)
    reference.run(epochs=20, until=goal)
    found = dataclasses.replace(surface(noise_scale=200.0))
    prediction = found.predict(4, 8, reference, goal)
    session = make("logreg", learners=4, batch_size=8, evaluate_every=0.1, learning_rate=0.1)
    session.run(epochs=20, until=goal)
    error = prediction.against(session, goal)
    reached = session.time_to_accuracy(goal)
    assert reached is not None
    assert error.error_of("samples_to_target") == pytest.approx(prediction.samples_to_target / reached.samples - 1)
    assert error.error_of("seconds_to_target") == pytest.approx(prediction.seconds_to_target / reached.seconds - 1)
    assert error.error_of("samples_per_s") == pytest.approx(prediction.samples_per_s / error.samples_per_s - 1)
    assert "seconds to target" in str(error)
    assert "seconds to target" not in str(prediction.against(session))


def test_a_prediction_is_held_against_its_own_setting_only(make: Make) -> None:
    """Run with it from beginning to end."""
    session = make("logreg", learners=2, batch_size=8)
    session.run(iterations=2)
    prediction = Prediction(4, 8, 1000.0, is_measured=True, efficiency=0.5)
    with pytest.raises(ConfigurationError, match=r"of learners x batch size \[\(2, 8\)\]; the prediction is of 4 x 8"):
        prediction.against(session)


def test_a_reference_must_tell_something(make: Make) -> None:
    """A target that was reached, with one setting."""
    session = make("logreg", evaluate_every=0.01, learning_rate=0.1)
    session.run(iterations=2)
    with pytest.raises(ConfigurationError, match="needs a target= accuracy"):
        surface().predict(1, 4, session)
    with pytest.raises(ConfigurationError, match=r"hasn't reached 0\.99"):
        surface().predict(1, 4, session, 0.99)
    session.adjust(batch_size=32)
    session.run(epochs=5)
    with pytest.raises(ConfigurationError, match=r"aggregate batches of \[16, 64\]"):
        surface().predict(1, 4, session, Accuracy(0.8, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [4]), "learners is empty; give at least one"),
        (([1], []), "batch_sizes is empty"),
        (([0], [4]), "each of learners is 0; it must be a whole number >= 1"),
        (([1], [2.5]), "each of batch_sizes is 2.5"),
    ],
)
def test_bad_numbers_are_refused(make: Make, arguments: tuple[Any, ...], message: str) -> None:
    """Before anything is measured."""
    with pytest.raises(ConfigurationError, match=message):
        scan(make(), *arguments)


def test_what_else_cannot_be(make: Make) -> None:
    """A session that trains, something else, a noise scale that isn't one, a prediction without any."""
    session = make().start()
    with pytest.raises(ConfigurationError, match="the session is training, and would slow down the scan"):
        scan(session, [1], [4])
    session.stop()
    with pytest.raises(ConfigurationError, match="takes a Session or a Recipe; got str"):
        scan("mlp", [1], [4])  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="noise_scale is -1"):
        scan(session, [1], [4], noise_scale=-1)
    with pytest.raises(ConfigurationError, match="no gradient noise scale is known"):
        scan(session, [1], [4], window=QUICK).predict(1, 4)
    assert torch.get_num_threads() == 1
