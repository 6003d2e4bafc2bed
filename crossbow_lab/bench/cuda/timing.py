"""Times work on a device with its own clock: CUDA events around bursts, contenders in turns, captures kept apart.

On other devices the host's clock takes the events' place and work runs as it is, so that all but CUDA itself is tested
without a GPU.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any

import torch

from crossbow_lab.bench.measure import Contender, Plan, Run, Summary, Timing, Warm, interleave, summarise, warm_up

TIMED_ON_DEVICE = (
    "Seconds are the device's: CUDA events on the stream before and after a burst, waited for at its end, so gaps in"
    " which the host is late count. Building, tracing, compiling, capturing and first runs are the warm-up, reported"
    " apart. All contenders of a group take one burst a round, in a random order. 'A / B' is formed in each round, from"
    " bursts that ran within a second of each other, and then summarised."
)
Work = Callable[[], None]
_WARM_UPS = 3


@dataclass(frozen=True)
class Bench:
    """What every part of a bench is given.

    Attributes
    ----------
    device : where work runs.
    plan : how long bursts are, and how many rounds.
    say : gets a line of progress now and then.
    until_s : `perf_counter` after which nothing new is warmed up; what is ready is still measured.
    """

    device: torch.device
    plan: Plan
    say: Callable[[str], None]
    until_s: float

    @property
    def is_late(self) -> bool:
        """Whether nothing new may be begun."""
        return perf_counter() > self.until_s


def elapsed_s(work: Work, device: torch.device) -> float:
    """Return how long a device takes for what ``work`` puts on the current stream; waits for it."""
    if device.type != "cuda":
        started_s = perf_counter()
        work()
        return perf_counter() - started_s
    stream = torch.cuda.current_stream(device)
    begun, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begun.record(stream)
    work()
    ended.record(stream)
    ended.synchronize()
    return float(begun.elapsed_time(ended)) / 1e3


def device_run(launch: Work, device: torch.device, *, at_once: int = 1) -> Run:
    """Return a `Run` that counts the device's seconds, for `crossbow_lab.bench.measure.interleave`.

    Parameters
    ----------
    launch : callable
        Puts ``at_once`` iterations on the current stream.
    device : torch.device
        Where they run.
    at_once : int
        Whole launches are made; what they do beyond the iterations asked for is taken off in proportion.
    """

    def run(n_iterations: int) -> float:
        launches = math.ceil(n_iterations / at_once)

        def burst() -> None:
            for _ in range(launches):
                launch()

        started_s = perf_counter()
        device_s = elapsed_s(burst, device)
        return perf_counter() - started_s - device_s * n_iterations / (launches * at_once)

    return run


def captured(work: Work, device: torch.device) -> Work:
    """Return what replays ``work`` as one CUDA graph, after a few runs on a stream of their own; elsewhere, itself.

    Not the capture that executors use: a baseline must not depend on what it is compared with.
    """
    if device.type != "cuda":
        work()
        return work
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(_WARM_UPS):
            work()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    here = torch.cuda.stream(torch.cuda.current_stream(device))  # a capture that fails leaves its own stream current
    with here, torch.cuda.graph(graph, stream=torch.cuda.Stream(device), capture_error_mode="thread_local"):
        work()

    def replay(held: Work = work) -> None:  # a graph knows addresses only: what is behind them must live on
        del held
        graph.replay()

    return replay


def warm_all(contenders: Sequence[Contender], bench: Bench, skipped: dict[str, str]) -> list[Warm]:
    """Warm up what can be; note in ``skipped`` what can't, with its error, and what there is no time for."""
    warm = []
    for contender in contenders:
        if bench.is_late:
            skipped[contender.name] = "no time was left for its warm-up"
            continue
        try:
            warm.append(warm_up(contender, bench.plan))
        except Exception as error:  # of memory, of CUDA, of a compiler: the other contenders are worth having
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            skipped[contender.name] = reason
            bench.say(f"  {contender.name}: skipped, {reason}")
            if bench.device.type == "cuda":
                torch.cuda.empty_cache()
            continue
        bench.say(f"  {contender.name}: warm after {warm[-1].warm_up_s:.1f} s")
    return warm


def time_all(warm: Sequence[Warm], bench: Bench) -> dict[str, Timing]:
    """Time contenders in turns; on a device that is too late, in two rounds only."""
    plan = replace(bench.plan, rounds=min(bench.plan.rounds, 2)) if bench.is_late else bench.plan
    return interleave(warm, plan)


def ratio(numerator: Timing, denominator: Timing, *, scale: float = 1.0) -> Summary:
    """Summarise numerator / denominator of seconds per iteration, formed in each round and multiplied by ``scale``."""
    pairs = zip(numerator.iteration_s, denominator.iteration_s, strict=True)
    return summarise([scale * own_s / other_s for own_s, other_s in pairs])


def ratio_to_json(numerator: Timing | None, denominator: Timing | None, *, scale: float = 1.0) -> Any:
    """Return `ratio` as JSON; None where one of the two wasn't timed."""
    if numerator is None or denominator is None:
        return None
    return asdict(ratio(numerator, denominator, scale=scale))
