"""The kernels alone: bytes moved in their time, beside a device-to-device copy of the same run."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from crossbow_lab.bench.cuda.banks import Launch, kernel_launches, make_banks, torch_launches
from crossbow_lab.bench.cuda.feed import Feed
from crossbow_lab.bench.cuda.timing import (
    TIMED_ON_DEVICE,
    Bench,
    captured,
    device_run,
    ratio_to_json,
    time_all,
    warm_all,
)
from crossbow_lab.bench.cuda.traffic import Update, copy_bytes, gather_bytes, gb_per_s, update_bytes
from crossbow_lab.bench.measure import Contender, Run, Timing, summarise, timing_to_json
from crossbow_lab.bench.report import spread, table
from crossbow_lab.bench.subjects import Subject, subject_data
from crossbow_lab.kernels.averaging import make_partials, square_sums
from crossbow_lab.workloads import ArraySplit

_COPY = "copy"
_AT_ONCE = 16  # launches in one graph, so that the host's part of a launch isn't timed
_MORE_ROUNDS = 2  # than other parts have: a launch is short, and the norms' extra time is to be told from nothing


@dataclass(frozen=True)
class Sizes:
    """How large the arrays are; caches must be small beside them."""

    parameters: int = 10_000_000
    rows: int = 32
    copied_bytes: int = 1 << 29
    batch_samples: int = 4_096


TINY = Sizes(parameters=1_000, rows=8, copied_bytes=1 << 12, batch_samples=32)

MAIN = Update("sma", 8)
"""What the goal is about."""

_WITH_NORMS = replace(MAIN, has_norms=True)
UPDATES = (
    *(Update("sma", k) for k in (1, 4, 8, 16, 32)),
    _WITH_NORMS,
    replace(MAIN, has_local_momentum=True),
    replace(MAIN, has_local_momentum=True, has_norms=True),
    replace(MAIN, dtype=torch.bfloat16),
    Update("easgd", 8),
    Update("sgd", 8),
    Update("ssgd", 1),
)
_BASELINES = (MAIN, Update("easgd", 8), Update("sgd", 8), Update("ssgd", 1))
_BATCHES = (Subject("lenet", "mnist", 1, 1), Subject("resnet-32", "cifar-10", 1, 1))


@dataclass(frozen=True)
class Case:
    """A contender with the bytes that one launch moves."""

    contender: Contender
    n_bytes: float


def measure_kernels(bench: Bench, sizes: Sizes = Sizes()) -> dict[str, Any]:
    """Time every kernel, interleaved with a copy.

    Returns
    -------
    dict
        Plain JSON values: ``cases``, each with its bytes, timing, GB/s and share of the copy; ``norms_extra``, the time
        that norms add to the main case, as a fraction; ``skipped``.
    """
    bench.say(f"kernels: {sizes.parameters:,} parameters")
    skipped: dict[str, str] = {}
    cases = {case.contender.name: case for case in _cases(bench, sizes)}
    longer = replace(bench, plan=replace(bench.plan, rounds=_MORE_ROUNDS * bench.plan.rounds))
    timings = time_all(warm_all([case.contender for case in cases.values()], longer, skipped), longer)
    return {
        "timed": TIMED_ON_DEVICE,
        "sizes": asdict(sizes),
        "cases": [_case_to_json(cases[name], timing, timings.get(_COPY), cases) for name, timing in timings.items()],
        "norms_extra": _extra(timings, str(_WITH_NORMS)),
        "norms_and_sums_extra": _extra(timings, f"{_WITH_NORMS} + square_sums"),
        "skipped": skipped,
    }


def kernel_tables(result: dict[str, Any]) -> list[Table]:
    """Show every kernel's time and bandwidth."""
    rows = [
        [
            case["name"],
            f"{case['n_bytes'] / 1e6:,.1f}",
            spread(case["summary_s"], scale=1e6, digits=1),
            f"{case['gb_per_s']:,.0f}",
            "-" if case["share_of_copy"] is None else spread(case["share_of_copy"]),
            f"{case['warm_up_s']:.1f}",
        ]
        for case in result["cases"]
    ]
    rows += [[name, "", f"skipped: {why}", "", "", ""] for name, why in result["skipped"].items()]
    title = f"kernels, {result['sizes']['parameters']:,} parameters; bandwidth as a share of a device-to-device copy"
    columns = ("kernel", "MB moved", "µs", "GB/s", "share of copy", "warm-up s")
    extra = [
        [what, "-" if found is None else spread(found, scale=100, digits=1)]
        for what, found in (
            (f"{_WITH_NORMS}: norms in the update", result["norms_extra"]),
            (f"{_WITH_NORMS}: and their sums, every iteration", result["norms_and_sums_extra"]),
        )
    ]
    return [table(title, columns, rows), table("what norms add", ("", "% of the update"), extra)]


def _cases(bench: Bench, sizes: Sizes) -> list[Case]:
    """List everything that is timed."""
    device = bench.device
    banks = {torch.float32: make_banks(sizes.rows, sizes.parameters, torch.float32, device)}
    banks[torch.bfloat16] = make_banks(MAIN.n_learners, sizes.parameters, torch.bfloat16, device)

    def case(name: str, update: Update, launches: Sequence[Launch]) -> Case:
        return Case(Contender(name, partial(_in_turns, launches, device)), update_bytes(update) * sizes.parameters)

    cases = [_copy_case(sizes.copied_bytes, device)]
    cases += [case(str(update), update, kernel_launches(banks[update.dtype], update)) for update in UPDATES]
    cases += [case(f"torch's {update}", update, torch_launches(banks[update.dtype], update)) for update in _BASELINES]
    partials = make_partials(banks[torch.float32].weights[: MAIN.n_learners])
    sums = torch.zeros(len(partials), dtype=torch.float64, device=device)
    add_up = partial(square_sums, partials, out=sums)
    together = [partial(_both, update, add_up) for update in kernel_launches(banks[torch.float32], _WITH_NORMS)]
    cases.append(case(f"{_WITH_NORMS} + square_sums", _WITH_NORMS, together))
    for subject in _BATCHES:
        cases += _batch_cases(subject, sizes.batch_samples, device)
    return cases


def _both(first: Launch, second: Launch) -> None:
    """Launch two kernels."""
    first()
    second()


def _in_turns(launches: Sequence[Launch], device: torch.device) -> Run:
    """Return a `Run` of launches that take turns, many in one graph."""

    def work() -> None:
        for number in range(_AT_ONCE):
            launches[number % len(launches)]()

    return device_run(captured(work, device), device, at_once=_AT_ONCE)


def _copy_case(n_bytes: int, device: torch.device) -> Case:
    """Copy one tensor to another."""
    source = torch.randint(0, 256, (n_bytes,), dtype=torch.uint8, device=device)
    to = torch.empty_like(source)
    return Case(Contender(_COPY, partial(_in_turns, [partial(to.copy_, source)], device)), copy_bytes(n_bytes))


def _batch_cases(subject: Subject, count: int, device: torch.device) -> list[Case]:
    """Gather one large batch by our kernel, and by torch's operators where nothing varies the samples."""
    data = subject_data(subject)
    feed = Feed(data, device, has_augmentation=data.augmentation is not None)
    split = data.train
    assert isinstance(split, ArraySplit)  # noqa: S101  (the bench's data are)
    count = min(count, len(split))
    inputs = torch.zeros(count, *data.input_shape, device=device)
    targets = torch.zeros(count, dtype=torch.int64, device=device)
    feed.begin(count)
    n_bytes = gather_bytes(count, inputs[0].numel(), split.inputs.dtype, inputs.dtype)
    kind = "crop and flip, " if data.augmentation is not None else ""
    ours = partial(feed.supply.gather, inputs, targets, 0)
    cases = [Case(Contender(f"gather, {kind}{data.name}", partial(_in_turns, [ours], device)), n_bytes)]
    if data.augmentation is None:
        theirs = _torch_gather(split, inputs, data.scale, data.shift, device)
        cases.append(Case(Contender(f"torch's gather, {data.name}", partial(_in_turns, [theirs], device)), n_bytes))
    return cases


def _torch_gather(
    split: ArraySplit, out: Tensor, scale: Sequence[float], shift: Sequence[float], device: torch.device
) -> Launch:
    """Gather, convert and normalise with torch."""
    raw = split.inputs.to(device)
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[: len(out)].to(device)
    trailing = (1,) * (raw.dim() - 2)
    factor, term = (torch.tensor(values, device=device).view(-1, *trailing) for values in (scale, shift))

    def gather() -> None:
        out.copy_(raw.index_select(0, order))
        out.mul_(factor).add_(term)

    return gather


def _extra(timings: dict[str, Timing], name: str) -> dict[str, float] | None:
    """Return how much longer than the main case another one takes, as a fraction; None where one wasn't timed."""
    if name not in timings or str(MAIN) not in timings:
        return None
    pairs = zip(timings[name].iteration_s, timings[str(MAIN)].iteration_s, strict=True)
    return asdict(summarise([longer_s / main_s - 1 for longer_s, main_s in pairs]))


def _case_to_json(case: Case, timing: Timing, copy: Timing | None, cases: dict[str, Case]) -> dict[str, Any]:
    """Return a case as plain JSON values."""
    return timing_to_json(timing) | {
        "n_bytes": case.n_bytes,
        "gb_per_s": gb_per_s(case.n_bytes, summarise(timing.iteration_s).median),
        "share_of_copy": ratio_to_json(copy, timing, scale=case.n_bytes / cases[_COPY].n_bytes),
    }
