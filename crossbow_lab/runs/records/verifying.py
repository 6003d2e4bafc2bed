"""Whether a record still is what was written: every file hashed again, and the manifest held against its schema."""

import hashlib
import json
from pathlib import Path

from crossbow_lab.resources import resource
from crossbow_lab.runs.records.manifest import MANIFEST, Run
from crossbow_lab.runs.records.publish import SUMS


def verify(run: Run) -> tuple[str, ...]:
    """Hash a record's files again.

    Parameters
    ----------
    run : Run
        As `load_run` reads it, which has held the manifest against its own checksum.

    Returns
    -------
    tuple of str
        What is wrong, one sentence each; empty if nothing is.
    """
    recorded = run.manifest.get("outputs", {})
    on_disk = {path.relative_to(run.folder).as_posix(): path for path in run.folder.rglob("*") if path.is_file()}
    on_disk.pop(MANIFEST, None)
    problems = [f"{name} is missing" for name in recorded if name not in on_disk]
    problems += [f"{name} is not part of the record" for name in sorted(on_disk) if name not in recorded]
    for name, path in on_disk.items():
        if name in recorded and _sha256(path) != recorded[name]["sha256"]:
            problems.append(f"{name} was changed")
    if run.manifest.get("schema") != 1:
        problems += [f"{MANIFEST} breaks its schema: {problem}" for problem in schema_problems(run)]
        expected = "".join(f"{one['sha256']}  {name}\n" for name, one in recorded.items() if name != SUMS)
        if SUMS in on_disk and _sha256(on_disk[SUMS]) != hashlib.sha256(expected.encode()).hexdigest():
            problems.append(f"{SUMS} says something else than {MANIFEST}")
    return tuple(problems)


def schema_problems(run: Run) -> list[str]:
    """Return where a manifest differs from the JSON Schema that ships with the package."""
    from jsonschema import Draft202012Validator

    schema = json.loads(resource("runs", "records", "manifest.schema.json").read_text(encoding="utf-8"))
    errors = Draft202012Validator(schema).iter_errors(run.manifest)
    return sorted(f"{error.json_path}: {error.message[:200]}" for error in errors)


def _sha256(path: Path) -> str:
    """Return the SHA-256 of what is on disk now, whatever has been read before; empty if it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
