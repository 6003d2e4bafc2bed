"""A notebook as a run: one process, one folder, published by one rename.

A run is built under ``RUNS/.tmp/ID`` and appears as ``RUNS/ID`` only when its manifest, written last, is on
disk. So a folder without a manifest doesn't exist as a run, whatever was killed when. A run that failed, was
interrupted or took too long is published like any other, with its status.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import crossbow_lab
from crossbow_lab.errors import RunError
from crossbow_lab.runs.environment import code_version, hardware, packages
from crossbow_lab.runs.parameters import check_values, load_notebook, read_parameters
from crossbow_lab.runs.recording import RUN_FOLDER_VARIABLE

MANIFEST_SCHEMA = 1
_GRACE_S = 10.0
_PACKAGE_ROOT = Path(crossbow_lab.__file__).resolve().parent.parent


@dataclass(frozen=True)
class Run:
    """The record of one executed notebook.

    Parameters
    ----------
    folder : Path
        The published folder.
    manifest : dict
        What was asked and what happened; the content of ``manifest.json``.
    status : str
        ``completed``, ``failed``, ``interrupted`` or ``timeout``.
    """

    folder: Path
    manifest: dict[str, Any]
    status: str

    @property
    def notebook(self) -> Path:
        """The executed notebook."""
        return self.folder / "notebook.ipynb"

    @property
    def report(self) -> Path:
        """The executed notebook as one HTML file."""
        return self.folder / "report.html"

    @property
    def result(self) -> dict[str, Any] | None:
        """What the notebook gave to ``cb.record``, or None if it didn't get that far."""
        path = self.folder / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def run_notebook(
    notebook: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    runs_dir: str | Path = "runs",
    name: str | None = None,
    on_line: Callable[[str], None] | None = None,
    timeout_s: float | None = None,
) -> Run:
    """Execute a notebook in a process of its own and publish its record.

    The kernel works in the record's ``files`` folder, so what the notebook writes by a relative path is kept;
    modules beside the notebook can be imported. Ctrl-C and the time limit interrupt the notebook, give it ten
    seconds to end by itself, and publish what there is.

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

    Returns
    -------
    Run
        Also when the notebook failed: see ``status``.

    Raises
    ------
    RunError
        Before anything runs, if the notebook or a parameter is refused, or ``runs_dir`` can't be written to.
    """
    path = Path(notebook).resolve()
    declared = read_parameters(path)
    given = check_values(declared, parameters or {})
    name = path.stem if name is None else name
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise RunError(f"run name {name!r} can't name a folder; use letters, digits, '.', '-' and '_'")
    if timeout_s is not None and not timeout_s > 0:
        raise RunError(f"timeout_s must be greater than 0, got {timeout_s!r}")
    started = datetime.now(UTC)
    run_id = f"{name}-{started:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    building = _make_folder(Path(runs_dir).resolve(), run_id)
    asked = {
        "schema": MANIFEST_SCHEMA,
        "id": run_id,
        "notebook": {"path": str(path), "sha256": _sha256(path)},
        "parameters": {parameter.name: parameter.default for parameter in declared} | given,
        "code": code_version(),
        "packages": packages(),
        "hardware": hardware(),
    }
    request = {
        "notebook": str(path),
        "parameters": given,
        "n_cells": len(load_notebook(path)["cells"]) + bool(given),
        "grace_s": _GRACE_S,
    }
    (building / "request.json").write_text(json.dumps(request), encoding="utf-8")
    stopped = _execute(building, path.parent, on_line or (lambda _: None), timeout_s)
    happened = _outcome(building, stopped) | {
        "started_utc": started.isoformat(timespec="milliseconds"),
        "finished_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    return _publish(building, asked | happened)


def load_run(folder: str | Path) -> Run:
    """Read the record of a run.

    Raises
    ------
    RunError
        If the folder has no manifest, or one that this version can't read.
    """
    path = Path(folder) / "manifest.json"
    if not path.is_file():
        raise RunError(f"{folder} is not a run: it has no manifest.json")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from error
    schema = manifest.get("schema")
    if schema != MANIFEST_SCHEMA:
        raise RunError(f"{path} has schema {schema!r}, this version reads {MANIFEST_SCHEMA}; upgrade crossbow-lab")
    return Run(Path(folder).resolve(), manifest, manifest["status"])


def _make_folder(runs_dir: Path, run_id: str) -> Path:
    """Create the folder that a run is built in, on the file system that it will be published on."""
    building = runs_dir / ".tmp" / run_id
    try:
        (building / "files").mkdir(parents=True)
    except OSError as error:
        raise RunError(f"runs can't be written to {runs_dir}: {error}; choose another --runs-dir") from error
    return building


def _execute(
    building: Path, notebook_folder: Path, on_line: Callable[[str], None], timeout_s: float | None
) -> str | None:
    """Run the worker to its end and return why it was told to stop, if it was."""
    worker = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
        [sys.executable, "-m", "crossbow_lab.runs.worker", str(building)],
        cwd=building / "files",
        env=_environment(building, notebook_folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    stopped: list[str] = []

    def stop(why: str) -> None:
        stopped.append(why)
        if worker.stdin is not None and worker.poll() is None:
            with contextlib.suppress(OSError):
                os.write(worker.stdin.fileno(), b"\n")
        # The worker ends the kernel when its grace is over; this is for a worker that can't.
        last_resort = threading.Timer(3 * _GRACE_S, worker.kill)
        last_resort.daemon = True
        last_resort.start()

    assert worker.stdin is not None  # noqa: S101 (both are pipes)
    assert worker.stdout is not None  # noqa: S101
    limit = threading.Timer(timeout_s or 0.0, stop, ["timeout"])
    try:
        if timeout_s is not None:
            limit.start()
        with (
            _on_interrupt(lambda: stop("interrupted")),
            (building / "log.txt").open("w", encoding="utf-8") as log,
        ):
            for line in worker.stdout:
                log.write(line)
                on_line(line.rstrip("\n"))
    finally:
        limit.cancel()
        worker.stdin.close()  # left early, this ends the worker and its kernel
        worker.wait()
        worker.stdout.close()
    return stopped[0] if stopped else None


@contextlib.contextmanager
def _on_interrupt(action: Callable[[], None]) -> Iterator[None]:
    """Make Ctrl-C call the action, where this thread may decide that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _environment(building: Path, notebook_folder: Path) -> dict[str, str]:
    """Return the environment of the worker and its kernel: ours, with relative places made absolute."""
    environment = dict(os.environ)
    environment[RUN_FOLDER_VARIABLE] = str(building)
    environment["CROSSBOW_HEADLESS"] = "1"
    environment["PYTHONUNBUFFERED"] = "1"
    # A kernel named python3 in the user's home may belong to another Python; ours is beside this one.
    environment["JUPYTER_PREFER_ENV_PATH"] = "1"
    if environment.get("CROSSBOW_DATA"):
        environment["CROSSBOW_DATA"] = str(Path(environment["CROSSBOW_DATA"]).resolve())
    # A checkout that isn't installed must be found from the new working directory too.
    roots = [str(notebook_folder)]
    if (_PACKAGE_ROOT / "pyproject.toml").exists():
        roots.append(str(_PACKAGE_ROOT))
    if environment.get("PYTHONPATH"):
        roots.append(environment["PYTHONPATH"])
    environment["PYTHONPATH"] = os.pathsep.join(roots)
    return environment


def _outcome(building: Path, stopped: str | None) -> dict[str, Any]:
    """Say how the run ended: the worker's own account, or that it left none."""
    path = building / "outcome.json"
    if path.exists():
        outcome: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    else:
        lost = {"name": "WorkerDied", "message": "the run's process was killed; see log.txt", "cell": None}
        outcome = {"exception": lost, "timing_s": {}}
    status = stopped or ("failed" if outcome["exception"] else "completed")
    return {"status": status, **outcome}


def _publish(building: Path, manifest: dict[str, Any]) -> Run:
    """Write the manifest last, bring everything to disk, and rename the folder to where it is a run."""
    for name in ("request.json", "outcome.json"):
        (building / name).unlink(missing_ok=True)
    if not any((building / "files").iterdir()):
        (building / "files").rmdir()
    files = sorted(path for path in building.rglob("*") if path.is_file())
    outputs = {
        path.relative_to(building).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in files
    }
    manifest_path = building / "manifest.json"
    content = json.dumps({**manifest, "outputs": outputs}, indent=2, ensure_ascii=False, default=str)
    manifest_path.write_text(content + "\n", encoding="utf-8")
    for path in [*files, manifest_path]:
        _sync(path)
    _sync(building)
    published = building.parent.parent / building.name
    building.rename(published)
    _sync(published.parent)
    return load_run(published)


def _sync(path: Path) -> None:
    """Bring a file or folder to disk; a system that can't open folders skips those."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
