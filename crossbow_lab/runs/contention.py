"""Whether a run had its device to itself."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossbow_lab.runs.environment import output_of, visible_gpus

_TOLERATED = 0.1  # of the cores: what a desktop, a monitor and the runner itself take


@dataclass(frozen=True)
class Load:
    """A reading of the machine's clocks.

    Attributes
    ----------
    at_s : float
        A monotonic clock.
    busy_s : float or None
        Seconds that the cores which this process may use have been busy since the machine started.
    gpu_processes : int
        Processes on the GPUs that this process may use.
    """

    at_s: float
    busy_s: float | None
    gpu_processes: int


def read_load() -> Load:
    """Read the machine's clocks now."""
    return Load(time.monotonic(), _busy_s(), _gpu_processes())


def describe_load(before: Load, after: Load, own_cpu_s: float | None, *, uses_gpu: bool) -> dict[str, Any]:
    """Say what others used of the device between two readings.

    Parameters
    ----------
    before, after : Load
        ``before`` is read when nothing of the run is on a GPU yet.
    own_cpu_s : float or None
        What the run's own processes used [s of one core]; None if that isn't known.
    uses_gpu : bool
        Whether the run may use one.

    Returns
    -------
    dict
        ``cores``, ``others_cores`` (busy with something else, on average), ``gpu_processes`` (of others, at the start)
        and ``is_contended``: others had more than a tenth of the cores, or were on the GPU. None where it isn't known.
    """
    cores = len(_cores()) or None
    others = None
    if before.busy_s is not None and after.busy_s is not None and own_cpu_s is not None:
        others = max(0.0, after.busy_s - before.busy_s - own_cpu_s) / max(after.at_s - before.at_s, 1e-9)
    is_contended = None if others is None or cores is None else others > _TOLERATED * cores
    if uses_gpu and before.gpu_processes:
        is_contended = True
    return {
        "cores": cores,
        "others_cores": None if others is None else round(others, 3),
        "gpu_processes": before.gpu_processes,
        "is_contended": is_contended,
    }


def _cores() -> set[int]:
    """Return the cores that this process may use; empty where the system doesn't say."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _busy_s() -> float | None:
    """Return the seconds that these cores have been busy, a host's other guests included."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
        names = {f"cpu{core}" for core in _cores()}
        rows = [line.split() for line in lines if line.split(" ", 1)[0] in names]
        # user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in user already
        ticks = sum(int(row[index]) for row in rows for index in (1, 2, 3, 6, 7, 8))
        return ticks / os.sysconf("SC_CLK_TCK") if rows else None
    except (OSError, ValueError, IndexError):
        return None


def _gpu_processes() -> int:
    """Count the processes on the GPUs that this process may use."""
    visible = visible_gpus()
    if not visible:
        return 0
    listed = output_of("nvidia-smi", "--query-compute-apps=gpu_uuid", "--format=csv,noheader") or ""
    return sum(line.strip() in visible for line in listed.splitlines())
