"""Compiles kernels through CuPy when they are first needed, and says why it can't.

The only module that imports cupy, and only once a kernel is to be compiled: everything else works without it.
"""

import importlib.util
import threading
import warnings
from collections.abc import Iterable
from importlib import metadata
from typing import Any

import torch

from crossbow_lab.errors import DeviceUnavailable, KernelError
from crossbow_lab.kernels.kernel import Kernel, Template
from crossbow_lab.kernels.sources import source

# Arithmetic is spelled out with one rounding each (*_rn), so contraction has nothing to win here and must not change
# what the emulation on the CPU proves. -lineinfo costs nothing at run time; sanitizers and profilers show lines by it.
# CuPy itself appends -ftz=true and the device's architecture.
OPTIONS = ("-std=c++17", "-fmad=false", "-lineinfo")

_functions: dict[tuple[Kernel, Template, int], Any] = {}
_compiling = threading.Lock()


def function(kernel: Kernel, template: Template, device: torch.device) -> Any:
    """Return a compiled and loaded kernel; the first call for a device compiles it, about half a second.

    Parameters
    ----------
    kernel : Kernel
    template : tuple of str or bool
        See `Kernel.expression`.
    device : torch.device
        A CUDA device, with or without its index.

    Returns
    -------
    cupy.RawKernel
        Works on this device only: call it with the device current.

    Raises
    ------
    DeviceUnavailable
        If kernels can't run on this device; see `why_not`.
    KernelError
        If the source is missing, or it doesn't compile or load: with file, kernel, options and the compiler's log.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    key = kernel, template, index
    compiled = _functions.get(key)
    if compiled is None:
        with _compiling:  # CuPy would let two threads compile the same kernel
            compiled = _functions.get(key)
            if compiled is None:
                compiled = _functions[key] = _build(kernel, kernel.expression(template), torch.device("cuda", index))
    return compiled


def prepare(device: torch.device, variants: Iterable[tuple[Kernel, Template]]) -> None:
    """Compile and load kernels now: neither is allowed while a CUDA graph is captured.

    Parameters
    ----------
    device : torch.device
        A CUDA device.
    variants : iterable of (Kernel, template arguments)
        What will be launched.

    Raises
    ------
    DeviceUnavailable, KernelError
        As `function`.
    """
    for kernel, template in variants:
        function(kernel, template, device)


def check(device: torch.device) -> None:
    """Refuse a device on which kernels can't run.

    Raises
    ------
    DeviceUnavailable
        With what `why_not` says.
    """
    reason = why_not(device)
    if reason is not None:
        raise DeviceUnavailable(reason)


def why_not(device: torch.device) -> str | None:
    """Say why kernels can't run on a device and what to do about it; None if they can. Raises nothing.

    Looks at the driver, the device, torch's CUDA version, CuPy's and NVRTC. Doesn't compile anything.

    Parameters
    ----------
    device : torch.device
    """
    if device.type != "cuda":
        return f"CUDA kernels don't run on {device}; use device='cuda', or the torch rules of crossbow_lab.averaging"
    return _no_device(device) or no_cupy()


def no_cupy() -> str | None:
    """Say why this installation can't compile kernels, GPU or not; None if it can. Raises nothing."""
    major = (torch.version.cuda or "").partition(".")[0]
    wanted = f"pip install 'crossbow-lab[cuda{major}]'" if major else "pip install 'crossbow-lab[cuda12]' or [cuda13]"
    try:
        if importlib.util.find_spec("cupy") is None:
            return f"CuPy, which compiles the CUDA kernels, is missing: {wanted}"
        import cupy

        theirs = str(cupy.cuda.runtime.runtimeGetVersion() // 1000)
        if major and theirs != major:
            found = ", ".join(_cupy_packages()) or f"cupy {cupy.__version__}"
            return (
                f"{found} is for CUDA {theirs}, but torch {torch.__version__} is for CUDA {torch.version.cuda}; one "
                f"process needs one: pip uninstall {' '.join(_cupy_packages()) or 'cupy'}, then {wanted}"
            )
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:  # a broken installation fails in any way; whichever it is, it is the answer
        return (
            f"CuPy is installed but doesn't work: {type(error).__name__}: {error}. CuPy and NVRTC must be there for "
            f"torch's CUDA version: {wanted}"
        )
    return None


def _no_device(device: torch.device) -> str | None:
    """Say why torch has no such CUDA device."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA, so there is no {device}; install torch's CUDA build"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of an old driver, then raises with the same words
            torch.cuda.current_device()
            count = torch.cuda.device_count()
    except Exception as error:  # no driver, one too old, a broken one: torch says which
        return f"torch finds no CUDA device: {error}. Check the driver with nvidia-smi"
    if device.index is not None and device.index >= count:
        there = ", ".join(f"cuda:{index}" for index in range(count)) or "none"
        return f"there is no {device}; this machine has: {there}"
    return None


def _cupy_packages() -> list[str]:
    """Return the installed packages that bring CuPy; several of them overwrite each other."""
    names = (distribution.metadata["Name"] for distribution in metadata.distributions())
    return sorted(name for name in names if name and name.lower().startswith("cupy"))


def _build(kernel: Kernel, expression: str, device: torch.device) -> Any:
    """Compile one instantiation and load it on the device."""
    check(device)
    import cupy

    code = source(kernel.file)
    try:
        with torch.cuda.device(device):
            module = cupy.RawModule(code=code, options=OPTIONS, name_expressions=(expression,))
            compiled = module.get_function(expression)
            _ = compiled.num_regs  # the driver loads lazily, at the first use; this is one that no capture can be under
    except Exception as error:  # CuPy's, NVRTC's and the driver's errors have no common class
        options = " ".join(getattr(error, "options", OPTIONS))
        raise KernelError(
            f"the CUDA kernel {expression} in cuda/{kernel.file} can't be compiled or loaded on {device}.\n"
            f"Options: {options}\n{type(error).__name__}: {error}\n"
            "If the sources are as installed, this is a defect of crossbow_lab or of the CUDA installation "
            "(crossbow-lab doctor shows it): please report it with this message."
        ) from error
    return compiled
