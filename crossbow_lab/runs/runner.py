"""A notebook as a run: one process, one folder, published by one rename.

The same request again is answered from the record. A run that failed, was interrupted or took too long is published
like any other, with its status, but answers nothing.
"""

import re
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossbow_lab.content import file_sha256
from crossbow_lab.errors import RunError
from crossbow_lab.runs.contention import describe_load, read_load
from crossbow_lab.runs.environment import every_package, hardware, packages, variables
from crossbow_lab.runs.identity import Request, request_for
from crossbow_lab.runs.parameters import load_notebook
from crossbow_lab.runs.process import Job, execute
from crossbow_lab.runs.records.code import code_record
from crossbow_lab.runs.records.collect import finish, write_asked
from crossbow_lab.runs.records.leases import LeaseHeldError, lease, me
from crossbow_lab.runs.records.manifest import MANIFEST_SCHEMA, Run
from crossbow_lab.runs.records.publish import building_folder, recording
from crossbow_lab.runs.records.store import find_finished

_ASK_AGAIN_S = 0.5


def run_notebook(
    notebook: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    runs_dir: str | Path = "runs",
    name: str | None = None,
    on_line: Callable[[str], None] | None = None,
    timeout_s: float | None = None,
    recipe: str | None = None,
    force: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> Run:
    """Execute a notebook in a process of its own and publish its record, or return the record that there is.

    The kernel works in the record's ``files`` folder, so what the notebook writes by a relative path is kept;
    modules beside the notebook can be imported. Sessions are recorded on disk as they train. Ctrl-C and the time
    limit interrupt the notebook, give it ten seconds to end by itself, and publish what there is.

    Parameters
    ----------
    notebook : str or Path
        The notebook. It isn't changed.
    parameters : mapping of str to value, optional
        Values for names in the notebook's parameters cell; the others keep their defaults.
    runs_dir : str or Path
        Where run folders go. Created if missing.
    name : str, optional
        First part of the run folder's name; the notebook's own name if not given.
    on_line : callable, optional
        Called with every line that the notebook prints, as it comes, and with a line when a cell starts.
    timeout_s : float, optional
        Seconds after which the notebook is interrupted.
    recipe : str, optional
        A recipe as JSON text, which sets the parameters that it speaks of; see
        `crossbow_lab.runs.recipes.recipe_values`.
    force : bool
        Run also where a completed run has answered the same request.
    provenance : mapping of JSON values, optional
        Goes into the manifest: which engine started it, on which worker.

    Returns
    -------
    Run
        Also when the notebook failed: see ``status``. ``is_cached`` says that nothing had to be run.

    Raises
    ------
    RunError
        Before anything runs, if the notebook, a parameter or the recipe is refused, or ``runs_dir`` can't be written
        to; afterwards, if the disk is full: the message says where everything is.
    """
    request = request_for(notebook, parameters, recipe=recipe, timeout_s=timeout_s)
    return run_request(request, runs_dir=runs_dir, name=name, on_line=on_line, force=force, provenance=provenance)


def run_request(
    request: Request,
    *,
    runs_dir: str | Path = "runs",
    name: str | None = None,
    on_line: Callable[[str], None] | None = None,
    force: bool = False,
    provenance: Mapping[str, Any] | None = None,
    source: Path | None = None,
) -> Run:
    """Do what `run_notebook` does, for a request that has been checked.

    Whoever else runs the same request at this moment is waited for, and its record returned.

    Parameters
    ----------
    source : Path, optional
        A copy of the notebook to execute in its place, as a record holds it.
    """
    name = request.notebook.stem if name is None else name
    check_name(name)
    say = on_line or (lambda _: None)
    store = Path(runs_dir).resolve()

    def run_it() -> Run:
        return _run(request, source or request.notebook, store, name, say, dict(provenance or {}))

    if force:
        return run_it()
    has_said_so = False
    while True:
        found = find_finished(store, request.key)
        if found is not None:
            return found
        try:
            with lease(store, request.key):
                # Whoever held it until now may have finished the same request.
                return find_finished(store, request.key) or run_it()
        except LeaseHeldError as held:
            if not has_said_so:
                say(f"waiting: {held}")
            has_said_so = True
            time.sleep(_ASK_AGAIN_S)


def check_name(name: str) -> None:
    """Refuse a name that can't be the first part of a folder's."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise RunError(f"run name {name!r} can't name a folder; use letters, digits, '.', '-' and '_'")


def new_folder(store: Path, name: str, started: datetime) -> Path:
    """Make the folder that a new run is built in: its name says what, when, and something that nobody else has."""
    return building_folder(store, f"{name}-{started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}")


def describe_maker(building: Path) -> dict[str, Any]:
    """Describe code, packages and machine, and leave the patch and the list of packages in the run's folder."""
    (building / "environment.txt").write_text(every_package(), encoding="utf-8")
    return {
        "code": code_record(building, store=building.parent.parent),
        "packages": packages(),
        "environment": variables(),
        "hardware": hardware(),
        "holder": vars(me()),
    }


def _run(
    request: Request, source: Path, store: Path, name: str, say: Callable[[str], None], provenance: dict[str, Any]
) -> Run:
    """Run a request and publish its record."""
    started, before = datetime.now(UTC), read_load()
    building = new_folder(store, name, started)
    asked = {
        "schema": MANIFEST_SCHEMA,
        "id": building.name,
        "kind": "notebook",
        "key": request.key,
        "parts": request.parts,
        "notebook": {"path": str(request.notebook), "sha256": file_sha256(source)},
        "parameters": request.parameters,
        "timeout_s": request.timeout_s,
        "provenance": provenance,
        "started_utc": started.isoformat(timespec="milliseconds"),
    }
    job = Job(
        building=building,
        notebook=source,
        imports_from=request.notebook.parent,
        parameters=request.injected,
        n_cells=len(load_notebook(source)["cells"]),
        timeout_s=request.timeout_s,
    )

    def describe() -> None:
        with recording(building):
            if request.recipe is not None:
                (building / "recipe.json").write_text(request.recipe, encoding="utf-8")
            write_asked(building, asked | describe_maker(building))

    # Described while the kernel starts: listing packages and asking git take half a second.
    outcome = execute(job, say, describe)
    own_cpu_s = outcome.pop("cpu_s", None)
    uses_gpu = not str(request.parameters.get("device", "cuda")).startswith("cpu")
    outcome["load"] = describe_load(before, read_load(), own_cpu_s, uses_gpu=uses_gpu)
    return finish(building, outcome)
