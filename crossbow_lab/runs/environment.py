"""What a run was made with: code, packages and hardware. Nothing here imports torch."""

import functools
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import crossbow_lab

PACKAGES = (
    "torch",
    "numpy",
    "pandas",
    "pyarrow",
    "plotly",
    "matplotlib",
    "papermill",
    "nbclient",
    "nbconvert",
    "ipykernel",
    "safetensors",
)
_VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
)
_VARIABLE_FAMILIES = ("CUDA_", "NCCL_", "GOMP_", "CROSSBOW_")
CHECKOUT = Path(crossbow_lab.__file__).resolve().parent.parent


def code_version() -> dict[str, Any]:
    """Return the package's version and, in a git checkout, its revision and whether files differ from it.

    Returns
    -------
    dict
        ``version``, ``revision`` (str or None) and ``is_dirty`` (bool or None). A package that is merely
        installed inside somebody else's repository has no revision.
    """
    code: dict[str, Any] = {"version": crossbow_lab.__version__, "revision": None, "is_dirty": None}
    if (CHECKOUT / ".git").exists():
        code["revision"] = output_of("git", "-C", str(CHECKOUT), "rev-parse", "--verify", "HEAD") or None
        status = output_of("git", "-C", str(CHECKOUT), "status", "--porcelain")
        code["is_dirty"] = None if status is None else bool(status)
    return code


def packages(names: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """Return the installed version of each package, None for one that isn't installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def hardware() -> dict[str, Any]:
    """Describe this machine.

    Returns
    -------
    dict
        ``system``, ``cpu``, ``cores`` (those this process may use), ``memory_bytes``, ``load_average`` (one
        minute) and ``gpus`` (as in `gpus`). None where the system doesn't say.
    """
    return {
        "system": platform.platform(),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpus": list(gpus()),
    }


@functools.lru_cache(maxsize=1)
def cpu_model() -> str:
    """Return the processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    """Return the machine's memory, where the system says."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


@functools.lru_cache(maxsize=1)
def gpus() -> tuple[dict[str, str], ...]:
    """List the NVIDIA GPUs by their driver's own tool; empty when there is none.

    Returns
    -------
    tuple of dict
        ``name``, ``memory``, ``driver``, ``uuid`` and ``power_limit`` of each, with the units that the tool gives.
    """
    keys = {"name": "name", "memory": "memory.total", "driver": "driver_version", "uuid": "uuid"}
    keys["power_limit"] = "power.limit"
    listed = output_of("nvidia-smi", f"--query-gpu={','.join(keys.values())}", "--format=csv,noheader")
    rows = [line.split(", ") for line in (listed or "").splitlines()]
    return tuple(dict(zip(keys, row, strict=True)) for row in rows if len(row) == len(keys))


def visible_gpus() -> tuple[str, ...]:
    """Return the UUIDs of the GPUs that ``CUDA_VISIBLE_DEVICES`` leaves."""
    return select_visible([gpu["uuid"] for gpu in gpus()], os.environ.get("CUDA_VISIBLE_DEVICES"))


def select_visible(uuids: Sequence[str], mask: str | None) -> tuple[str, ...]:
    """Apply a ``CUDA_VISIBLE_DEVICES`` as CUDA does: numbers or UUIDs, also shortened; what is unknown ends the list.

    Examples
    --------
    >>> select_visible(["GPU-aa", "GPU-bb", "GPU-cc"], "2,0,7,1")
    ('GPU-cc', 'GPU-aa')
    """
    if mask is None:
        return tuple(uuids)
    chosen: list[str] = []
    for word in (part.strip() for part in mask.split(",")):
        if word.isdigit() and int(word) < len(uuids):
            chosen.append(uuids[int(word)])
            continue
        matching = [uuid for uuid in uuids if word.startswith("GPU-") and uuid.startswith(word)]
        if len(matching) != 1:
            break
        chosen += matching
    return tuple(chosen)


def python_path(*first: str) -> str:
    """Return the PYTHONPATH of a process of ours: with a checkout that isn't installed on it, wherever it works.

    Together with Python's ``-P`` it finds the package that this process has, not another in the working folder.
    """
    checkout = [str(CHECKOUT)] if (CHECKOUT / "pyproject.toml").exists() else []
    return os.pathsep.join(filter(None, (*first, *checkout, os.environ.get("PYTHONPATH"))))


def variables() -> dict[str, str]:
    """Return the environment variables that can change a run's numbers or speed; no other is ever recorded."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name in _VARIABLES or name.startswith(_VARIABLE_FAMILIES)
    }


def every_package() -> str:
    """Return all installed packages as lines of ``name==version``, sorted."""
    found = {f"{distribution.name}=={distribution.version}" for distribution in metadata.distributions()}
    return "".join(f"{line}\n" for line in sorted(found, key=str.lower))


def output_of(program: str, *arguments: str) -> str | None:
    """Return what a program prints, stripped; None when it is missing, fails or takes longer than ten seconds."""
    found = shutil.which(program)
    if found is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 (our own arguments)
            [found, *arguments], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
