"""What a measurement was made on: the machine, the versions, what decides how fast torch is, and the neighbours."""

import os
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch

from crossbow_lab.runs.environment import code_version, hardware, packages

_STAT = Path("/proc/stat")


def describe_machine() -> dict[str, Any]:
    """Describe this machine and the software on it, load average included.

    Returns
    -------
    dict
        Plain JSON values: ``hardware``, ``code``, ``packages`` (as in a run's record) and ``torch``.
    """
    return {
        "hardware": hardware(),
        "code": code_version(),
        "packages": packages(("torch", "numpy", "jax")),
        "torch": {
            "threads": torch.get_num_threads(),
            "interop_threads": torch.get_num_interop_threads(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "mkl": torch.backends.mkl.is_available(),  # type: ignore[no-untyped-call]
            "onednn": torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]
        },
    }


@dataclass(frozen=True)
class Usage:
    """Clocks at one moment: wall, this process's CPU time, and all CPU time that the machine spent, in seconds."""

    wall_s: float
    own_s: float
    all_s: float | None


def usage() -> Usage:
    """Read the clocks; where the system doesn't count the machine's CPU time, that one is None."""
    return Usage(perf_counter(), process_time(), _machine_s())


def neighbours_cores(before: Usage, after: Usage) -> float | None:
    """Say how many cores other processes kept busy between two readings.

    On a busy machine two OpenMP threads that wait for each other can be a hundred times slower than on a quiet one,
    so a timing says little unless this is near 0.

    Parameters
    ----------
    before, after : Usage
        Two readings.

    Returns
    -------
    float or None
        Mean number of busy cores, this process's own not counted; None where it can't be known.

    Examples
    --------
    >>> neighbours_cores(Usage(0.0, 0.0, 100.0), Usage(10.0, 12.0, 117.0))
    0.5
    """
    if before.all_s is None or after.all_s is None:
        return None
    others_s = (after.all_s - before.all_s) - (after.own_s - before.own_s)
    return max(0.0, others_s / (after.wall_s - before.wall_s))


def _machine_s() -> float | None:
    """Return the CPU seconds that the machine has spent on anything but idling."""
    try:
        fields = [int(field) for field in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
        ticks_per_s = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
    user, nice, system, _idle, _waiting, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / ticks_per_s
