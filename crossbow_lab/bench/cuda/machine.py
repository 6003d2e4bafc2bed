"""What a measurement on a GPU was made on: the card, its clocks and driver, CUDA and what compiles for it."""

import platform
import shutil
import subprocess
import sys
from typing import Any

import torch

from crossbow_lab.bench.machine import describe_machine
from crossbow_lab.runs.environment import packages

SMI_KEYS = (
    "name",
    "driver_version",
    "memory.total",
    "memory.used",
    "clocks.sm",
    "clocks.mem",
    "clocks.max.sm",
    "clocks.max.mem",
    "power.draw",
    "power.limit",
    "temperature.gpu",
    "utilization.gpu",
    "pstate",
    "ecc.mode.current",
)
_PACKAGES = ("torch", "numpy", "cupy-cuda13x", "cupy-cuda12x", "nvidia-cuda-nvrtc", "triton")
_SMI_TIMEOUT_S = 10


def describe_gpu_machine(device: torch.device) -> dict[str, Any]:
    """Describe this machine and a device of it; what can't be found out is None, and says why where it can.

    Parameters
    ----------
    device : torch.device
        On one that isn't CUDA's, what concerns the GPU stays empty.

    Returns
    -------
    dict
        Plain JSON values: as `describe_machine`, and ``gpu``, ``settings``.
    """
    machine = describe_machine()
    machine["packages"] = packages(_PACKAGES)
    is_cuda = device.type == "cuda"
    machine["gpu"] = _gpu(device) if is_cuda else None
    machine["settings"] = {
        "matmul_allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
        "cudnn": torch.backends.cudnn.version() if is_cuda else None,  # type: ignore[no-untyped-call]
        "platform": platform.platform(),
        "python": sys.version.split()[0],
    }
    return machine


def gpu_now(device: torch.device) -> dict[str, str] | None:
    """Return clocks, power and temperature at this moment; None where nvidia-smi doesn't say."""
    if device.type != "cuda":
        return None
    return parse_smi(_smi(str(torch.cuda.get_device_properties(device).uuid)))


def parse_smi(text: str | None) -> dict[str, str] | None:
    """Read one line of ``nvidia-smi --query-gpu=... --format=csv,noheader``; None for anything else.

    Examples
    --------
    >>> parse_smi("no devices were found")
    """
    lines = [line for line in (text or "").splitlines() if line.strip()]
    cells = [cell.strip() for cell in lines[0].split(",")] if len(lines) == 1 else []
    return dict(zip(SMI_KEYS, cells, strict=True)) if len(cells) == len(SMI_KEYS) else None


def gpu_line(machine: dict[str, Any]) -> str:
    """Return one line that says which GPU, driver and versions a result was measured with."""
    gpu = machine["gpu"]
    if gpu is None:
        return "no GPU: numbers mean nothing"
    now = gpu["nvidia_smi"] or {}
    parts = (
        f"{gpu['name']} (sm_{gpu['capability']}), {gpu['multiprocessors']} multiprocessors",
        f"{gpu['memory_bytes'] / 2**30:.0f} GiB, L2 {gpu['l2_bytes'] / 2**20:.0f} MiB",
        f"driver {now.get('driver_version', 'unknown')}, clocks {now.get('clocks.sm', '?')} of "
        f"{now.get('clocks.max.sm', '?')}, memory {now.get('clocks.mem', '?')}",
        f"CUDA {gpu['cuda']}, CuPy {_version(machine, 'cupy')}, NVRTC {_version(machine, 'nvidia-cuda-nvrtc')}",
    )
    return "; ".join(parts)


def _version(machine: dict[str, Any], name: str) -> str:
    """Return the version of the first installed package whose name begins so."""
    found = (version for package, version in machine["packages"].items() if package.startswith(name) and version)
    return next(found, "unknown")


def _gpu(device: torch.device) -> dict[str, Any]:
    """Describe a CUDA device."""
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "capability": f"{properties.major}{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "free_bytes": torch.cuda.mem_get_info(device)[0],
        "l2_bytes": properties.L2_cache_size,
        "cuda": torch.version.cuda,
        "nvidia_smi": gpu_now(device),
    }


def _smi(uuid: str) -> str | None:
    """Ask nvidia-smi about the device with this identifier."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    named = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
    command = [program, f"--id={named}", f"--query-gpu={','.join(SMI_KEYS)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SMI_TIMEOUT_S)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
