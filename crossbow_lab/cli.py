"""The command line, ``crossbow-lab``. Commands import what they need when they run, so that ``--help`` is quick."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import crossbow_lab
from crossbow_lab.errors import ConfigurationError, CrossbowError, RecipeError, RunError

if TYPE_CHECKING:
    from crossbow_lab.doctor import Finding
    from crossbow_lab.runs import Run

app = typer.Typer(
    help="An interactive workbench for small-batch, many-learner training with synchronous model averaging (SMA).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_EXIT_CODES = {"completed": 0, "failed": 1, "timeout": 1, "interrupted": 130}
_ENDINGS = {"failed": "failed", "timeout": "took too long", "interrupted": "was interrupted"}
_REFUSED = (ConfigurationError, RecipeError, RunError)

RunsDir = Annotated[Path, typer.Option(help="Where run folders go.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder with data sets; else CROSSBOW_DATA, else the cache.")]


def main() -> None:
    """Run the command line. A refusal ends with exit code 2, a failure with 1, either with one message."""
    try:
        app()
    except CrossbowError as error:
        _complain(str(error))
        sys.exit(2 if isinstance(error, _REFUSED) else 1)


def _version(is_asked: bool) -> None:
    """Print the version and leave."""
    if is_asked:
        typer.echo(crossbow_lab.__version__)
        raise typer.Exit


@app.callback()
def crossbow(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = (
        False
    ),
) -> None:
    """Hold the options that come before a command."""


@app.command()
def demo(runs_dir: RunsDir = Path("runs")) -> None:
    """Train on the shipped digits with SMA and with S-SGD, and compare them. Under two minutes on two cores."""
    from crossbow_lab.resources import resource

    run = _run(resource("notebooks", "01_sma_vs_sgd.ipynb"), {}, runs_dir, name="demo")
    _print_comparison(run)
    _finish(run)


@app.command()
def run(
    notebook: Annotated[Path, typer.Argument(help="The notebook; it isn't changed.")],
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="Set a parameter. Repeatable.")
    ] = None,
    runs_dir: RunsDir = Path("runs"),
    name: Annotated[str | None, typer.Option(help="First part of the run folder's name.")] = None,
    timeout_s: Annotated[float | None, typer.Option(help="Interrupt the notebook after so many seconds.")] = None,
) -> None:
    """Execute a notebook in a process of its own and publish its record as one folder."""
    from crossbow_lab.runs.parameters import parse_assignments

    _finish(_run(notebook, parse_assignments(parameter or []), runs_dir, name=name, timeout_s=timeout_s))


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, as session.recipe.to_json() or a run folder has it.")],
    folder: Annotated[Path | None, typer.Option(help="Where history, events and recipe go as they happen.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Run a recipe to its end, adjustments included, and print the fingerprint of z."""
    from crossbow_lab.session import Recipe, Session

    try:
        text = recipe.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"the recipe can't be read: {error}") from error
    with Session(Recipe.from_json(text), data_dir=data_dir, folder=folder) as session:
        session.run(progress=True)
        last = session.snapshot
        typer.echo(f"{last.iteration:,} iterations, {last.epoch:.2f} epochs, {last.elapsed_s:.1f} s of training")
        typer.echo(f"test accuracy of z {last.test_accuracy:.2%}")
        typer.echo(f"fingerprint {session.fingerprint()}")


@app.command()
def lab(
    folder: Annotated[Path, typer.Argument(help="Your notebooks; the shipped ones are copied here.")] = Path(
        "crossbow-notebooks"
    ),
    voila: Annotated[bool, typer.Option("--voila", help="Serve the dashboard as an app instead.")] = False,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in a browser.")] = True,
    port: Annotated[int | None, typer.Option(help="Where it listens, on this machine only.")] = None,
) -> None:
    """Open JupyterLab on a folder of notebooks, the live dashboard among them. Ctrl-C ends it."""
    from crossbow_lab.dashboard.lab import fill, serve

    for path in fill(folder):
        typer.echo(f"copied    {path}")
    raise typer.Exit(serve(folder, voila=voila, browser=browser, port=port))


@app.command()
def data(data_dir: DataDir = None) -> None:
    """List the data sets: where they are, or how to get them."""
    from crossbow_lab.doctor import find_datasets

    _print_findings(find_datasets(data_dir=data_dir))


@app.command()
def doctor(data_dir: DataDir = None) -> None:
    """Say what works on this machine, what doesn't, and what to do about it."""
    from crossbow_lab.doctor import examine

    _print_findings(examine(data_dir=data_dir))


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Which measurements; all if none is named.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the numbers and the machine's description here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only see that everything runs.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    only: Annotated[str | None, typer.Option(metavar="A,B", help="The measurements to make, with commas.")] = None,
) -> None:
    """Measure speed, memory and overhead on this machine, or on its GPU."""
    from crossbow_lab.bench import run_bench, run_cuda_bench

    if device not in ("cpu", "cuda"):
        raise ConfigurationError(f"--device is {device!r}; give cpu or cuda")
    run = run_cuda_bench if device == "cuda" else run_bench
    raise typer.Exit(run([*(names or []), *(only.split(",") if only else [])], json, quick))


def _run(notebook: Path, parameters: dict[str, Any], runs_dir: Path, **options: Any) -> "Run":
    """Run a notebook and show its lines as they come, each with the seconds since the start."""
    from crossbow_lab.runs import run_notebook

    started = time.monotonic()

    def show(line: str) -> None:
        typer.echo(f"{time.monotonic() - started:6.1f} s  {line}")

    return run_notebook(notebook, parameters, runs_dir=runs_dir, on_line=show, **options)


def _finish(run: "Run") -> None:
    """Say how a run ended and where its record is, and leave with the exit code that tells the same."""
    exception = run.manifest["exception"]
    if exception is not None:
        cell = f" in cell {exception['cell']}" if exception["cell"] else ""
        what = ": ".join(filter(None, (exception["name"], exception["message"])))
        _complain(f"the notebook {_ENDINGS[run.status]}{cell}: {what}")
    typer.echo(f"status    {run.status}")
    typer.echo(f"record    {run.folder}")
    for what, path in (("notebook", run.notebook), ("report", run.report)):
        if path.exists():
            typer.echo(f"{what:<9} {path}")
    raise typer.Exit(_EXIT_CODES[run.status])


def _print_comparison(run: "Run") -> None:
    """Print the table that the notebook recorded."""
    if run.result is None:
        return

    def shown(value: float | None, form: str) -> str:
        return "not reached" if value is None else format(value, form)

    rows = [
        (
            row["algorithm"],
            f"{shown(row['epochs_to_target'], '.2f')} ({row['epochs_range']})",
            f"{shown(row['seconds_to_target'], '.2f')} ({row['seconds_range']})",
            f"{row['samples_per_s']:,.0f}",
            f"{row['final_accuracy']:.2%}",
        )
        for row in run.result["table"]
    ]
    target = run.manifest["parameters"]["target_accuracy"]
    n_runs = run.manifest["parameters"]["repeats"]
    _print_table(
        ("algorithm", "epochs to target", "seconds to target", "images/s", "accuracy of z"),
        rows,
        title=f"Target {target:.0%} test accuracy. Medians over {n_runs} seeds (smallest to largest).",
    )


def _print_findings(findings: Sequence["Finding"]) -> None:
    """Print findings under their topics, with their details wrapped beside them."""
    for topic in dict.fromkeys(found.topic for found in findings):
        rows = [(found.status, found.item, found.detail) for found in findings if found.topic == topic]
        _print_table(("", topic, ""), rows)


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """Print a table that fits the terminal; into a pipe it is 160 characters wide at most."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="", box=SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    styles = {"ok": "green", "missing": "yellow"}
    for row in rows:
        table.add_row(*(Text(cell, style=styles.get(cell, "")) for cell in row))
    console = Console() if sys.stdout.isatty() else Console(width=160)
    console.print(table)


def _complain(message: str) -> None:
    """Print an error in red on standard error."""
    typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
