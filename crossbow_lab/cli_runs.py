"""The commands that make, list, read, check and compare runs. They import what they need when they run."""

import json as jsons
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossbow_lab.errors import RunError
from crossbow_lab.terminal import complain, print_columns, print_table

if TYPE_CHECKING:
    from crossbow_lab.runs import Run
    from crossbow_lab.runs.records.store import RunSummary

_EXIT_CODES = {"completed": 0, "failed": 1, "timeout": 1, "interrupted": 130}
_ENDINGS = {"failed": "failed", "timeout": "took too long", "interrupted": "was interrupted"}

RunsDir = Annotated[Path, typer.Option(help="Where run folders are.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or name, or the beginning of its name.")]


def run(
    notebook: Annotated[Path, typer.Argument(help="The notebook; it isn't changed.")],
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="Set a parameter. Repeatable.")
    ] = None,
    parameters_file: Annotated[
        Path | None, typer.Option("-y", "--parameters-file", metavar="YAML", help="Parameters, beneath those of -p.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="JSON", help="A recipe, beneath -y and -p.")] = None,
    runs_dir: RunsDir = Path("runs"),
    name: Annotated[str | None, typer.Option(help="First part of the run folder's name.")] = None,
    timeout_s: Annotated[float | None, typer.Option(help="Interrupt the notebook after so many seconds.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run again what has been answered already.")] = False,
    repeats: Annotated[int, typer.Option(min=1, metavar="N", help="Have N completed runs of it in the end.")] = 1,
) -> None:
    """Execute a notebook in a process of its own and publish its record; the same request again costs nothing."""
    from crossbow_lab.runs.identity import request_for
    from crossbow_lab.runs.parameters import parse_assignments, read_values
    from crossbow_lab.runs.records.store import finished_by_key

    given: dict[str, Any] = {} if parameters_file is None else read_values(parameters_file)
    given |= parse_assignments(parameter or [])
    text = None if recipe is None else text_of(recipe)
    options: dict[str, Any] = {"recipe": text, "timeout_s": timeout_s, "name": name}
    if repeats > 1:
        key = request_for(notebook, given, recipe=text).key
        n_done = 0 if force else len(finished_by_key(runs_dir).get(key, []))
        typer.echo(f"{n_done} of {repeats} runs are there already")
        for _ in range(repeats - n_done - 1):
            done = run_shown(notebook, given, runs_dir, force=True, **options)
            if done.status != "completed":
                finish(done)
        force = n_done < repeats
    finish(run_shown(notebook, given, runs_dir, force=force, **options))


def runs(
    runs_dir: RunsDir = Path("runs"),
    status: Annotated[str | None, typer.Option(help="Only runs of this status.")] = None,
    last: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the newest N.")] = None,
) -> None:
    """List the runs of a store, the newest last, and say what is running."""
    from crossbow_lab.runs.records.store import list_runs
    from crossbow_lab.runs.records.watching import running

    found = [one for one in list_runs(runs_dir) if status in (None, one.status)]
    found = found[-last:] if last else found
    if found:
        header = ("run", "status", "key", "started (UTC)", "seconds", "shared", "parameters, or what went wrong")
        print_columns(header, [_row(one) for one in found])
    else:
        typer.echo(f"no runs in {runs_dir}" + (f" with status {status}" if status else ""))
    for one in running(runs_dir):
        doing = one.cell if one.is_alive else "was killed; `crossbow-lab gc` makes a record of it"
        typer.echo(f"{one.folder.name}  unfinished  {one.seconds:.0f} s  {doing}")


def show(
    run: RunName,
    runs_dir: RunsDir = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print the whole manifest.")] = False,
) -> None:
    """Say what a run was asked, what it was made with, and what happened."""
    from crossbow_lab.runs.records.describing import describe
    from crossbow_lab.runs.records.store import find_run

    found = find_run(run, runs_dir)
    if json:
        typer.echo(jsons.dumps(found.manifest, indent=2, ensure_ascii=False))
        return
    print_columns(("", ""), [(f"{name}:", value) for name, value in describe(found)])


def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="RUN...", help="Runs; all if none is named.")] = None,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Hash every file of a run again, and say what isn't as it was written."""
    from crossbow_lab.runs.records.store import find_run, list_runs
    from crossbow_lab.runs.records.verifying import verify as verify_run

    n_wrong = 0
    wanted = names or [str(summary.folder) for summary in list_runs(runs_dir)]
    for name in wanted:
        try:
            found = find_run(name, runs_dir)
            problems = verify_run(found)
        except RunError as error:
            problems = (str(error),)
        for problem in problems:
            complain(f"{Path(name).name}: {problem}")
        n_wrong += bool(problems)
    typer.echo(f"{len(wanted) - n_wrong} of {len(wanted)} runs are as they were written")
    raise typer.Exit(1 if n_wrong else 0)


def replay(run: RunName, runs_dir: RunsDir = Path("runs")) -> None:
    """Run a record again, and say whether every session ends at the same central average model, to the bit."""
    from crossbow_lab.runs.records.store import find_run
    from crossbow_lab.runs.replaying import replay as replay_run

    done = replay_run(find_run(run, runs_dir), runs_dir=runs_dir, on_line=_shower())
    if done.again.status != "completed":
        finish(done.again)
    for name, is_same in done.same.items():
        typer.echo(f"{name}: {'the same z' if is_same else 'ANOTHER z'}, {done.original.fingerprints[name][:16]}")
    if done.differs_in:
        typer.echo(f"what differs from the first run: {', '.join(done.differs_in)}")
    typer.echo(f"record    {done.again.folder}")
    raise typer.Exit(0 if done.is_same else 1)


def gc(runs_dir: RunsDir = Path("runs")) -> None:
    """Make records of what killed runs left, and free what they held. Published runs are never touched."""
    from crossbow_lab.runs.records.cleaning import gc as clean

    done = clean(runs_dir)
    for one in done.recovered:
        typer.echo(f"recovered {one.folder.name} ({one.status})")
    for what, names in (("removed, empty", done.removed), ("running", done.running), ("freed key", done.leases)):
        for name in names:
            typer.echo(f"{what} {name}")
    for name in done.kept:
        complain(f"left as it is: {name}")
    if done == type(done)():
        typer.echo(f"nothing to do in {runs_dir}")


def watch(runs_dir: RunsDir = Path("runs")) -> None:
    """Show how the runs stand that are running now, sessions included, until they are over."""
    from crossbow_lab.runs.records.watching import watch as watch_runs

    n_lines = 0
    for line in watch_runs(runs_dir):
        typer.echo(line)
        n_lines += 1
    if not n_lines:
        typer.echo(f"nothing is running in {runs_dir}")


def compare(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs by name or folder, folders of runs, or patterns; else --runs-dir.")
    ] = None,
    by: Annotated[str, typer.Option(help="What tells rows apart: names of settings.")] = "algorithm,learners",
    target: Annotated[
        float | None, typer.Option(help="Test accuracy to reach, 0 to 1; else the runs' own target_accuracy.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report with figures here.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table, with all its columns, here.")] = None,
    patch: Annotated[bool, typer.Option("--patch", help="Print how the code differs.")] = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Compare runs over their seeds, with intervals, and say what differs between them."""
    from crossbow_lab.runs.comparing.comparison import compare as compare_runs
    from crossbow_lab.runs.comparing.text import METHOD, terminal_tables
    from crossbow_lab.runs.records.store import find_run

    # A folder or a pattern is taken as it is; anything else is a run's name, or the beginning of one.
    given = [item if Path(item).exists() or set(item) & set("*?[") else find_run(item, runs_dir) for item in runs or ()]
    compared = compare_runs(given or runs_dir, by, target)
    for words in terminal_tables(compared):
        print_table(words.header, words.rows, title=words.title)
    typer.echo(METHOD)
    for note in compared.notes:
        typer.echo(f"- {note}")
    if patch:
        typer.echo(compared.code_patch or "The code doesn't differ.")
    for path in (html and compared.to_html(html), csv and compared.to_csv(csv)):
        if path:
            typer.echo(f"written {path}")


COMMANDS = (run, runs, show, verify, replay, gc, watch, compare)


def run_shown(notebook: Path, parameters: dict[str, Any], runs_dir: Path, **options: Any) -> "Run":
    """Run a notebook and show its lines as they come, each with the seconds since the start."""
    from crossbow_lab.runs import run_notebook

    return run_notebook(notebook, parameters, runs_dir=runs_dir, on_line=_shower(), **options)


def finish(run: "Run") -> None:
    """Say how a run ended and where its record is, and leave with the exit code that tells the same."""
    exception = run.manifest["exception"]
    if exception is not None:
        cell = f" in cell {exception['cell']}" if exception["cell"] else ""
        what = ": ".join(filter(None, (exception["name"], exception["message"])))
        complain(f"the notebook {_ENDINGS[run.status]}{cell}: {what}")
    cached = f" (cached: it ran {run.manifest['started_utc'][:16]} UTC; --force repeats it)" if run.is_cached else ""
    typer.echo(f"status    {run.status}{cached}")
    typer.echo(f"record    {run.folder}")
    for what, path in (("notebook", run.notebook), ("report", run.report)):
        if path.exists():
            typer.echo(f"{what:<9} {path}")
    raise typer.Exit(_EXIT_CODES[run.status])


def _shower() -> Any:
    """Return what prints a line with the seconds since now."""
    started = time.monotonic()

    def show_line(line: str) -> None:
        typer.echo(f"{time.monotonic() - started:6.1f} s  {line}")

    return show_line


def text_of(recipe: Path) -> str:
    """Read a recipe's file."""
    try:
        return recipe.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RunError(f"the recipe can't be read: {error}") from error


def _row(one: "RunSummary") -> tuple[str, ...]:
    """Return one line of the list."""
    parameters = ", ".join(f"{name}={value}" for name, value in one.parameters.items())
    said = " ".join((one.problem or parameters).split())  # on one line, whatever an exception says
    shared = {True: "yes", False: "no", None: ""}[one.is_contended]
    seconds = "" if one.seconds is None else f"{one.seconds:.1f}"
    return (one.name, one.status, (one.key or "")[:8], one.started_utc[:16], seconds, shared, said[:120])
