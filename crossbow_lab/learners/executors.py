"""Executors by name, and ``auto``: measures those that can run the model here, and says what it chose and why."""

import math
import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from crossbow_lab.errors import ConfigurationError, ExecutorError, nearest
from crossbow_lab.learners.fused import make_fused
from crossbow_lab.learners.loop import make_loop
from crossbow_lab.learners.timeline import Recorder
from crossbow_lab.learners.work import Step, Work

EXECUTOR_NAMES = ("loop", "fused", "streams")
_STEP_NAMES = ("loop", "fused")
_ROUNDS = 3
_BURST_S = 0.05
_HOPELESS = 2.0
# More threads than one must gain at least this factor: with a busy neighbour, threads that wait for each other at
# every operator are the first to lose (measured on two cores: up to 16 times slower than one thread).
_THREADS_MUST_GAIN = 1.15


@dataclass(frozen=True)
class Choice:
    """What ``auto`` chose.

    Attributes
    ----------
    executor : "loop", "fused" or "streams".
    threads : how many CPU threads torch uses.
    reason : one sentence with the measured numbers.
    """

    executor: str
    threads: int
    reason: str


def check_executor(name: str) -> None:
    """Refuse an unknown executor.

    Raises
    ------
    ConfigurationError
        Naming the nearest one.
    """
    if name != "auto" and name not in EXECUTOR_NAMES:
        raise ConfigurationError(f"unknown executor {name!r}; {nearest(str(name), ('auto', *EXECUTOR_NAMES))}")


def make_step(
    work: Work,
    executor: str,
    n_learners: int,
    batch_size: int,
    inputs: Tensor,
    targets: Tensor,
    recorder: Recorder | None = None,
) -> Step:
    """Return the step of one executor for ``n_learners`` learners with ``batch_size`` samples each.

    Parameters
    ----------
    inputs, targets : (k b, ...)
        An example batch.
    recorder : Recorder, optional
        Gets a span for each learner, where they run one after the other.

    Raises
    ------
    ExecutorError
        If this executor can't run the model.
    """
    if executor == "streams":
        raise ExecutorError(
            f"executor 'streams' runs learners on streams of a CUDA device, with our kernels; on "
            f"{work.bank.centre.device} as it is here, use 'fused' or 'loop' (crossbow-lab doctor says what is missing)"
        )
    if executor == "loop":
        return make_loop(work, n_learners, batch_size, recorder)
    return make_fused(work, n_learners, batch_size, inputs, targets)


def choose(work: Work, n_learners: int, batch_size: int, inputs: Tensor, targets: Tensor) -> Choice:
    """Measure every executor that runs this model here, with all threads and with one, and choose the fastest.

    Bursts are interleaved, so that a machine that slows down slows down all. Takes about half a second. The learners'
    weights and buffers are left as they were.
    """
    before = {name: rows.clone() for name, rows in work.bank.buffers.items()}
    all_threads = torch.get_num_threads()
    steps: dict[str, Step] = {}
    refused = ""
    for name in _STEP_NAMES:
        try:
            steps[name] = make_step(work, name, n_learners, batch_size, inputs, targets)
        except ExecutorError as error:
            if name == "loop":
                raise
            refused = f"; {error}"
    settings = [(name, threads) for name in steps for threads in sorted({1, all_threads})]
    times_ms: dict[tuple[str, int], list[float]] = {setting: [] for setting in settings}
    try:
        for _ in range(_ROUNDS):
            best_ms = min((min(times) for times in times_ms.values() if times), default=math.inf)
            for name, threads in settings:
                if times_ms[name, threads] and times_ms[name, threads][0] > _HOPELESS * best_ms:
                    continue  # once is enough to know
                torch.set_num_threads(threads)
                times_ms[name, threads].append(_burst_ms(steps[name], inputs, targets))
    finally:
        torch.set_num_threads(all_threads)
        for name, rows in work.bank.buffers.items():
            rows.copy_(before[name])
    medians = {setting: statistics.median(times) for setting, times in times_ms.items()}
    best = min(medians, key=lambda setting: medians[setting] * (_THREADS_MUST_GAIN if setting[1] > 1 else 1.0))
    listed = ", ".join(f"{name} with {t} threads {ms:.2f} ms" for (name, t), ms in medians.items())
    return Choice(best[0], best[1], f"fastest of {listed} (forward and backward of one iteration){refused}")


def _burst_ms(step: Step, inputs: Tensor, targets: Tensor) -> float:
    """Return the milliseconds of one step, over a burst of at least one."""
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < _BURST_S:
        step(inputs, targets, count)
        count += 1
    return (time.perf_counter() - start) / count * 1e3
