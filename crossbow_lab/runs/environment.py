"""What a run was made with: code, packages and hardware. Nothing here imports torch."""

import os
import platform
import shutil
import subprocess
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
_CHECKOUT = Path(crossbow_lab.__file__).resolve().parent.parent


def code_version() -> dict[str, Any]:
    """Return the package's version and, in a git checkout, its revision and whether files differ from it.

    Returns
    -------
    dict
        ``version``, ``revision`` (str or None) and ``is_dirty`` (bool or None). A package that is merely
        installed inside somebody else's repository has no revision.
    """
    code: dict[str, Any] = {"version": crossbow_lab.__version__, "revision": None, "is_dirty": None}
    if (_CHECKOUT / ".git").exists():
        code["revision"] = _output("git", "-C", str(_CHECKOUT), "rev-parse", "--verify", "HEAD") or None
        status = _output("git", "-C", str(_CHECKOUT), "status", "--porcelain")
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
        minute) and ``gpus`` (a list of name, memory and driver). None where the system doesn't say.
    """
    return {
        "system": platform.platform(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpus": _gpus(),
    }


def _cpu_model() -> str:
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


def _gpus() -> list[dict[str, str]]:
    """List the NVIDIA GPUs by their driver's own tool; empty when there is none."""
    keys = ("name", "memory.total", "driver_version")
    listed = _output("nvidia-smi", f"--query-gpu={','.join(keys)}", "--format=csv,noheader")
    rows = [line.split(", ") for line in (listed or "").splitlines()]
    return [dict(zip(("name", "memory", "driver"), row, strict=True)) for row in rows if len(row) == len(keys)]


def _output(program: str, *arguments: str) -> str | None:
    """Return what a program prints, or None when it is missing, fails or takes longer than ten seconds."""
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
