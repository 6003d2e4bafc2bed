"""Instruments of sessions on our kernels, emulated: norms of gradients, and the timeline."""

from typing import Any

import pytest
import torch
from emulated import Emulator
from emulated_training import CPU, small_images, trainer_of

from crossbow_lab.averaging import EAMSGD, EASGD, SMA, SSGD, DiLoCo, LocalSGD
from crossbow_lab.learners.timeline import ALL, Recorder


@pytest.mark.parametrize("executor", ["fused", "streams"])
@pytest.mark.parametrize("algorithm", [SMA(), SMA(sync_period=3), EASGD(), LocalSGD(), DiLoCo(sync_period=2)])
def test_norms_of_gradients_come_with_the_averaging(emulated: Emulator, executor: str, algorithm: Any) -> None:
    """From the kernel where it measures them, from the bank where it doesn't; the same as on torch's operators."""
    data = small_images()
    host = trainer_of(data, on_kernels=False, algorithm=algorithm, weight_decay=0.01)
    device = trainer_of(data, on_kernels=True, algorithm=algorithm, weight_decay=0.01, executor=executor)
    for learners in (3, 2):
        out, total = torch.zeros(learners + 1, dtype=torch.float64), torch.zeros_like(host.bank.centre)
        for trainer in (host, device):
            trainer.adjust({"learners": learners})
            trainer.step()
        found, expected = (
            trainer.iterations.gradient_squares(trainer.setting, out=out, total_n=total).clone()
            for trainer in (device, host)
        )
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("executor", ["loop", "fused", "streams"])
@pytest.mark.parametrize(
    "algorithm", [SMA(), SMA(sync_period=3, local_momentum=0.5), SSGD(), EAMSGD(sync_period=2), DiLoCo(sync_period=3)]
)
def test_recorded_iterations_train_the_same_bits(emulated: Emulator, executor: str, algorithm: Any) -> None:
    """One in three, between bursts of the others."""
    data = small_images(is_varied=True)
    plain, recorded = (trainer_of(data, on_kernels=True, algorithm=algorithm, executor=executor) for _ in range(2))
    recorder = Recorder(3, 1000, CPU)
    recorded.iterations.record(recorder)
    recorded.prepare_step(recorded.setting)
    for most in (1, 8, 20, 2):
        for trainer in (plain, recorded):
            end = trainer.progress.iteration + most
            while trainer.progress.iteration < end:
                trainer.step(end - trainer.progress.iteration)
    assert torch.equal(plain.bank.centre, recorded.bank.centre)
    assert {span.iteration for span in recorder.spans} == set(range(0, 31, 3))
    recorded.iterations.record(None)
    recorded.step()
    assert max(span.iteration for span in recorder.spans) == 30


def test_the_tasks_of_streams_are_spans_of_their_lanes(emulated: Emulator) -> None:
    """Each learner's data, learning and correction on its lane, then the averaging on its own."""
    trainer = trainer_of(small_images(), on_kernels=True, executor="streams")
    recorder = Recorder(1, 1000, CPU)
    trainer.iterations.record(recorder)
    trainer.step()
    spans = [(span.kind, span.learner, span.stream) for span in recorder.spans]
    expected = [(kind, j, f"lane {j}") for j in range(3) for kind in ("data", "learning", "local_synchronisation")]
    assert spans == [*expected, ("global_synchronisation", ALL, "averaging")]
    trainer.adjust({"executor": "fused"})
    trainer.step()
    spans = [(span.kind, span.learner, span.stream) for span in recorder.spans if span.iteration == 1]
    assert spans == [(kind, ALL, "device") for kind in ("data", "learning", "synchronisation")]


@pytest.mark.parametrize("executor", ["fused", "streams"])
def test_algorithms_without_a_kernel_synchronise_on_the_timeline_too(emulated: Emulator, executor: str) -> None:
    """After the passes, on the device's own stream; between synchronisations there is learning only."""
    trainer = trainer_of(small_images(), on_kernels=True, executor=executor, algorithm=DiLoCo(sync_period=2))
    recorder = Recorder(1, 1000, CPU)
    trainer.iterations.record(recorder)
    for _ in range(2):
        trainer.step()
    kinds = [[span.kind for span in recorder.spans if span.iteration == i] for i in (0, 1)]
    assert set(kinds[0]) == {"data", "learning"}
    assert set(kinds[1]) == {"data", "learning", "synchronisation"}
    last = recorder.spans[-1]
    assert (last.kind, last.learner, last.stream) == ("synchronisation", ALL, "device")
