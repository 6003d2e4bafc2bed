"""What notebooks as runs cost: a run over plain papermill, a plan, a list of runs, and what a second worker brings."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.table import Table

from crossbow_lab.bench.machine import neighbours_cores, usage
from crossbow_lab.bench.measure import summarise
from crossbow_lab.bench.processes import output_of
from crossbow_lab.bench.report import cores, spread, table
from crossbow_lab.runs.records.manifest import MANIFEST, Run, load_run, sealed
from crossbow_lab.runs.records.store import list_runs
from crossbow_lab.runs.sweeps.plan import ask

GOALS = {"overhead_s": 1.0, "plan_s": 2.0, "list_s": 1.0, "two_workers": 1.8}

_CELLS = (
    "n: int = 0  # tells one run from another\nseconds: float = 0.0  # to compute for [s]",
    "import time\nstarted = time.process_time()\nwhile time.process_time() - started < seconds:\n    pass",
)
"""Its work is counted in seconds of a core, so that two that get in each other's way take longer."""


@dataclass(frozen=True)
class Size:
    """How much to measure: processes timed, records planned and listed, notebooks swept and their seconds."""

    rounds: int = 5
    n_planned: int = 200
    n_listed: int = 1000
    n_swept: int = 8
    swept_s: float = 10.0


QUICK = Size(rounds=1, n_planned=3, n_listed=3, n_swept=2, swept_s=0.1)


def measure_runs(size: Size, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure all four.

    Parameters
    ----------
    size : Size
    say : callable
        Gets a line of progress now and then.

    Returns
    -------
    dict
        Plain JSON values: ``overhead``, ``plan_s``, ``list_s``, ``sweep`` and ``goals``.
    """
    with tempfile.TemporaryDirectory(prefix="crossbow-bench-") as made:
        folder = Path(made)
        notebook = write_notebook(folder / "bench.ipynb")
        say(f"runs 1/3: a run over plain papermill, {size.rounds} times each")
        overhead = overhead_seconds(notebook, size.rounds)
        say(f"runs 2/3: a plan of {size.n_planned} cached runs, a list of {size.n_listed}")
        planned = plan_seconds(notebook, size)
        say(f"runs 3/3: {size.n_swept} notebooks of {size.swept_s:g} s with one worker and with two")
        sweep = sweep_seconds(notebook, size)
    return {"size": asdict(size), "overhead": overhead, **planned, "sweep": sweep, "goals": GOALS}


def write_notebook(path: Path) -> Path:
    """Write the notebook that is measured with."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"cell-{index}",
            "metadata": {"tags": [] if index else ["parameters"]},
            "execution_count": None,
            "outputs": [],
            "source": source,
        }
        for index, source in enumerate(_CELLS)
    ]
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


def overhead_seconds(notebook: Path, rounds: int) -> dict[str, Any]:
    """Time ``papermill NOTEBOOK OUT`` and ``crossbow-lab run NOTEBOOK`` in turns, each from start to end.

    Parameters
    ----------
    notebook : Path
    rounds : int
        At least 1.

    Returns
    -------
    dict
        Summaries in seconds: ``papermill_s``, ``run_s`` and ``difference_s``, which is formed in each round.
    """
    store = notebook.parent / "overhead"
    plain = [sys.executable, "-m", "papermill", "--no-progress-bar", str(notebook), str(notebook.parent / "out.ipynb")]
    ours = [*_command(), "run", str(notebook), "--runs-dir", str(store), "--force"]
    papermill_s, run_s = [], []
    for _ in range(rounds):
        papermill_s.append(_seconds(plain))
        run_s.append(_seconds(ours))
    return {
        "papermill_s": asdict(summarise(papermill_s)),
        "run_s": asdict(summarise(run_s)),
        "difference_s": asdict(summarise([own - other for own, other in zip(run_s, papermill_s, strict=True)])),
    }


def plan_seconds(notebook: Path, size: Size) -> dict[str, Any]:
    """Time ``sweep --plan`` where every run is cached, and ``runs``, each from start to end.

    Parameters
    ----------
    notebook : Path
        One of its runs must be in the store that `overhead_seconds` leaves.
    size : Size

    Returns
    -------
    dict
        Summaries in seconds: ``plan_s`` and ``list_s``.
    """
    template = load_run(list_runs(notebook.parent / "overhead")[-1].folder)
    store = notebook.parent / "many"
    requests = ask(notebook, {"n": f"0:{max(size.n_planned, size.n_listed)}"}).requests()
    for request in requests[: size.n_planned]:
        _clone(template, store, key=request.key, parts=request.parts, parameters=request.parameters)
    plan = [*_command(), "sweep", str(notebook), "-g", f"n=0:{size.n_planned}", "--plan", "--runs-dir", str(store)]
    plan_s = [_seconds(plan, must_print=f"{size.n_planned} cached") for _ in range(size.rounds)]
    for request in requests[size.n_planned : size.n_listed]:
        _clone(template, store, key=request.key, parts=request.parts, parameters=request.parameters)
    listing = [*_command(), "runs", "--runs-dir", str(store)]
    list_s = [_seconds(listing) for _ in range(size.rounds)]
    return {"plan_s": asdict(summarise(plan_s)), "list_s": asdict(summarise(list_s))}


def sweep_seconds(notebook: Path, size: Size) -> dict[str, Any]:
    """Time a sweep with one worker and with two, the cluster's start included.

    Parameters
    ----------
    notebook : Path
    size : Size

    Returns
    -------
    dict
        ``one_worker_s``, ``two_workers_s``, ``times_as_fast`` (None on a single core), and ``neighbours_cores``: how
        many cores other programs kept busy meanwhile, with each.
    """
    axis = ["-g", f"n=0:{size.n_swept}", "-p", f"seconds={size.swept_s}"]
    found: dict[str, Any] = {"times_as_fast": None, "neighbours_cores": {}}
    for name, n_workers in (("one_worker_s", 1), ("two_workers_s", 2)):
        if n_workers > (os.cpu_count() or 1):
            return found
        store = notebook.parent / name
        command = [*_command(), "sweep", str(notebook), *axis, "--workers", str(n_workers), "--runs-dir", str(store)]
        before = usage()
        found[name] = _seconds(command, must_print="status    completed")
        busy = neighbours_cores(before, usage())  # the runs' own among them: they are other processes
        own = sum(_cpu_s(load_run(summary.folder)) for summary in list_runs(store)) / found[name]
        found["neighbours_cores"][name] = None if busy is None else max(0.0, busy - own)
    found["times_as_fast"] = found["one_worker_s"] / found["two_workers_s"]
    return found


def runs_tables(result: dict[str, Any]) -> list[Table]:
    """Show what was measured beside its goals.

    Parameters
    ----------
    result : dict
        What `measure_runs` gave.
    """
    size, goals, overhead, sweep = result["size"], result["goals"], result["overhead"], result["sweep"]
    rows = [
        ["papermill NOTEBOOK OUT", spread(overhead["papermill_s"]), ""],
        ["crossbow-lab run NOTEBOOK", spread(overhead["run_s"]), ""],
        ["overhead of a run", spread(overhead["difference_s"]), f"at most {goals['overhead_s']:g}"],
        [f"plan of {size['n_planned']} cached runs", spread(result["plan_s"]), f"under {goals['plan_s']:g}"],
        [f"list of {size['n_listed']} runs", spread(result["list_s"]), f"under {goals['list_s']:g}"],
    ]
    tables = [table("runs: seconds of whole commands", ("what", "s", "goal"), rows)]
    if sweep["times_as_fast"] is not None:
        busy = sweep["neighbours_cores"]
        swept = [
            ["one worker", f"{sweep['one_worker_s']:.1f}", cores(busy["one_worker_s"]), ""],
            ["two workers", f"{sweep['two_workers_s']:.1f}", cores(busy["two_workers_s"]), ""],
            ["times as fast", f"{sweep['times_as_fast']:.2f}", "", f"at least {goals['two_workers']:g}"],
        ]
        title = f"sweep of {size['n_swept']} notebooks, each {size['swept_s']:g} s of a core"
        tables.append(table(title, ("workers", "s", "cores busy beyond that", "goal"), swept))
    return tables


def _command() -> list[str]:
    """Return how the command line is called in this environment."""
    return [sys.executable, "-m", "crossbow_lab"]


def _seconds(command: Sequence[str], *, must_print: str = "") -> float:
    """Return the seconds that a command takes, if it prints what it must."""
    started_s = perf_counter()
    printed = output_of(command, what=" ".join(command[:6]))
    seconds = perf_counter() - started_s
    if must_print not in printed:
        raise RuntimeError(f"{' '.join(command)} should have printed {must_print!r} but printed {printed!r}")
    return seconds


def _clone(template: Run, store: Path, **asked: Any) -> None:
    """Put a record into a store that says something else was asked; its other files are the template's own."""
    folder = store / f"bench-{asked['key']}"
    folder.mkdir(parents=True)
    for name in template.manifest["outputs"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(template.folder / name, folder / name)
        except OSError:
            shutil.copyfile(template.folder / name, folder / name)
    manifest = template.manifest | asked | {"id": folder.name}
    (folder / MANIFEST).write_text(sealed(manifest), encoding="utf-8")


def _cpu_s(run: Run) -> float:
    """Return the seconds of a core that a run's own notebook computed for."""
    return float(run.manifest["parameters"]["seconds"])
