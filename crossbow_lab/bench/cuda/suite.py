"""Runs the parts of the GPU bench one after the other; one that fails is recorded, and the rest goes on."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from rich.table import Table

from crossbow_lab.bench.cuda.averaging import averaging_tables, measure_averaging
from crossbow_lab.bench.cuda.goals import best_learners, goal_table
from crossbow_lab.bench.cuda.kernels import kernel_tables, measure_kernels
from crossbow_lab.bench.cuda.machine import describe_gpu_machine, gpu_line, gpu_now
from crossbow_lab.bench.cuda.session import adjustment_tables, host_tables, measure_adjustments, measure_host
from crossbow_lab.bench.cuda.throughput import measure_compiled, measure_throughput, throughput_tables
from crossbow_lab.bench.cuda.timing import Bench
from crossbow_lab.bench.measure import QUICK, Plan
from crossbow_lab.bench.report import machine_line, make_console, new_document, write_document

PLAN = Plan(rounds=5, burst_s=0.05, burst_iterations=8)
_DATASETS = {"lenet": "mnist", "resnet-32": "cifar-10"}
_LEARNERS = 32  # for what is compiled, where the best k wasn't measured before
_ALL_WARM_UP_S = 400  # after so many seconds no part begins anything new


@dataclass(frozen=True)
class Part:
    """One part of the bench.

    Attributes
    ----------
    measure : of a bench and the results of the parts before.
    tables : of what it gave.
    warm_up_s : after so many seconds it begins nothing new, so that all parts together end within eight minutes.
    """

    measure: Callable[[Bench, dict[str, Any]], dict[str, Any]]
    tables: Callable[[dict[str, Any]], list[Table]]
    warm_up_s: float


def measure_cuda(
    names: Sequence[str],
    json_path: Path | None,
    is_quick: bool,
    device: torch.device,
    parts: dict[str, Part] | None = None,
) -> int:
    """Measure, print and record.

    Parameters
    ----------
    names : sequence of str
        Known parts.
    json_path : Path or None
        Written after every part.
    is_quick : bool
        Short bursts, whose numbers mean nothing.
    device : torch.device
        What is measured.
    parts : dict, optional
        By default `PARTS`.

    Returns
    -------
    int
        Exit status: 0, or 1 where a part failed.
    """
    console = make_console()
    document = new_document(describe_gpu_machine(device), is_quick=is_quick)
    console.print(machine_line(document["machine"]))
    console.print(gpu_line(document["machine"]))
    known, results = parts or PARTS, document["results"]
    until_s = perf_counter() + _ALL_WARM_UP_S
    for name in names:
        bench = Bench(
            device,
            QUICK if is_quick else PLAN,
            console.print,
            min(until_s, perf_counter() + known[name].warm_up_s),
        )
        results[name] = _measured(known[name], bench, results)
        if json_path is not None:
            write_document(document, json_path)
        for made in [] if "error" in results[name] else known[name].tables(results[name]):
            console.print(made)
    console.print(goal_table(results))
    if json_path is not None:
        console.print(f"written: {json_path}")
    return int(any("error" in found for found in results.values()))


def _measured(part: Part, bench: Bench, results: dict[str, Any]) -> dict[str, Any]:
    """Run a part; return its result or its error, with what the GPU said before and after."""
    started_s, before = perf_counter(), gpu_now(bench.device)
    try:
        measured = part.measure(bench, results)
    except Exception as error:  # whatever it is, the other parts are worth having
        bench.say(f"  failed: {type(error).__name__}: {error}")
        measured = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    after = None if "error" in measured else gpu_now(bench.device)
    return measured | {"took_s": perf_counter() - started_s, "gpu_before": before, "gpu_after": after}


def _compiled(bench: Bench, results: dict[str, Any]) -> dict[str, Any]:
    """Compare with compiled S-SGD where ours is best."""
    learners = {model: best_learners(results, model, 16, _LEARNERS) for model in _DATASETS}
    return measure_compiled(bench, tuple(_DATASETS.items()), learners)


def _compiled_tables(result: dict[str, Any]) -> list[Table]:
    """Show all models."""
    return [made for model in _DATASETS for made in throughput_tables(result[model])]


PARTS: dict[str, Part] = {
    "kernels": Part(lambda bench, _: measure_kernels(bench), kernel_tables, 30),
    "lenet": Part(lambda bench, _: measure_throughput(bench, "lenet", "mnist"), throughput_tables, 50),
    "resnet-32": Part(lambda bench, _: measure_throughput(bench, "resnet-32", "cifar-10"), throughput_tables, 90),
    "compiled": Part(_compiled, _compiled_tables, 70),
    "averaging": Part(lambda bench, _: measure_averaging(bench), averaging_tables, 25),
    "adjust": Part(lambda bench, _: measure_adjustments(bench), adjustment_tables, 40),
    "host": Part(lambda bench, _: measure_host(bench), host_tables, 25),
}
