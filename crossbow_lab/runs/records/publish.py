"""How a record gets to disk: built where nobody looks, and made a run by one rename.

A run is built under ``RUNS/.tmp/NAME``. Publishing brings every file to disk, writes ``SHA256SUMS``, then
``manifest.json`` (as a whole, by a rename of its own), then renames the folder to ``RUNS/NAME``. So a folder without a
manifest isn't a run, and whatever was killed when, a run that can be read is the one that was written. Only `write`,
`sync` and `rename` touch the disk; the tests make each of them fail and kill the process at each.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crossbow_lab.content import file_sha256
from crossbow_lab.errors import RunError
from crossbow_lab.runs.records.manifest import MANIFEST, sealed

BUILDING = ".tmp"
SUMS = "SHA256SUMS"
SCRATCH = ("request.json", "outcome.json")
"""Between runner and worker; not part of a record."""


def building_folder(runs_dir: Path, name: str) -> Path:
    """Make the folder that a run is built in, on the file system that it will be published on.

    Raises
    ------
    RunError
        If the store can't be written to.
    """
    building = runs_dir / BUILDING / name
    try:
        (building / "files").mkdir(parents=True)
        (building / "sessions").mkdir()
    except OSError as error:
        raise RunError(f"runs can't be written to {runs_dir}: {error}; choose another --runs-dir") from error
    return building


@contextlib.contextmanager
def recording(building: Path) -> Iterator[None]:
    """Say where and what to do if something of an unfinished run can't be written.

    Raises
    ------
    RunError
        In place of OSError.
    """
    try:
        yield
    except OSError as error:
        raise RunError(f"the run can't be recorded in {building}: {error}; free space or rights, then again") from error


@contextlib.contextmanager
def kept_on_failure(building: Path) -> Iterator[None]:
    """Say where a run that has ended is, and what makes a record of it later, if that can't be written now.

    Raises
    ------
    RunError
        In place of OSError.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"the record can't be written to {building.parent.parent}: {error}. Nothing is lost: {building} holds "
            "what there is. Free space or rights, then `crossbow-lab gc` makes a run of it"
        ) from error


def publish(building: Path, manifest: dict[str, Any]) -> Path:
    """Write the checksums, then the manifest, and rename the folder to where it is a run.

    Parameters
    ----------
    building : Path
        As `building_folder` made it.
    manifest : dict of JSON values
        Gets ``outputs``: size and SHA-256 of every other file.

    Returns
    -------
    Path
        The run's folder.

    Raises
    ------
    RunError
        If the disk is full or can't be written to. What there is stays in ``building``, and
        `crossbow_lab.runs.gc` makes a run of it later.
    """
    with kept_on_failure(building):
        for name in ("files", "sessions"):
            folder = building / name
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        for part in [*building.glob("*.part"), *building.glob("sessions/*/*.part")]:
            part.unlink()  # half of something that a kill left; the whole of it is elsewhere, or never was
        files = sorted(path for path in building.rglob("*") if path.is_file() and _is_kept(path, building))
        outputs = {}
        for path in files:
            sync(path)
            name = path.relative_to(building).as_posix()
            outputs[name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        sums = building / SUMS
        write(sums, "".join(f"{recorded['sha256']}  {name}\n" for name, recorded in outputs.items()))
        outputs[SUMS] = {"bytes": sums.stat().st_size, "sha256": file_sha256(sums)}
        draft = building / f"{MANIFEST}.draft"
        write(draft, sealed(manifest | {"outputs": outputs}))
        rename(draft, building / MANIFEST)
        return finish_publishing(building)


def finish_publishing(building: Path) -> Path:
    """Rename a folder whose manifest is written to where it is a run."""
    for name in SCRATCH:
        (building / name).unlink(missing_ok=True)
    for folder in [*(path for path in building.rglob("*") if path.is_dir()), building]:
        sync(folder)
    published = building.parent.parent / building.name
    rename(building, published)
    sync(published.parent)
    return published


def write(path: Path, text: str) -> None:
    """Write a file and bring it to disk."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Bring a file or folder to disk; a system that can't open folders skips those."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(old: Path, new: Path) -> None:
    """Give a file or folder its name; a folder with a run in it is never replaced."""
    old.rename(new)


def _is_kept(path: Path, building: Path) -> bool:
    """Whether a file belongs to the record, and is described by its manifest."""
    return path.parent != building or path.name not in {*SCRATCH, SUMS, MANIFEST, f"{MANIFEST}.draft"}
