"""Keeps executed notebooks small, so that a thousand of them can be kept, opened and compared."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_BYTES = 1_000_000
_TEXT_KEPT = 20_000  # characters at either end
_LIVE = ("application/vnd.jupyter.widget-view+json", "application/vnd.plotly.v1+json")
_SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/svg+xml": "svg", "text/html": "html", "text/plain": "txt"}
_CODED = ("image/png", "image/jpeg", "application/pdf")


def slim(notebook: Path, outputs: Path) -> None:
    """Bring an executed notebook under `MOST_BYTES`, the largest output first, if it is above.

    A live figure that has a picture beside it keeps the picture. Long printed text keeps its two ends; all of it is
    in ``log.txt``. Anything else moves to a file of its own, and the notebook says where.

    Parameters
    ----------
    notebook : Path
        Rewritten in place if it is too large.
    outputs : Path
        Folder for what has to move; made only if something does.
    """
    size = notebook.stat().st_size
    if size <= MOST_BYTES:
        return
    content = json.loads(notebook.read_text(encoding="utf-8"))
    for part_size, number, output, kind in sorted(_parts(content), key=lambda part: -part[0]):
        if size <= MOST_BYTES:
            break
        size -= part_size - _shrink(output, kind, outputs, number)
    draft = notebook.with_suffix(".part")
    draft.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(notebook)


def _parts(content: dict[str, Any]) -> Iterator[tuple[int, str, dict[str, Any], str]]:
    """Yield size, number, output and kind of everything that a notebook shows."""
    for index, cell in enumerate(content["cells"], 1):
        for place, output in enumerate(cell.get("outputs", ()), 1):
            number = f"cell-{index:02d}-{place}"
            if "text" in output:
                yield _size(output["text"]), number, output, "text"
            for kind, value in output.get("data", {}).items():
                yield _size(value), number, output, kind


def _shrink(output: dict[str, Any], kind: str, outputs: Path, number: str) -> int:
    """Make one part of an output smaller, and return its new size in bytes."""
    if kind == "text":
        text = _text(output["text"])
        if len(text) > 2 * _TEXT_KEPT:
            left_out = f"\n[{len(text) - 2 * _TEXT_KEPT:,} characters are in log.txt only]\n"
            output["text"] = text[:_TEXT_KEPT] + left_out + text[-_TEXT_KEPT:]
        return _size(output["text"])
    data = output["data"]
    value = data.pop(kind)
    if kind in _LIVE and any(name.startswith("image/") for name in data):
        return 0
    outputs.mkdir(exist_ok=True)
    path = outputs / f"{number}.{_SUFFIXES.get(kind, 'json')}"
    if kind in _CODED:
        path.write_bytes(base64.b64decode(_text(value)))
    else:
        path.write_text(value if isinstance(value, str) else _text(value), encoding="utf-8")
    said = f"[{kind}: see {outputs.name}/{path.name}]"
    data["text/plain"] = said if kind == "text/plain" else f"{_text(data.get('text/plain', ''))}\n{said}".strip()
    return len(said)


def _text(value: Any) -> str:
    """Return a part's content as one text: notebooks may hold a list of lines, or JSON."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return value if isinstance(value, str) else json.dumps(value)


def _size(value: Any) -> int:
    """Return about how many bytes a part takes in the file."""
    return len(json.dumps(value, ensure_ascii=False).encode())
