"""What files and JSON values hold, as SHA-256; and the package's own code, by which a run and a device know each other.

Nothing here imports torch.
"""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import crossbow_lab

PACKAGE = Path(crossbow_lab.__file__).resolve().parent
"""Where the package's code lies."""

_SOURCES = (".py", ".cu", ".cuh", ".h")


def sha256_of(value: object) -> str:
    """Return the SHA-256 of a JSON value in its canonical form: sorted names, no spaces, ASCII.

    Examples
    --------
    >>> sha256_of({"b": 1, "a": 2}) == sha256_of({"a": 2, "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256; a file that hasn't changed since is not read a second time."""
    status = path.stat()
    return _content_sha256(str(path), status.st_size, status.st_mtime_ns)


def code_sha256() -> str:
    """Return the SHA-256 of the package's code as it lies on disk.

    The files' content rather than a commit: the same code has the same identity before and after it is committed, and
    in a wheel as in a checkout.
    """
    code = sources_below(PACKAGE)
    beside = PACKAGE.parent / "cuda"
    if not (PACKAGE / "cuda").is_dir() and beside.is_dir():  # where the kernels' sources lie in a checkout
        code |= {f"cuda/{name}": digest for name, digest in sources_below(beside).items()}
    return sha256_of(code)


@functools.lru_cache(maxsize=4096)
def _content_sha256(path: str, size: int, mtime_ns: int) -> str:  # noqa: ARG001 (they are what is remembered by)
    """Return the SHA-256 of a file of this size and age."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sources_below(root: Path) -> dict[str, str]:
    """Map the source files below a folder to their content's SHA-256."""
    found = {}
    for name, status in walk(str(root)):
        if name.endswith(_SOURCES):
            with contextlib.suppress(FileNotFoundError):  # gone since it was listed
                found[name] = _content_sha256(f"{root}/{name}", status.st_size, status.st_mtime_ns)
    return found


def walk(root: str, below: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files below a folder by their names from there, without caches and hidden ones, in order.

    An editor or another process may be at work in it: what is gone when its turn comes is left out.
    """
    with os.scandir(f"{root}/{below}") as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith((".", "__pycache__")):
            continue
        with contextlib.suppress(FileNotFoundError):
            if entry.is_dir(follow_symlinks=False):
                yield from walk(root, f"{below}{entry.name}/")
            elif entry.is_file():
                yield f"{below}{entry.name}", entry.stat()
