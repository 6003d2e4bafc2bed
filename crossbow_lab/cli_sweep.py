"""The command that runs a notebook over a grid."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossbow_lab.cli_runs import RunsDir, text_of
from crossbow_lab.terminal import complain, print_columns

if TYPE_CHECKING:
    from crossbow_lab.runs.sweeps.plan import Planned
    from crossbow_lab.runs.sweeps.sweeping import Sweep

_EXIT_CODES = {"planned": 0, "completed": 0, "failed": 1, "interrupted": 130}
_SHOWN_FAILURES = 10


def sweep(
    notebook: Annotated[Path, typer.Argument(help="The notebook; it isn't changed.")],
    grid: Annotated[
        list[str], typer.Option("-g", "--grid", metavar="NAME=VALUES", help="An axis: learners=1,2,4 or seed=0:5.")
    ],
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="Set a parameter for all runs.")
    ] = None,
    parameters_file: Annotated[
        Path | None, typer.Option("-y", "--parameters-file", metavar="YAML", help="Parameters, beneath those of -p.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="JSON", help="A recipe, beneath -y and -p.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be run, cached or stale; run nothing.")] = False,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Runs at a time; one per GPU, else one.")] = None,
    scheduler: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler: tcp://host:8786.")] = None,
    shared: Annotated[bool, typer.Option("--shared", help="Let runs share a GPU.")] = False,
    repeats: Annotated[int, typer.Option(min=1, metavar="N", help="Have N completed runs of each point.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Run again what has been answered already.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run again what failed before.")] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast/--keep-going", help="Begin no more runs once one has failed.")
    ] = False,
    timeout_s: Annotated[float | None, typer.Option(help="Interrupt a run after so many seconds.")] = None,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Run a notebook for every point of a grid; what is recorded already isn't run again."""
    from crossbow_lab.runs.parameters import parse_assignments, read_values
    from crossbow_lab.runs.sweeps.grid import parse_axes
    from crossbow_lab.runs.sweeps.sweeping import sweep as run_sweep

    given: dict[str, Any] = {} if parameters_file is None else read_values(parameters_file)
    done = run_sweep(
        notebook,
        parse_axes(grid),
        given | parse_assignments(parameter or []),
        recipe=None if recipe is None else text_of(recipe),
        timeout_s=timeout_s,
        runs_dir=runs_dir,
        workers=workers,
        scheduler=scheduler,
        shared=shared,
        force=force,
        retry_failed=retry_failed,
        repeats=repeats,
        fail_fast=fail_fast,
        plan_only=plan,
        on_plan=_print_plan if plan else _print_counts,
    )
    if not plan:
        _finish(done, runs_dir)
    raise typer.Exit(_EXIT_CODES[done.status] if not plan else 0)


def _print_plan(plan: "Sequence[Planned]") -> None:
    """Print a plan in its order, and what it comes to."""
    rows = [
        (planned.label, planned.state, "" if planned.folder is None else planned.folder.name, planned.why)
        for planned in plan
    ]
    print_columns(("run", "state", "record", "why"), rows)
    _print_counts(plan)


def _print_counts(plan: "Sequence[Planned]") -> None:
    """Print what a plan comes to."""
    from crossbow_lab.runs.sweeps.plan import count_states

    counts = ", ".join(f"{n} {state}" for state, n in count_states(plan).items())
    typer.echo(f"{len(plan)} runs: {counts}")


def _finish(done: "Sweep", runs_dir: Path) -> None:
    """Say how a sweep ended, and what to do next."""
    from crossbow_lab.runs.sweeps.jobs import COMPLETED, SKIPPED

    wrong = [ending for ending in done.endings if ending.status not in (COMPLETED, SKIPPED)]
    for ending in wrong[:_SHOWN_FAILURES]:
        complain(f"{ending.label}: {ending.status}: {ending.message}" + (f"; {ending.folder}" * bool(ending.folder)))
    if len(wrong) > _SHOWN_FAILURES:
        complain(f"and {len(wrong) - _SHOWN_FAILURES} more")
    n_failed_before = sum(planned.state == "failed" for planned in done.plan)
    if n_failed_before:
        typer.echo(f"failed before and left alone: {n_failed_before}; --retry-failed runs them again")
    n_skipped = sum(ending.status == SKIPPED for ending in done.endings)
    if n_skipped:
        typer.echo(f"never begun: {n_skipped}; the same command runs what is missing")
    typer.echo(f"status    {done.status}: {len(done.runs)} of {len(done.plan)} runs have their record in {runs_dir}")
