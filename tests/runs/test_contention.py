"""Whether a run had its device to itself."""

import os
import threading
import time

import pytest

from crossbow_lab.runs import contention, environment
from crossbow_lab.runs.contention import Load, describe_load, read_load

BEFORE = Load(at_s=10.0, busy_s=100.0, gpu_processes=0)


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine have two cores."""
    monkeypatch.setattr(contention, "_cores", lambda: {0, 1})


@pytest.mark.parametrize(
    ("busy_s", "own_cpu_s", "others", "is_contended"),
    [
        (120.0, 19.0, 0.1, False),  # ten seconds of two cores, all but one second of it our own
        (120.0, 10.0, 1.0, True),
        (105.0, 9.0, 0.0, False),  # clocks that tick apart
        (120.0, None, None, None),
    ],
)
def test_it_counts_what_others_used(
    busy_s: float, own_cpu_s: float | None, others: float | None, is_contended: bool | None
) -> None:
    """A tenth of the cores is tolerated; what isn't known isn't guessed."""
    said = describe_load(BEFORE, Load(20.0, busy_s, 0), own_cpu_s, uses_gpu=False)
    assert said == {"cores": 2, "others_cores": others, "gpu_processes": 0, "is_contended": is_contended}


def test_it_is_contended_when_others_are_on_the_gpu_that_it_uses() -> None:
    """Whatever the cores do; a run on the CPU doesn't mind."""
    before = Load(10.0, 100.0, 2)
    after = Load(20.0, 100.0, 2)
    assert describe_load(before, after, 0.0, uses_gpu=True)["is_contended"] is True
    assert describe_load(before, after, 0.0, uses_gpu=False)["is_contended"] is False


def test_it_looks_at_the_gpus_that_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number or by UUID; none visible, none shared."""
    monkeypatch.setattr(environment, "gpus", lambda: ({"uuid": "GPU-a"}, {"uuid": "GPU-b"}))
    monkeypatch.setattr(contention, "output_of", lambda *_: "GPU-b\nGPU-b\n")
    for visible, count in (("0", 0), ("1", 2), ("GPU-b", 2), ("", 0), ("0,1", 2)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert read_load().gpu_processes == count
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert read_load().gpu_processes == 2


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="reads /proc")
def test_it_reads_clocks_that_advance(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy loop shows up as busy seconds."""
    monkeypatch.setattr(contention, "_cores", lambda: os.sched_getaffinity(0))
    before, over = read_load(), time.monotonic() + 0.3
    thread = threading.Thread(target=lambda: all(time.monotonic() < over for _ in iter(int, 1)))
    thread.start()
    thread.join()
    after = read_load()
    assert before.busy_s is not None
    assert after.busy_s is not None
    assert after.busy_s - before.busy_s > 0.1
