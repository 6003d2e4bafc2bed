"""Results as JSON, and as tables made from that JSON alone: a recorded result prints as it did when new."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

SCHEMA = 1
_FILE_WIDTH = 200


def new_document(machine: dict[str, Any], *, is_quick: bool) -> dict[str, Any]:
    """Start the record of one bench.

    Parameters
    ----------
    machine : dict
        What `describe_machine` gives.
    is_quick : bool
        Whether this is a smoke test, whose numbers mean nothing.

    Returns
    -------
    dict
        Plain JSON values; measurements go under ``results``.
    """
    return {
        "schema": SCHEMA,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "is_quick": is_quick,
        "machine": machine,
        "results": {},
    }


def write_document(document: dict[str, Any], path: Path) -> None:
    """Write a record, whole or not at all.

    Parameters
    ----------
    document : dict
        Plain JSON values.
    path : Path
        Replaced when it exists; missing folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def make_console() -> Console:
    """Return what a bench prints on: words as they are, and in a file whole rows, which paste into Markdown."""
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH  # a file has no edge
    return console


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table, the first column left and the others right, that pastes into Markdown."""
    made = Table(title=title, title_justify="left", box=box.MARKDOWN)
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if index else "left")
    for row in rows:
        made.add_row(*row)
    return made


def spread(summary: dict[str, float], *, scale: float = 1.0, digits: int = 2) -> str:
    """Write a summary as its median with the least and the greatest value.

    Parameters
    ----------
    summary : dict
        A `Summary` as JSON.
    scale : float
        Multiplies every number: 1e3 for milliseconds.
    digits : int
        After the point.

    Examples
    --------
    >>> spread({"median": 0.5, "low": 0.25, "high": 1.0}, scale=10, digits=1)
    '5.0 [2.5..10.0]'
    """
    median, low, high = (f"{summary[key] * scale:.{digits}f}" for key in ("median", "low", "high"))
    return f"{median} [{low}..{high}]"


def cores(neighbours_cores: float | None) -> str:
    """Write how many cores were busy elsewhere."""
    return "?" if neighbours_cores is None else f"{neighbours_cores:.1f}"


def machine_line(machine: dict[str, Any]) -> str:
    """Return one line that says what a result was measured on."""
    hardware, torch = machine["hardware"], machine["torch"]
    memory = hardware["memory_bytes"]
    parts = (
        f"{hardware['cpu']}, {hardware['cores']} cores",
        f"{memory / 2**30:.0f} GiB" if memory else "memory unknown",
        f"torch {machine['packages']['torch']}, {torch['threads']} threads, {torch['cpu_capability']}",
        f"Python {machine['packages']['python']}",
        f"crossbow_lab {machine['code']['version']} ({machine['code']['revision'] or 'no revision'})",
        f"load average {hardware['load_average']}",
    )
    return "; ".join(parts)
