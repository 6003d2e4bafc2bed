"""Timeline, gradient noise and auto-tuner on the GPU: they see what happens there, and change no bit of it."""

from typing import Any

import pytest
import torch
from gpu_support import NEEDS_GPU

from crossbow_lab.averaging import SMA
from crossbow_lab.learners.timeline import ALL
from crossbow_lab.session import Session
from crossbow_lab.tuning import PaperRule, Window

pytestmark = NEEDS_GPU


def session_on(device: torch.device, executor: str, **settings: Any) -> Session:
    """Open a session on digits with three learners, unless told otherwise."""
    usual = {"model": "digits-cnn", "dataset": "digits", "learners": 3, "batch_size": 8, "learning_rate": 0.05}
    return Session(**{**usual, "executor": executor, "device": str(device), **settings})


@pytest.mark.parametrize("executor", ["fused", "streams"])
@pytest.mark.parametrize("algorithm", [SMA(), SMA(sync_period=3)])
def test_recording_and_measuring_change_no_bit(device: torch.device, executor: str, algorithm: SMA) -> None:
    """Recorded iterations are launched task by task, the others as graphs."""
    marks = []
    for watches in (False, True):
        with session_on(device, executor, algorithm=algorithm) as session:
            if watches:
                session.timeline.start(every=5)
                session.gradient_noise.start(every=4, probe_every=6)
            marks.append(session.run(iterations=40).fingerprint())
    assert marks[0] == marks[1]


def test_the_tasks_of_an_iteration_are_spans_of_their_streams(device: torch.device) -> None:
    """By events: learners side by side, the averaging after all of them."""
    with session_on(device, "streams") as session:
        session.timeline.start(every=10)
        session.run(iterations=21)
        spans = [span for span in session.timeline.recorded() if span.iteration == 10 and span.kind != "evaluation"]
    found = sorted((span.kind, span.learner, span.stream) for span in spans)
    each = [(kind, j, f"lane {j}") for kind in ("data", "learning", "local_synchronisation") for j in range(3)]
    assert found == sorted([*each, ("global_synchronisation", ALL, "averaging")])
    assert all(0 < span.duration_s < 1 for span in spans if span.kind != "data")
    (averaging,) = [span for span in spans if span.kind == "global_synchronisation"]
    corrections = [span for span in spans if span.kind == "local_synchronisation"]
    assert all(span.start_s + span.duration_s <= averaging.start_s + 1e-5 for span in corrections)


@pytest.mark.parametrize("executor", ["fused", "streams"])
def test_noise_is_what_the_cpu_finds(device: torch.device, exactly: None, executor: str) -> None:
    """In the first iteration all learners are at w_0, on the same samples."""
    found = []
    for place, how in ((device, executor), (torch.device("cpu"), "loop")):
        with session_on(place, how, dtype="float64") as session:
            session.gradient_noise.start(every=1, probe_every=1)
            session.step(1)
            readings = session.gradient_noise.readings
            found.append(readings.sort_values("source")[["gradient_sq", "variance"]].to_numpy(float))
    torch.testing.assert_close(torch.tensor(found[0]), torch.tensor(found[1]), rtol=1e-6, atol=1e-9)


def test_the_auto_tuner_settles_and_is_replayed(device: torch.device) -> None:
    """On the clock of the host, which is a few launches ahead at most."""
    with session_on(device, "fused", learners=1, max_learners=8) as session:
        session.auto_tuner.start(PaperRule(), Window(seconds=0.02, iterations=32))
        session.run(iterations=4000)
        assert session.auto_tuner.status.startswith("settled on")
        recipe, mark = session.recipe, session.fingerprint()
    with Session(recipe) as again:
        assert again.run().fingerprint() == mark
