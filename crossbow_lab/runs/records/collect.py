"""Gathers what a run left behind, however it ended, into the folder's final form and the manifest's words."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossbow_lab.runs.records.manifest import Run, load_run
from crossbow_lab.runs.records.publish import kept_on_failure, publish, write

ASKED, LOG = "asked.json", "log.txt"
_OF_THE_RECIPE = ("model", "dataset", "seed", "executor", "threads", "device", "dtype", "amp", "iterations")
_CHECKSUMS = ("weights_sha256", "data_sha256")


def finish(building: Path, happened: dict[str, Any]) -> Run:
    """Publish a run that has ended.

    Parameters
    ----------
    building : Path
        With ``asked.json``, and whatever the run left.
    happened : dict
        ``status``, ``exception``, ``timing_s`` and ``load``.

    Raises
    ------
    RunError
        If the record can't be written; see `crossbow_lab.runs.records.publish.publish`.
    """
    asked = json.loads((building / ASKED).read_text(encoding="utf-8"))
    now = datetime.now(UTC)
    with kept_on_failure(building):
        for folder in session_folders(building):
            tabulate(folder)
            if happened["status"] == "completed":  # where a run broke off, its sessions go on from their checkpoints
                (folder / "last.safetensors").unlink(missing_ok=True)
    sessions = describe_sessions(building)
    described = {
        "sessions": sessions,
        "data": {one["dataset"] or name: one["data_sha256"] for name, one in sessions.items()},
        "seeds": sorted({one["seed"] for one in sessions.values()} - {None}),
        "determinism": {
            name: sorted({one[name] for one in sessions.values()}, key=str)
            for name in ("executor", "threads", "dtype", "amp")
        },
        "finished_utc": now.isoformat(timespec="milliseconds"),
        "seconds": round((now - datetime.fromisoformat(asked["started_utc"])).total_seconds(), 3),
    }
    for phase in ("train", "evaluation"):
        known = [one[f"{phase}_s"] for one in sessions.values() if one.get(f"{phase}_s") is not None]
        if known:
            happened["timing_s"] = happened["timing_s"] | {phase: sum(known)}
    holder = asked.pop("holder", None)
    asked["provenance"] = {"host": (holder or {}).get("host")} | asked.get("provenance", {})
    return load_run(publish(building, asked | happened | described))


def outcome_of(building: Path, stopped: str | None) -> dict[str, Any]:
    """Say how a run ended: the worker's own account, or that it left none.

    Parameters
    ----------
    building : Path
    stopped : str or None
        Why it was told to stop: ``timeout``, ``interrupted``, or in words why it couldn't be recorded any more.
    """
    try:
        outcome: dict[str, Any] = json.loads((building / "outcome.json").read_bytes())
    except (OSError, ValueError):
        lost = {"name": "WorkerDied", "message": f"the run's process was killed; see {LOG}", "cell": None}
        outcome = {"exception": lost, "timing_s": {}}
    if stopped in ("timeout", "interrupted"):
        return {"status": stopped, **outcome}
    if stopped is not None:
        outcome["exception"] = {"name": "OSError", "message": f"{stopped}; the notebook was stopped", "cell": None}
    return {"status": "failed" if outcome["exception"] else "completed", **outcome}


def session_folders(building: Path) -> list[Path]:
    """Return the folders of a run's sessions, finished or not."""
    return sorted(path for path in (building / "sessions").glob("*/") if path.is_dir())


def tabulate(folder: Path) -> None:
    """Turn the JSON lines that a session wrote while it ran into Parquet, as far as they got.

    A line that a kill cut short is left out. The lines themselves go only when all of them are in a table on disk:
    what can't be a table stays as it is.
    """
    for lines in sorted(folder.glob("*.jsonl")):
        table = lines.with_suffix(".parquet")
        if not table.exists():
            text = lines.read_text(encoding="utf-8", errors="replace")
            entries = list(_entries(text))
            if text.strip() and not _write_table(entries, table):
                continue
        lines.unlink()


def _write_table(entries: list[dict[str, Any]], table: Path) -> bool:
    """Write entries as a table; return whether that can be done."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not entries:
        return False
    try:
        made = pa.Table.from_pylist(entries)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # a damaged line, whose values are of another type
        return False
    for index, field in enumerate(made.schema):
        if pa.types.is_null(field.type):  # nothing but NaN
            made = made.set_column(index, field.name, made.column(index).cast(pa.float64()))
    part = table.with_suffix(".part")
    pq.write_table(made, part, compression="zstd")
    part.rename(table)
    return True


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a file of JSON lines that may have been cut short, be growing, or not be there."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    yield from _entries(text)


def _entries(text: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of JSON lines, of which the last may have been cut short."""
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry


def describe_sessions(building: Path) -> dict[str, dict[str, Any]]:
    """Describe each session by its recipe, and by what the notebook recorded of it."""
    result = read_object(building / "result.json")
    recorded = result.get("sessions") or {}
    described = {}
    for folder in session_folders(building):
        recipe = read_object(folder / "recipe.json")
        algorithm = recipe.get("algorithm")
        described[folder.name] = {
            "fingerprint": (result.get("fingerprints") or {}).get(folder.name),
            "algorithm": algorithm.get("name") if isinstance(algorithm, dict) else algorithm,
            **_picked(recipe, (*_OF_THE_RECIPE, *_CHECKSUMS)),
            "adjustments": len(recipe.get("adjustments") or ()),
            **recorded.get(folder.name, {}),
        }
    return described


def _picked(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the named values, None for those that aren't there."""
    return {name: values.get(name) for name in names}


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one where there is none, or only half of one."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def write_asked(building: Path, asked: dict[str, Any]) -> None:
    """Leave what was asked, from which a run that was killed is known."""
    write(building / ASKED, json.dumps(asked, indent=2, ensure_ascii=False, default=str) + "\n")
