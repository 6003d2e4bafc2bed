"""Runs the measurements one after the other, prints their tables, and keeps the JSON."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from crossbow_lab.bench.browser.dashboard import QUICK_SIZES, Sizes, dashboard_tables, measure_dashboard
from crossbow_lab.bench.devices import QUICK as QUICK_EXTENT
from crossbow_lab.bench.devices import Extent, devices_tables, measure_devices
from crossbow_lab.bench.landscape import landscape_tables, measure_landscape
from crossbow_lab.bench.machine import describe_machine
from crossbow_lab.bench.measure import QUICK, Plan
from crossbow_lab.bench.memory import Point, measure_memory, memory_tables
from crossbow_lab.bench.overhead import measure_overhead, overhead_tables
from crossbow_lab.bench.report import machine_line, make_console, new_document, write_document
from crossbow_lab.bench.runs import QUICK as QUICK_RUNS
from crossbow_lab.bench.runs import Size, measure_runs, runs_tables
from crossbow_lab.bench.subjects import Subject
from crossbow_lab.bench.throughput import ROWS, measure_throughput, throughput_tables
from crossbow_lab.runs.environment import hardware

Say = Callable[[str], None]
_QUICK_POINTS = (Point(Subject("mlp", "digits", 2, 2), "fused", 2),)


def measure_all(names: Sequence[str], json_path: Path | None, is_quick: bool) -> int:
    """Measure, print and record.

    Parameters
    ----------
    names : sequence of str
        Known ones.
    json_path : Path or None
        Written after every measurement.
    is_quick : bool
        Tiny rounds, and one workload.

    Returns
    -------
    int
        Exit status: 0.
    """
    console = make_console()
    document = new_document(describe_machine(), is_quick=is_quick)
    console.print(machine_line(document["machine"]))
    for name in names:
        measured = _MEASURES[name](is_quick, console.print)
        measured["load_average_after"] = hardware()["load_average"]  # shows neighbours that came meanwhile
        document["results"][name] = measured
        if json_path is not None:
            write_document(document, json_path)
        for made in _TABLES[name](measured):
            console.print(made)
    if json_path is not None:
        console.print(f"written: {json_path}")
    return 0


def _throughput(is_quick: bool, say: Say) -> dict[str, Any]:
    """Measure the throughput, of the first workload only when quick."""
    if is_quick:
        return measure_throughput(QUICK, say, rows=ROWS[:1])
    return measure_throughput(Plan(), say)


def _memory(is_quick: bool, say: Say) -> dict[str, Any]:
    """Measure the memory, of one tiny point when quick."""
    return measure_memory(say, points=_QUICK_POINTS) if is_quick else measure_memory(say)


def _overhead(is_quick: bool, say: Say) -> dict[str, Any]:
    """Measure the overheads, once each when quick."""
    if is_quick:
        return measure_overhead(QUICK, say, n_processes=1)
    return measure_overhead(Plan(burst_s=0.5), say, n_processes=7)


def _dashboard(is_quick: bool, say: Say) -> dict[str, Any]:
    """Measure the live dashboard in a browser, each thing once when quick."""
    return measure_dashboard(QUICK_SIZES if is_quick else Sizes(), say)


def _runs(is_quick: bool, say: Say) -> dict[str, Any]:
    """Measure notebooks as runs, a few of them when quick."""
    return measure_runs(QUICK_RUNS if is_quick else Size(), say)


def _devices(is_quick: bool, say: Say) -> dict[str, Any]:
    """Measure several devices, each thing once when quick."""
    return measure_devices(QUICK_EXTENT if is_quick else Extent(), say)


def _landscape(is_quick: bool, say: Say) -> dict[str, Any]:
    """Measure the loss-landscape lab, with few learners when quick."""
    if is_quick:
        return measure_landscape(QUICK, say, n_learners=100)
    return measure_landscape(Plan(burst_iterations=1000), say)


_MEASURES: dict[str, Callable[[bool, Say], dict[str, Any]]] = {
    "throughput": _throughput,
    "memory": _memory,
    "overhead": _overhead,
    "runs": _runs,
    "devices": _devices,
    "landscape": _landscape,
    "dashboard": _dashboard,
}
_TABLES: dict[str, Callable[[dict[str, Any]], list[Table]]] = {
    "throughput": throughput_tables,
    "memory": memory_tables,
    "overhead": overhead_tables,
    "runs": runs_tables,
    "devices": devices_tables,
    "landscape": landscape_tables,
    "dashboard": dashboard_tables,
}
