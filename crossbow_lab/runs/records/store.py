"""The store: a folder of run folders. What is in it, which records answer a request, and who is running what.

Nothing here is an index that could be out of date: every answer is read from the manifests. What has been read once
is remembered by file size and time, so that asking two hundred times costs little more than asking once.
"""

import functools
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossbow_lab.errors import RunError
from crossbow_lab.runs.records.manifest import MANIFEST, Run, load_run, read_manifest


@dataclass(frozen=True)
class RunSummary:
    """One line of the list of runs; cheap to make and to keep.

    Attributes
    ----------
    folder : Path
    status : str
        As in `crossbow_lab.runs.Run`, or ``damaged``.
    kind : str
        ``notebook`` or ``session``.
    key : str or None
    notebook : str
        The notebook's path when it was run; empty for a session.
    parameters, parts : dict
        As in `crossbow_lab.runs.identity.Request`; parts are empty in a record of schema 1.
    started_utc : str
        ISO 8601.
    seconds : float or None
        From beginning to end, the kernel's start included.
    is_contended : bool or None
        Whether something else used the device meanwhile; None if that isn't known.
    problem : str
        Why it failed or is damaged; empty where nothing went wrong.
    """

    folder: Path
    status: str
    kind: str
    key: str | None
    notebook: str
    parameters: dict[str, Any]
    parts: dict[str, str]
    started_utc: str
    seconds: float | None
    is_contended: bool | None
    problem: str

    @property
    def name(self) -> str:
        """The run folder's name."""
        return self.folder.name


def list_runs(runs_dir: str | Path) -> list[RunSummary]:
    """List the runs of a store, the oldest first, damaged ones among them.

    Parameters
    ----------
    runs_dir : str or Path
        A folder that isn't there holds no runs.

    Notes
    -----
    Reads each manifest once per process: about 0.2 s for the first thousand, then a few milliseconds.
    """
    found = []
    try:
        with os.scandir(runs_dir) as entries:
            folders = [entry.path for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    for folder in folders:
        try:
            status = os.stat(f"{folder}/{MANIFEST}")  # noqa: PTH116 (a Path for each costs as much as reading it)
        except OSError:
            continue  # without a manifest it isn't a run
        found.append(_summary(folder, status.st_size, status.st_mtime_ns))
    return sorted(found, key=lambda summary: (summary.started_utc, summary.name))


def finished_by_key(runs_dir: str | Path) -> dict[str, list[RunSummary]]:
    """Return the completed runs by their keys, the newest first: what a plan of many requests looks up.

    What it lists has not been held against its files yet; `find_finished` does that.
    """
    found: dict[str, list[RunSummary]] = defaultdict(list)
    for summary in reversed(list_runs(runs_dir)):
        if summary.status == "completed" and summary.key is not None:
            found[summary.key].append(summary)
    return dict(found)


def find_finished(runs_dir: str | Path, key: str) -> Run | None:
    """Return the newest completed run of a key whose files are all there, or None.

    The files' sizes are compared, not their content: `crossbow_lab.runs.verify` does that.
    """
    for summary in finished_by_key(runs_dir).get(key, []):
        try:
            run = load_run(summary.folder)
        except RunError:  # damaged since
            continue
        if not missing_outputs(run):
            return run.cached()
    return None


def missing_outputs(run: Run) -> list[str]:
    """Return the names of recorded files that are gone or have another size."""
    return [
        name
        for name, recorded in run.manifest.get("outputs", {}).items()
        if not _has_size(run.folder / name, int(recorded["bytes"]))
    ]


def find_run(named: str | Path, runs_dir: str | Path = "runs") -> Run:
    """Return the run that a folder, a run's name in the store, or the beginning of one or of a key stands for.

    Raises
    ------
    RunError
        If there is none, or several.
    """
    if (Path(named) / MANIFEST).exists():
        return load_run(named)
    text = str(named)
    summaries = list_runs(runs_dir)
    matching = [one for one in summaries if one.name == text] or [
        one for one in summaries if text and (one.name.startswith(text) or (one.key or "").startswith(text))
    ]
    if len(matching) == 1:
        return load_run(matching[0].folder)
    if matching:
        names = ", ".join(one.name for one in matching[-5:])
        raise RunError(f"{text!r} could be any of {len(matching)} runs in {runs_dir}, such as {names}; give more of it")
    raise RunError(f"there is no run {text!r}, and none in {runs_dir} begins so; `crossbow-lab runs` lists them")


def _has_size(path: Path, size: int) -> bool:
    """Whether a file is there and of a size."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False


@functools.lru_cache(maxsize=65536)
def _summary(folder: str, size: int, mtime_ns: int) -> RunSummary:  # noqa: ARG001 (they are what is remembered by)
    """Read one line of the list from a manifest of this size and age."""
    path = Path(folder)
    try:
        return _summary_of(path, read_manifest(path / MANIFEST))
    except (RunError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = str(error) if isinstance(error, RunError) else f"{path / MANIFEST} is damaged: {error!r}"
        return RunSummary(path, "damaged", "notebook", None, "", {}, {}, "", None, None, reason)


def _summary_of(folder: Path, manifest: Mapping[str, Any]) -> RunSummary:
    """Return the line that a manifest makes."""
    exception = manifest.get("exception")
    load = manifest.get("load") or {}
    return RunSummary(
        folder=folder,
        status=str(manifest["status"]),
        kind=str(manifest.get("kind", "notebook")),
        key=_one_of(manifest.get("key"), str),
        notebook=str((manifest.get("notebook") or {}).get("path", "")),
        parameters=dict(manifest.get("parameters", {})),
        parts=dict(manifest.get("parts") or {}),
        started_utc=str(manifest["started_utc"]),
        seconds=_one_of(manifest.get("seconds"), int, float),
        is_contended=_one_of(load.get("is_contended"), bool),
        problem="" if exception is None else f"{exception['name']}: {exception['message']}",
    )


def _one_of(value: Any, *kinds: type) -> Any:
    """Return a value that is None or of one of these types; raise TypeError for one of a damaged manifest."""
    if value is not None and type(value) not in kinds:
        raise TypeError(f"{value!r} should be {' or '.join(kind.__name__ for kind in kinds)}")
    return value
