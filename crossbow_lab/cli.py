"""The command line, ``crossbow-lab``. Commands import what they need when they run, so that ``--help`` is quick."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import crossbow_lab
from crossbow_lab import cli_runs, cli_sweep
from crossbow_lab.cli_runs import RunsDir, finish, run_shown
from crossbow_lab.errors import ConfigurationError, CrossbowError, RecipeError, RunError
from crossbow_lab.terminal import complain, print_table

if TYPE_CHECKING:
    from crossbow_lab.doctor import Finding
    from crossbow_lab.runs import Run
    from crossbow_lab.session import Session

app = typer.Typer(
    help="An interactive workbench for small-batch, many-learner training with synchronous model averaging (SMA).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_REFUSED = (ConfigurationError, RecipeError, RunError)

DataDir = Annotated[Path | None, typer.Option(help="Folder with data sets; else CROSSBOW_DATA, else the cache.")]


def main() -> None:
    """Run the command line. A refusal ends with exit code 2, a failure with 1, either with one message."""
    try:
        app()
    except CrossbowError as error:
        complain(str(error))
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

    run = run_shown(resource("notebooks", "01_sma_vs_sgd.ipynb"), {}, runs_dir, name="demo")
    _print_comparison(run)
    finish(run)


for command in (*cli_runs.COMMANDS, cli_sweep.sweep):
    app.command()(command)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, as session.recipe.to_json() or a run folder has it.")],
    folder: Annotated[Path | None, typer.Option(help="Where history, events and recipe go as they happen.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Run a recipe to its end, adjustments included, and print the fingerprint of z.

    Under torchrun, on as many devices as it starts processes; with --folder it goes on from the last checkpoint there.
    """
    from crossbow_lab.session import Recipe, Session
    from crossbow_lab.session.build import Own
    from crossbow_lab.session.group.launched import is_launched, lead_or_follow

    try:
        text = recipe.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"the recipe can't be read: {error}") from error
    if is_launched():
        own = Own(data_dir=None if data_dir is None else str(data_dir))
        lead_or_follow(Recipe.from_json(text), own, folder, _train_to_end)
        return
    with Session(Recipe.from_json(text), data_dir=data_dir, folder=folder) as session:
        _train_to_end(session)


def _train_to_end(session: "Session") -> None:
    """Train to where the recipe ends, and print how it ended."""
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
    voila: Annotated[bool, typer.Option("--voila", help="Serve one page as an app instead, without code.")] = False,
    page: Annotated[str | None, typer.Option(help="The notebook to open; with --voila, else the dashboard.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in a browser.")] = True,
    port: Annotated[int | None, typer.Option(help="Where it listens, on this machine only.")] = None,
) -> None:
    """Open JupyterLab on a folder of notebooks, the live dashboard among them. Ctrl-C ends it."""
    from crossbow_lab.dashboard.lab import fill, serve

    for path in fill(folder):
        typer.echo(f"copied    {path}")
    raise typer.Exit(serve(folder, voila=voila, browser=browser, port=port, page=page))


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
    """Measure speed, memory, overhead, runs and several devices on this machine, or speed on its GPU."""
    from crossbow_lab.bench import run_bench, run_cuda_bench

    if device not in ("cpu", "cuda"):
        raise ConfigurationError(f"--device is {device!r}; give cpu or cuda")
    run = run_cuda_bench if device == "cuda" else run_bench
    raise typer.Exit(run([*(names or []), *(only.split(",") if only else [])], json, quick))


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
    print_table(
        ("algorithm", "epochs to target", "seconds to target", "images/s", "accuracy of z"),
        rows,
        title=f"Target {target:.0%} test accuracy. Medians over {n_runs} seeds (smallest to largest).",
    )


def _print_findings(findings: Sequence["Finding"]) -> None:
    """Print findings under their topics, with their details wrapped beside them."""
    for topic in dict.fromkeys(found.topic for found in findings):
        rows = [(found.status, found.item, found.detail) for found in findings if found.topic == topic]
        print_table(("", topic, ""), rows)
