"""Images a second of our executors on a device, beside one replica and S-SGD in torch: eager, graphed and compiled."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.table import Table
from torch import nn

from crossbow_lab.bench.cuda.baselines import Baseline, Replica, compiled, eager, graphed
from crossbow_lab.bench.cuda.feed import Feed
from crossbow_lab.bench.cuda.ours import Shape, preparing
from crossbow_lab.bench.cuda.timing import TIMED_ON_DEVICE, Bench, ratio_to_json, time_all, warm_all
from crossbow_lab.bench.measure import Contender, Timing, summarise, timing_to_json
from crossbow_lab.bench.report import spread, table
from crossbow_lab.bench.subjects import LEARNING_RATE, Subject, subject_data, subject_model
from crossbow_lab.learners import Preparation
from crossbow_lab.workloads import DataSet

NAIVE, GRAPHED = "one replica, eager", "one replica, graphed"
S_SGD, COMPILED = "S-SGD, graphed", "S-SGD, compiled and graphed"


@dataclass(frozen=True)
class Group:
    """Contenders that are timed in turns: one model, batch size and precision.

    Attributes
    ----------
    batch_size : b.
    amp : whether all of them run in bfloat16 where that is safe.
    fused, streams : numbers of learners for each executor.
    compiles : whether S-SGD is compiled, for the numbers of learners of ``fused``; that takes up to a minute each.
    """

    batch_size: int
    amp: bool
    fused: tuple[int, ...] = (1, 4, 16, 64)
    streams: tuple[int, ...] = (4, 16)
    compiles: bool = False


@dataclass(frozen=True)
class Entrant:
    """A contender, and what it trains in an iteration."""

    contender: Contender
    kind: str
    n_learners: int
    samples: int


# The most wanted first: what there is no time for any more is skipped.
GROUPS = tuple(
    Group(b, amp, streams=() if amp else (4, 16)) for amp, b in ((False, 16), (False, 2), (True, 16), (True, 2))
)


def measure_throughput(bench: Bench, model: str, dataset: str, groups: Sequence[Group] = GROUPS) -> dict[str, Any]:
    """Time all contenders of all groups.

    Parameters
    ----------
    bench : Bench
        Where, and how long.
    model, dataset : str
        By name; data that isn't at hand is made up, and says so.
    groups : sequence of Group
        What to measure.

    Returns
    -------
    dict
        Plain JSON values: ``groups``, each with its contenders' timings, images a second and ratios, and what was
        skipped.
    """
    subject = Subject(model, dataset, 1, 1)
    data = subject_data(subject)
    plain = _plain_data(data, bench.device)
    measured = []
    for number, group in enumerate(groups, start=1):
        amp = "bfloat16" if group.amp else "float32"
        bench.say(f"{model} {number}/{len(groups)}: b={group.batch_size}, {amp}")
        measured.append({**asdict(group), "data": data.name} | _measure_group(bench, subject, data, plain, group))
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
    return {"timed": TIMED_ON_DEVICE, "model": model, "dataset": dataset, "groups": measured}


def throughput_tables(result: dict[str, Any]) -> list[Table]:
    """Show every contender of every group."""
    columns = ("b", "", "contender", "k", "ms/iteration", "images/s", "x naive", "x graphed", "x S-SGD", "warm-up s")
    rows = []
    for group in result["groups"]:
        label = [str(group["batch_size"]), "bf16" if group["amp"] else "f32"]
        rows += [
            [
                *label,
                contender["kind"],
                str(contender["n_learners"]),
                spread(contender["summary_s"], scale=1e3, digits=3),
                f"{contender['images_per_s']:,.0f}",
                *("-" if found is None else spread(found) for found in contender["times"].values()),
                f"{contender['warm_up_s']:.1f}",
            ]
            for contender in group["contenders"]
        ]
        rows += [[*label, name, "", f"skipped: {why}", *[""] * 5] for name, why in group["skipped"].items()]
    names = {group["data"] for group in result["groups"]}
    return [table(f"{result['model']} on {', '.join(sorted(names))}, contenders in turns", columns, rows)]


def best(group: dict[str, Any], kinds: Sequence[str] = ("fused", "streams")) -> dict[str, Any] | None:
    """Return the contender of these kinds with the most images a second; None where there is none."""
    own = [contender for contender in group["contenders"] if contender["kind"] in kinds]
    return max(own, key=lambda contender: float(contender["images_per_s"]), default=None)


def _plain_data(data: DataSet, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the training data as baselines take it: on the device, normalised."""
    raw, targets = data.train.fetch(torch.arange(len(data.train)))
    return Preparation(data, device, torch.float32)(raw, targets)


def _measure_group(
    bench: Bench, subject: Subject, data: DataSet, plain: tuple[torch.Tensor, torch.Tensor], group: Group
) -> dict[str, Any]:
    """Time one group."""
    feed = Feed(data, bench.device, has_augmentation=False)  # baselines don't vary samples either
    entrants = {entrant.contender.name: entrant for entrant in _entrants(subject, data, feed, plain, group)}
    skipped: dict[str, str] = {}
    warm = warm_all([entrant.contender for entrant in entrants.values()], bench, skipped)
    timings = time_all(warm, bench)
    return {
        "contenders": [_to_json(entrants[name], timing, timings, entrants) for name, timing in timings.items()],
        "skipped": skipped,
    }


def _entrants(
    subject: Subject, data: DataSet, feed: Feed, plain: tuple[torch.Tensor, torch.Tensor], group: Group
) -> list[Entrant]:
    """List the contenders of a group, the most wanted first."""
    b = group.batch_size

    def model() -> nn.Module:
        return subject_model(subject, data)

    def replica(samples: int, momentum: float) -> Replica:
        return Replica(model(), *plain, samples, LEARNING_RATE, momentum, group.amp)

    def single(kind: str, make: Callable[[Replica], Baseline]) -> Entrant:
        return Entrant(Contender(kind, lambda: make(replica(b, 0.0)).run), kind, 1, b)

    def s_sgd(kind: str, make: Callable[[Replica], Baseline], k: int) -> Entrant:
        return Entrant(Contender(f"{kind} k={k}", lambda: make(replica(k * b, 0.9)).run), kind, k, k * b)

    def own(executor: str, k: int) -> Entrant:
        shape = Shape(executor, k, b, group.amp)
        return Entrant(Contender(str(shape), preparing(model(), feed, shape)), executor, k, shape.samples)

    entrants = [single(NAIVE, eager), single(GRAPHED, graphed)]
    entrants += [own("fused", k) for k in reversed(group.fused)]
    entrants += [s_sgd(S_SGD, graphed, k) for k in reversed(group.fused)]
    if group.compiles:
        entrants += [s_sgd(COMPILED, compiled, k) for k in reversed(group.fused)]
    return entrants + [own("streams", k) for k in group.streams]


def _to_json(
    entrant: Entrant, timing: Timing, timings: dict[str, Timing], entrants: dict[str, Entrant]
) -> dict[str, Any]:
    """Return a contender as plain JSON values, with how many times as many images a second it does as baselines."""
    k = entrant.n_learners
    compiled_one = timings.get(f"{COMPILED} k={k}")
    others = {
        "naive": NAIVE,
        "graphed": GRAPHED,
        "s_sgd": f"{COMPILED if compiled_one is not None else S_SGD} k={k}",
    }
    times = {}
    for short, name in others.items():
        scale = entrant.samples / entrants[name].samples if name in entrants else 1.0
        times[short] = ratio_to_json(timings.get(name), timing, scale=scale)
    return timing_to_json(timing) | {
        "kind": entrant.kind,
        "n_learners": k,
        "samples": entrant.samples,
        "images_per_s": entrant.samples / summarise(timing.iteration_s).median,
        "times": times,
        "s_sgd_is_compiled": compiled_one is not None,
    }


def measure_compiled(
    bench: Bench, subjects: Sequence[tuple[str, str]], learners: dict[str, int], batch_size: int = 16
) -> dict[str, Any]:
    """Time the fused executor against compiled S-SGD, for one number of learners a model.

    Parameters
    ----------
    bench : Bench
        Where, and how long.
    subjects : sequence of (str, str)
        Models and data sets.
    learners : dict
        k by model.
    batch_size : int
        b.

    Returns
    -------
    dict
        Plain JSON values: what `measure_throughput` gives, by model.
    """
    return {
        model: measure_throughput(
            bench,
            model,
            dataset,
            [Group(batch_size, amp, (learners[model],), (), compiles=True) for amp in (False, True)],
        )
        for model, dataset in subjects
    }
