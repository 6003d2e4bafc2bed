"""The record of one run as it is read: its folder, its manifest, and whether it is whole."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crossbow_lab.content import sha256_of
from crossbow_lab.errors import RunError

MANIFEST = "manifest.json"
MANIFEST_SCHEMA = 2
"""1 had no identity, no sessions and no checksum of its own; such records are still read."""

_CHECKSUM = "manifest_sha256"


@dataclass(frozen=True)
class Run:
    """The record of one executed notebook, or of one interactive session.

    Parameters
    ----------
    folder : Path
        The published folder.
    manifest : dict
        What was asked and what happened; the content of ``manifest.json``.
    status : str
        ``completed``, ``failed``, ``interrupted`` or ``timeout``.
    is_cached : bool
        Whether this record answered a request without anything being run.
    """

    folder: Path
    manifest: dict[str, Any]
    status: str
    is_cached: bool = False

    @property
    def key(self) -> str | None:
        """The identity of what was asked; None for an interactive session, which answers no other request."""
        key = self.manifest.get("key")
        return None if key is None else str(key)

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

    @property
    def fingerprints(self) -> dict[str, str]:
        """The SHA-256 of each recorded session's central model z, by the session's name."""
        return dict((self.result or {}).get("fingerprints", {}))

    @property
    def sessions(self) -> dict[str, Path]:
        """The folder of each session, by its name; each holds ``history.parquet``, ``events.parquet``, ``recipe.json``.

        Sessions that the notebook never handed to ``cb.record`` are named ``unrecorded-1``, ``unrecorded-2`` and so
        on, in the order in which they were made.
        """
        return {path.name: path for path in sorted((self.folder / "sessions").glob("*/")) if path.is_dir()}

    def cached(self) -> "Run":
        """Return the same record as an answer that cost nothing."""
        return replace(self, is_cached=True)


def load_run(folder: str | Path) -> Run:
    """Read the record of a run.

    Raises
    ------
    RunError
        If the folder has no manifest, a damaged one, or one that this version can't read.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise RunError(f"{folder} is not a run: it has no {MANIFEST}")
    manifest = read_manifest(path)
    schema = manifest.get("schema")
    if schema not in (1, MANIFEST_SCHEMA):
        raise RunError(f"{path} has schema {schema!r}, this version reads 1 to {MANIFEST_SCHEMA}; upgrade crossbow-lab")
    if schema != 1 and manifest.get(_CHECKSUM) != manifest_sha256(manifest):
        raise RunError(f"{path} is damaged: it isn't what was written; take an undamaged copy, or run it again")
    return Run(Path(folder).resolve(), manifest, str(manifest.get("status")))


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest as JSON, whatever it says.

    Raises
    ------
    RunError
        If it can't be read.
    """
    try:
        manifest = json.loads(path.read_bytes())
        if not isinstance(manifest, dict):
            raise ValueError("it isn't a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}; take an undamaged copy, or run it again") from error
    return manifest


def sealed(manifest: dict[str, Any]) -> str:
    """Return a manifest as JSON text that carries its own checksum."""
    plain = json.loads(json.dumps(manifest, default=str))
    return json.dumps(plain | {_CHECKSUM: manifest_sha256(plain)}, indent=2, ensure_ascii=False) + "\n"


def manifest_sha256(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest's content, its own checksum left out."""
    return sha256_of({name: value for name, value in manifest.items() if name != _CHECKSUM})
