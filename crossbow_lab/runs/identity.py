"""What is asked of a run, and its identity: two requests with the same key are the same question.

A key is made of the notebook's cells, the package's code, the parameters with their defaults, the files that
parameters name, the class of device, and the versions that decide numbers. It is not made of who asks, when, on which
host or with how many workers. Nothing here imports torch, so that a thousand requests cost no more than a second.
"""

import functools
import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from crossbow_lab.content import PACKAGE, code_sha256, file_sha256, sha256_of, sources_below, walk
from crossbow_lab.errors import RunError
from crossbow_lab.runs.environment import cpu_model, gpus
from crossbow_lab.runs.parameters import Parameter, check_values, load_notebook, read_parameters
from crossbow_lab.runs.recipes import recipe_values

KEY_SCHEMA = 1
PARTS = ("notebook", "code", "parameters", "data", "device", "environment")
"""What a key is made of, in the order in which reasons for a stale record are given."""

_DECISIVE = ("torch", "numpy", "cupy-cuda12x", "cupy-cuda13x")
_KEY_DIGITS = 20


@dataclass(frozen=True)
class Request:
    """One run as it is asked for; made by `request_for`.

    Attributes
    ----------
    notebook : Path
        Absolute.
    parameters : dict
        Every parameter of the notebook, defaults filled in.
    injected : dict
        Those that differ from the notebook's defaults.
    recipe : str or None
        The recipe's JSON text, if one was given.
    timeout_s : float or None
        Seconds after which the notebook is interrupted. Not part of the key.
    parts : dict of str to str
        SHA-256 in hexadecimal of each of `PARTS`, as they were when the request was made.
    """

    notebook: Path
    parameters: dict[str, Any]
    injected: dict[str, Any]
    recipe: str | None
    timeout_s: float | None
    parts: dict[str, str]

    @property
    def key(self) -> str:
        """The identity, 20 hexadecimal digits: equal for equal requests on devices of one class."""
        return sha256_of({"schema": KEY_SCHEMA, "parts": self.parts})[:_KEY_DIGITS]


def request_for(
    notebook: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    recipe: str | None = None,
    timeout_s: float | None = None,
) -> Request:
    """Check what is asked of a notebook, and give it its identity.

    Parameters
    ----------
    notebook : str or Path
    parameters : mapping of str to value, optional
        Values, or texts as from a command line, for names in the notebook's parameters cell.
    recipe : str, optional
        A recipe as JSON text; see `crossbow_lab.runs.recipes.recipe_values` for where it goes. A parameter that is
        given beside it wins over the recipe's value.
    timeout_s : float, optional
        Greater than 0 seconds.

    Raises
    ------
    RunError, RecipeError, ConfigurationError
        If the notebook, a parameter or the recipe is refused; the nearest known name is given.
    """
    path = Path(notebook).resolve()
    if timeout_s is not None and not timeout_s > 0:
        raise RunError(f"timeout_s must be greater than 0, got {timeout_s!r}")
    if not path.is_file():
        raise RunError(f"there is no notebook at {path}")
    declared, cells = _read_notebook(path, path.stat().st_size, path.stat().st_mtime_ns)
    given = dict(parameters or {})
    if recipe is not None:
        given = recipe_values(declared, recipe) | given
    checked = check_values(declared, given)
    defaults = {parameter.name: parameter.default for parameter in declared}
    full = defaults | checked
    return Request(
        notebook=path,
        parameters=full,
        injected={name: value for name, value in checked.items() if not _is_same(value, defaults[name])},
        recipe=recipe,
        timeout_s=timeout_s,
        parts={
            "notebook": _with_modules_beside(cells, path),
            "code": code_sha256(),
            "parameters": sha256_of({"parameters": full, "recipe": None if recipe is None else json.loads(recipe)}),
            "data": sha256_of(_files_named_by(full.values())),
            "device": sha256_of(_device_class(full, recipe)),
            "environment": sha256_of(_decisive_versions()),
        },
    )


def differing_parts(asked: Mapping[str, str], recorded: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the parts that differ, in the order of `PARTS`.

    Examples
    --------
    >>> differing_parts({"code": "a", "data": "b"}, {"code": "a", "data": "c"})
    ('data',)
    """
    return tuple(part for part in PARTS if asked.get(part) != recorded.get(part))


def _is_same(value: Any, default: Any) -> bool:
    """Whether injecting a value would change nothing; True and 1 are not the same."""
    return type(value) is type(default) and bool(value == default)


@functools.lru_cache(maxsize=64)
def _read_notebook(path: Path, size: int, mtime_ns: int) -> tuple[tuple[Parameter, ...], str]:  # noqa: ARG001
    """Return what a notebook of this size and age declares, and the SHA-256 of its cells without their outputs."""
    declared = read_parameters(path)
    cells = [
        (cell.get("cell_type"), "".join(cell.get("source", "")), sorted(cell.get("metadata", {}).get("tags", ())))
        for cell in load_notebook(path)["cells"]
    ]
    return declared, sha256_of(cells)


def _with_modules_beside(cells: str, path: Path) -> str:
    """Return the SHA-256 of a notebook's cells and of the modules beside it, which it may import."""
    modules = {beside.name: file_sha256(beside) for beside in sorted(path.parent.glob("*.py"))}
    packages = {
        beside.parent.name: sources_below(beside.parent)
        for beside in sorted(path.parent.glob("*/__init__.py"))
        if beside.parent != PACKAGE
    }
    return sha256_of({"cells": cells, "modules": modules, "packages": packages})


def _files_named_by(values: Iterable[Any]) -> dict[str, Any]:
    """Describe the files and folders that parameters name by absolute paths.

    Named data sets need nothing here: the code holds their checksums, and refuses any other content. A folder is
    known by its files' names, sizes and times, because it may hold a million of them.
    """
    found: dict[str, Any] = {}
    for value in values:
        if isinstance(value, list):
            found |= _files_named_by(value)
        elif isinstance(value, str) and len(value) < 4096 and "\0" not in value and Path(value).is_absolute():
            path = Path(value)
            if path.is_file():
                found[value] = file_sha256(path)
            elif path.is_dir():
                found[value] = [(name, status.st_size, status.st_mtime_ns) for name, status in walk(value)]
    return found


def _device_class(parameters: Mapping[str, Any], recipe: str | None) -> dict[str, Any]:
    """Describe the kind of device that is asked for; all kinds that are here where none is named."""
    named = parameters.get("device") or (json.loads(recipe).get("device") if recipe else None)
    cpu = {"cpu": cpu_model(), "cores": os.cpu_count()}
    if not isinstance(named, str):
        return cpu | {"gpus": _gpu_names()}
    return {"gpus": _gpu_names()} if named.startswith("cuda") else cpu


def _gpu_names() -> list[str]:
    """Return the models of this machine's GPUs, each once."""
    return sorted({gpu["name"] for gpu in gpus()})


@functools.lru_cache(maxsize=1)
def _decisive_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute."""
    versions = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in _DECISIVE:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
