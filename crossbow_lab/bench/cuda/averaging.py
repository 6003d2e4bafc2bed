"""What averaging costs of an iteration: programs with their update, the same without it, and the update alone."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from crossbow_lab.bench.cuda.feed import Feed
from crossbow_lab.bench.cuda.ours import Ours, Shape, ours, passes_run, update_run
from crossbow_lab.bench.cuda.timing import TIMED_ON_DEVICE, Bench, ratio_to_json, time_all, warm_all
from crossbow_lab.bench.measure import Contender, Run, Timing, summarise, timing_to_json
from crossbow_lab.bench.report import spread, table
from crossbow_lab.bench.subjects import Subject, subject_data, subject_model
from crossbow_lab.errors import ExecutorError

WHOLE, PASSES, UPDATE = "whole iteration", "without its update", "update alone"
SUBJECTS = (
    Subject("resnet-32", "cifar-10", 8, 16),
    Subject("resnet-32", "cifar-10", 32, 16),
    Subject("lenet", "mnist", 32, 16),
)


def measure_averaging(bench: Bench, subjects: Sequence[Subject] = SUBJECTS) -> dict[str, Any]:
    """Time iterations with and without their update, for the fused executor.

    Returns
    -------
    dict
        Plain JSON values: ``rows``, each with its timings and ``share``, (whole - without) / whole by rounds.
    """
    return {"timed": TIMED_ON_DEVICE, "rows": [_measure_row(bench, subject) for subject in subjects]}


def averaging_tables(result: dict[str, Any]) -> list[Table]:
    """Show shares and times."""
    columns = ("workload", WHOLE, PASSES, UPDATE, "share of an iteration %", "update alone / iteration %")
    rows = []
    for row in result["rows"]:
        times = {timing["name"]: spread(timing["summary_s"], scale=1e3, digits=3) for timing in row["timings"]}
        label = f"{row['model']}, {row['data']} {row['n_learners']}x{row['batch_size']}"
        shares = [
            "-" if row[name] is None else spread(row[name], scale=100, digits=1) for name in ("share", "update_share")
        ]
        reasons = "; ".join(f"{name}: {why}" for name, why in row["skipped"].items())
        rows.append([label, *(times.get(name, f"skipped: {reasons}") for name in (WHOLE, PASSES, UPDATE)), *shares])
    return [table("averaging, ms an iteration", columns, rows)]


def _measure_row(bench: Bench, subject: Subject) -> dict[str, Any]:
    """Time one workload."""
    bench.say(f"averaging: {subject}")
    data, skipped = subject_data(subject), dict[str, str]()
    feed = Feed(data, bench.device, has_augmentation=data.augmentation is not None)
    shape = Shape("fused", subject.n_learners, subject.batch_size)
    made: list[Ours] = []

    def whole() -> Run:
        made.append(ours(subject_model(subject, data), feed, shape))
        return made[0].run

    def program() -> Ours:
        if not made:
            raise ExecutorError("there is no program to take apart")
        return made[0]

    contenders = [
        Contender(WHOLE, whole),
        Contender(PASSES, lambda: passes_run(program())),
        Contender(UPDATE, lambda: update_run(program())),
    ]
    timings = time_all(warm_all(contenders, bench, skipped), bench)
    return {
        **asdict(subject),
        "data": data.name,
        "timings": [timing_to_json(timing) for timing in timings.values()],
        "share": _share(timings),
        "update_share": ratio_to_json(timings.get(UPDATE), timings.get(WHOLE)),
        "skipped": skipped,
    }


def _share(timings: dict[str, Timing]) -> dict[str, float] | None:
    """Return what the update adds, as a share of the whole; None where one of the two wasn't timed."""
    whole, passes = timings.get(WHOLE), timings.get(PASSES)
    if whole is None or passes is None:
        return None
    pairs = zip(whole.iteration_s, passes.iteration_s, strict=True)
    return asdict(summarise([(whole_s - passes_s) / whole_s for whole_s, passes_s in pairs]))
