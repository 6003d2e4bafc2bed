"""Training speed of our executors beside what else one could run: the six workloads with goals (issue 2)."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from crossbow_lab.bench.baselines import naive, s_sgd, vmapped
from crossbow_lab.bench.jax_baseline import jax_sma, why_not
from crossbow_lab.bench.machine import neighbours_cores, usage
from crossbow_lab.bench.measure import (
    TIMED,
    Contender,
    Plan,
    Warm,
    interleave,
    summarise,
    times_as_fast,
    timing_to_json,
    warm_up,
)
from crossbow_lab.bench.ours import our_contenders
from crossbow_lab.bench.report import cores, spread, table
from crossbow_lab.bench.subjects import Subject, problem, subject_data
from crossbow_lab.errors import ExecutorError
from crossbow_lab.workloads import DataSet


@dataclass(frozen=True)
class Goal:
    """How many times as fast as a baseline `fused` has to be at least, and should be."""

    at_least: float
    aim_for: float


@dataclass(frozen=True)
class Row:
    """A subject, with the goals of `fused` over naive and over S-SGD at the same aggregate batch."""

    subject: Subject
    over_naive: Goal
    over_s_sgd: Goal


ROWS = (
    Row(Subject("mlp", "digits", 16, 4), Goal(8, 20), Goal(0.45, 0.8)),
    Row(Subject("digits-cnn", "digits", 16, 4), Goal(6, 10), Goal(0.55, 0.8)),
    Row(Subject("digits-cnn", "digits", 16, 16), Goal(4, 6), Goal(0.6, 0.85)),
    Row(Subject("digits-cnn", "digits", 32, 2), Goal(11, 20), Goal(0.55, 0.8)),
    Row(Subject("lenet", "mnist", 16, 4), Goal(1.7, 2.5), Goal(0.45, 0.8)),
    Row(Subject("lenet", "mnist", 16, 16), Goal(1.1, 1.6), Goal(0.55, 0.85)),
)


def measure_throughput(plan: Plan, say: Callable[[str], None], *, rows: Sequence[Row] = ROWS) -> dict[str, Any]:
    """Time every contender on every row, interleaved.

    Parameters
    ----------
    plan : Plan
        How long.
    say : callable
        Gets a line of progress now and then.
    rows : sequence of Row
        What to measure.

    Returns
    -------
    dict
        Plain JSON values: what was timed, and for each row the timings, the ratios and the goals.
    """
    measured = []
    for number, row in enumerate(rows, start=1):
        say(f"throughput {number}/{len(rows)}: {row.subject}")
        measured.append(measure_row(row, plan, say))
    return {"timed": TIMED, "plan": asdict(plan), "rows": measured}


def measure_row(row: Row, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Time every contender on one row.

    Parameters
    ----------
    row : Row
        What to measure.
    plan : Plan
        How long.
    say : callable
        Gets a line of progress now and then.

    Returns
    -------
    dict
        Plain JSON values.
    """
    data = subject_data(row.subject)
    contenders, skipped = contenders_of(row.subject, data)
    warm: list[Warm] = []
    for contender in contenders:
        try:
            warm.append(warm_up(contender, plan))
            say(f"  {contender.name}: warm after {warm[-1].warm_up_s:.1f} s")
        except ExecutorError as error:
            skipped[contender.name] = str(error)
            say(f"  {contender.name}: skipped, {error}")
    before = usage()
    timings = interleave(warm, plan)
    neighbours = neighbours_cores(before, usage())
    aggregate_batch = row.subject.n_learners * row.subject.batch_size
    return {
        **asdict(row.subject),
        "data": data.name,
        "neighbours_cores": neighbours,
        "contenders": [
            timing_to_json(timing)
            | {
                "samples_per_s": aggregate_batch / summarise(timing.iteration_s).median,
                "over_naive": asdict(times_as_fast(timing, timings["naive"])),
                "over_s_sgd": asdict(times_as_fast(timing, timings["S-SGD"])),
            }
            for timing in timings.values()
        ],
        "skipped": skipped,
        "goals": {"over_naive": asdict(row.over_naive), "over_s_sgd": asdict(row.over_s_sgd)},
    }


def contenders_of(subject: Subject, data: DataSet) -> tuple[list[Contender], dict[str, str]]:
    """List what can be timed on a subject, and why the rest can't.

    Parameters
    ----------
    subject : Subject
        What to train.
    data : DataSet
        Its data.

    Returns
    -------
    (list of Contender, dict of str to str)
        Contenders, and reasons by name.
    """
    same = problem(subject, data)
    contenders = [
        *our_contenders(subject, data),
        Contender("naive", lambda: naive(same).run),
        Contender("S-SGD", lambda: s_sgd(same).run),
        Contender("vmap", lambda: vmapped(same).run),
    ]
    reason = why_not(subject.model)
    if reason is not None:
        return contenders, {"jax": reason}
    return [*contenders, Contender("jax", lambda: jax_sma(same, subject.model).run)], {}


def throughput_tables(result: dict[str, Any]) -> list[Table]:
    """Show the goals beside what was reached, and every contender of every row.

    Parameters
    ----------
    result : dict
        What `measure_throughput` gave.

    Returns
    -------
    list of Table
        Medians, with [least..greatest] over the rounds.
    """
    reached = table(
        "fused against its goals (at least / aim for)",
        (
            "workload",
            "ms/iteration",
            "images/s",
            "fused / naive",
            "goal",
            "fused / S-SGD",
            "goal",
            "loop / naive",
            "cores busy elsewhere",
        ),
        [_goal_row(row) for row in result["rows"]],
    )
    everything = table(
        "all contenders, interleaved",
        ("workload", "contender", "ms/iteration", "images/s", "x naive", "x S-SGD", "warm-up s"),
        [line for row in result["rows"] for line in _contender_rows(row)],
    )
    return [reached, everything]


def _label(row: dict[str, Any]) -> str:
    """Return a row's name; data that was made up is marked."""
    mark = "" if row["data"] == row["dataset"] else " (synthetic)"
    return f"{row['model']}, {row['dataset']}{mark} {row['n_learners']}x{row['batch_size']}"


def _goal_row(row: dict[str, Any]) -> list[str]:
    """Return the cells that hold `fused` against its goals."""
    by_name = {contender["name"]: contender for contender in row["contenders"]}
    fused, loop = by_name.get("fused"), by_name.get("loop")
    goals = [f"{goal['at_least']:g} / {goal['aim_for']:g}" for goal in row["goals"].values()]
    loop_over_naive = spread(loop["over_naive"]) if loop else "-"
    elsewhere = cores(row["neighbours_cores"])
    if fused is None:
        return [_label(row), "-", "-", "-", goals[0], "-", goals[1], loop_over_naive, elsewhere]
    return [
        _label(row),
        spread(fused["summary_s"], scale=1e3),
        f"{fused['samples_per_s']:,.0f}",
        spread(fused["over_naive"]),
        goals[0],
        spread(fused["over_s_sgd"]),
        goals[1],
        loop_over_naive,
        elsewhere,
    ]


def _contender_rows(row: dict[str, Any]) -> list[list[str]]:
    """Return the cells of every contender of a row, and of those that were skipped."""
    timed = [
        [
            _label(row),
            contender["name"],
            spread(contender["summary_s"], scale=1e3),
            f"{contender['samples_per_s']:,.0f}",
            spread(contender["over_naive"]),
            spread(contender["over_s_sgd"]),
            f"{contender['warm_up_s']:.1f}",
        ]
        for contender in row["contenders"]
    ]
    return timed + [[_label(row), name, f"skipped: {why}", "", "", "", ""] for name, why in row["skipped"].items()]
