"""Auto-tuner, gradient noise and timeline with the whole algorithm family: each works, and none changes a bit."""

from typing import Any

import numpy as np
import pytest
from small_sessions import B, K, batches_of, flat, gradient, session_of, small_model

from crossbow_lab.averaging import (
    ALGORITHMS,
    SSGD,
    Algorithm,
    AsyncEAMSGD,
    DiLoCo,
    HierarchicalSMA,
    LocalSGD,
    algorithm_name,
)
from crossbow_lab.session import Recipe, Session
from crossbow_lab.tuning import GoodputRule, PaperRule, TuningRule, Window
from crossbow_lab.tuning.reference import noise_of_gradients
from crossbow_lab.tuning.rules import counted

FAMILY: list[Algorithm] = [kind() for kind in ALGORITHMS.values() if kind is not SSGD]
QUICK = Window(seconds=0.0, iterations=2, windows=2, warm_up_s=0.0, warm_up_iterations=1)


@pytest.mark.parametrize("executor", ["loop", "fused"])
@pytest.mark.parametrize("algorithm", FAMILY, ids=algorithm_name)
def test_the_noise_of_the_first_gradients_is_right(make: Any, blobs: Any, algorithm: Algorithm, executor: str) -> None:
    """No algorithm's update leaves anything else in the gradients' place, weight decay or momentum."""
    session = session_of(make, blobs, algorithm, executor=executor, weight_decay=0.1)
    session.gradient_noise.start(every=1)
    session.run(iterations=2)
    inputs, targets = batches_of(blobs).take(0, K * B)
    parts = [slice(j * B, (j + 1) * B) for j in range(K)]
    w = flat(small_model())
    expected = noise_of_gradients(np.stack([gradient(w, inputs[part], targets[part]) for part in parts]), B)
    first = session.gradient_noise.readings.iloc[0]
    np.testing.assert_allclose([first.gradient_sq, first.variance], expected, rtol=1e-10)


@pytest.mark.parametrize("algorithm", FAMILY, ids=algorithm_name)
def test_looking_changes_no_bit(make: Any, blobs: Any, algorithm: Algorithm) -> None:
    """With timeline, noise and probes on, and off again."""
    marks = []
    for looks in (False, True):
        session = session_of(make, blobs, algorithm, evaluate_every=0.5)
        if looks:
            session.timeline.start(every=2)
            session.gradient_noise.start(every=1, probe_every=3, probe_batches=2)
        session.run(iterations=19)
        session.timeline.stop()
        session.gradient_noise.stop()
        session.run(iterations=6)
        marks.append(session.fingerprint())
    assert marks[0] == marks[1]


@pytest.mark.parametrize("algorithm", [LocalSGD(sync_period=4), DiLoCo(sync_period=4)], ids=algorithm_name)
def test_learners_synchronise_on_the_timeline_when_they_do(make: Any, algorithm: Algorithm) -> None:
    """Between synchronisations they learn only."""
    session: Session = make(algorithm=algorithm, learners=2)
    session.timeline.start()
    session.step(9)
    spans = session.timeline.spans
    assert list(spans.iteration[spans.kind == "synchronisation"]) == [3, 7]


@pytest.mark.parametrize("rule", [PaperRule(), GoodputRule()], ids=repr)
@pytest.mark.parametrize(
    "algorithm",
    [LocalSGD(sync_period=3), DiLoCo(sync_period=3), AsyncEAMSGD(), HierarchicalSMA(devices=3)],
    ids=algorithm_name,
)
def test_the_tuner_settles_and_replays(make: Any, algorithm: Algorithm, rule: TuningRule) -> None:
    """Whatever it measures; it asks for no number that the algorithm can't have."""
    session: Session = make(algorithm=algorithm, learners=4, batch_size=4, max_learners=6)
    session.auto_tuner.start(rule, QUICK)
    session.run(iterations=90)
    assert session.auto_tuner.status == f"settled on {counted(session.snapshot.learners)}"
    assert "refused" not in set(session.events["kind"])
    again = make(Recipe.from_json(session.recipe.to_json())).run()
    assert again.fingerprint() == session.fingerprint()


def test_the_tuner_begins_with_a_learner_for_each_device(make: Any) -> None:
    """Fewer can't train; where another algorithm takes over, it begins with one again."""
    session: Session = make(algorithm=HierarchicalSMA(devices=3), learners=4, max_learners=6)
    session.auto_tuner.start("paper", Window(seconds=1000.0))
    session.step(2)
    assert session.snapshot.learners == 3
    session.adjust(algorithm=LocalSGD())
    session.step(2)
    assert session.snapshot.learners == 1
