"""Runs the kernels' sources on the CPU: g++ compiles them with the headers in emulator/, threads become fibers.

`Emulator.launch` takes the place of `crossbow_lab.kernels.launch.launch`, so that doors, their checks and their packed
arguments are those of the device. Arguments are checked against the C++ signature: widths, pointees, tensors' dtypes.
What this can and can't show is said at the top of emulator/cuda_emulator.h.
"""

import ctypes
import functools
import hashlib
import mmap
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossbow_lab.kernels import averaging, batches, landscape
from crossbow_lab.kernels.kernel import Kernel, Template, pack
from crossbow_lab.kernels.sources import source

HEADERS = Path(__file__).with_name("emulator")
THREAD_ORDERS = ("ascending", "descending", "shuffled", "scattered", "lockstep")
BLOCK_ORDERS = ("ascending", "descending", "shuffled")
# No contraction: + - * / round once each. Checks trap, so they need no library and end a launch, not the process.
OPTIONS = ("-std=c++17", "-O1", "-march=native", "-fPIC", "-shared", "-ffp-contract=off", "-fno-strict-aliasing")
OPTIONS += ("-fvisibility=hidden", "-U_FORTIFY_SOURCE", "-fsanitize-undefined-trap-on-error")
OPTIONS += ("-fsanitize=alignment,signed-integer-overflow,bounds",)
SANITIZED = ("-fsanitize=undefined",)  # all checks there are, at twice the time to compile

_SCALARS = {"i32": ctypes.c_int32, "u32": ctypes.c_uint32, "i64": ctypes.c_int64, "u64": ctypes.c_uint64}
_DTYPES = {
    torch.float64: "f64",
    torch.float32: "f32",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.uint8: "u8",
}
_PAGE = mmap.PAGESIZE


class EmulationError(RuntimeError):
    """A kernel broke a rule of CUDA, or touched memory that isn't its."""


class CompilationError(RuntimeError):
    """A kernel's source is no C++, or not what the emulator knows of CUDA."""


@dataclass(frozen=True)
class Schedule:
    """In which order threads and blocks run, and what else is none of the kernel's business."""

    threads: str = "ascending"
    blocks: str = "ascending"
    seed: int = 0
    grid: int | None = None  # these many blocks, of these many threads, instead of what the caller asks for
    block: int | None = None
    only_blocks: tuple[int, int] = (0, -1)  # first and last + 1 of those that run


_ASCENDING = Schedule()


class _CSchedule(ctypes.Structure):
    """The emulator's struct of the same name."""

    _fields_ = (
        ("threads", ctypes.c_int),
        ("blocks", ctypes.c_int),
        ("seed", ctypes.c_uint),
        ("flush_denormals", ctypes.c_int),
        ("first_block", ctypes.c_longlong),
        ("last_block", ctypes.c_longlong),
    )


@dataclass(frozen=True)
class Emulated:
    """One instantiation of a kernel, compiled for the CPU."""

    expression: str
    signature: tuple[str, ...]
    function: Callable[..., int]
    failure: Callable[[], bytes]

    def __call__(self, grid: int, block: int, arguments: Sequence[Any], schedule: Schedule = _ASCENDING) -> None:
        """Run it on NumPy scalars as `pack` makes them, or on CPU tensors in place of their addresses.

        Raises
        ------
        TypeError
            If the arguments don't fit the C++ signature.
        EmulationError
            If the kernel breaks a rule.
        """
        if len(arguments) != len(self.signature):
            raise TypeError(f"{self.expression} has {len(self.signature)} parameters, {len(arguments)} were given")
        values = [self._value(*pair) for pair in zip(arguments, self.signature, strict=True)]
        addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        order = _CSchedule(
            THREAD_ORDERS.index(schedule.threads),
            BLOCK_ORDERS.index(schedule.blocks),
            schedule.seed,
            "double" not in self.expression,  # CuPy compiles with -ftz=true, which is about float only
            *schedule.only_blocks,
        )
        triple = ctypes.c_uint * 3
        if self.function(addresses, triple(grid, 1, 1), triple(block, 1, 1), ctypes.byref(order)):
            raise EmulationError(f"{self.expression}: {self.failure().decode()}")

    def _value(self, argument: Any, parameter: str) -> Any:
        """Return one argument as the C value that the signature asks for."""
        if not parameter.endswith("*"):
            if parameter != f"{argument.dtype.kind}{8 * argument.dtype.itemsize}":
                raise TypeError(f"{self.expression} takes {parameter}, {argument.dtype} was given")
            return _SCALARS[parameter](int(argument))
        if not isinstance(argument, Tensor):
            return ctypes.c_void_p(0 if argument is None else int(argument))
        if argument.device.type != "cpu" or _DTYPES[argument.dtype] != parameter.removeprefix("const ")[:-1]:
            raise TypeError(f"{self.expression} takes {parameter}, {argument.dtype} on {argument.device} was given")
        return ctypes.c_void_p(argument.data_ptr())


@dataclass
class Emulator:
    """What tests put in the place of the device: a schedule, and a launch with the signature of the real one."""

    schedule: Schedule = _ASCENDING
    options: tuple[str, ...] = ()
    texts: dict[str, str] = field(default_factory=dict)  # to compile instead of a file's own text
    launched: list[str] = field(default_factory=list)

    def launch(
        self, kernel: Kernel, template: Template, grid: int, block: int, values: Mapping[str, Any], device: torch.device
    ) -> None:
        """Run a kernel on CPU tensors; see `crossbow_lab.kernels.launch.launch`."""
        packed = pack(kernel, values)
        if device.type != "cpu":
            raise TypeError(f"the emulator stands for the device that the tensors are on, the CPU, not for {device}")
        if grid == 0:
            return
        expression = kernel.expression(template)
        self.launched.append(expression)
        tensors = [values[parameter.name] for parameter in kernel.parameters]
        arguments = [t if isinstance(t, Tensor) else p for t, p in zip(tensors, packed, strict=True)]
        text = self.texts.get(kernel.file)
        expressions = siblings(kernel, expression) if text is None else (expression,)
        run = build(kernel.file, expressions, text=text, options=self.options)[expression]
        run(self.schedule.grid or grid, self.schedule.block or block, arguments, self.schedule)


def why_not() -> str | None:
    """Say why kernels can't be emulated here; None if they can."""
    if platform.machine() != "x86_64":
        return f"the emulator switches stacks in x86-64 instructions, this machine is {platform.machine()}"
    return None if shutil.which("g++") else "g++ is missing, which compiles the kernels for the CPU"


@functools.cache
def siblings(kernel: Kernel, expression: str) -> tuple[str, ...]:
    """Return what to compile in one go with an expression: the file's other instantiations, if the doors list them."""
    variants = [*averaging.variants(), *batches.variants(), *landscape.variants()]
    known = [own.expression(template) for own, template in variants if own.file == kernel.file]
    return tuple(known) if expression in known else (expression,)


@functools.cache
def build(
    file: str, expressions: tuple[str, ...], *, text: str | None = None, options: tuple[str, ...] = ()
) -> dict[str, Emulated]:
    """Compile instantiations of a file's kernels into one library; return them by expression.

    Parameters
    ----------
    file : str
        Name of a file in cuda/.
    expressions : tuple of str
        Such as ``("sgd_update<float, true>",)``.
    text : str, optional
        Compile this instead of the file's text.
    options : tuple of str
        Compiler options besides the usual, such as `SANITIZED`.

    Raises
    ------
    CompilationError
        If it doesn't compile.
    """
    unit = "\n".join(
        (
            '#include "cuda_emulator.h"\n#include "cuda_fp16.h"\n#include "cuda_bf16.h"',
            source(file) if text is None else f'#line 1 "{file}"\n{text}',
            *(f"EMULATE({number}, {expression})" for number, expression in enumerate(expressions)),
        )
    )
    headers = "".join(path.read_text(encoding="utf-8") for path in sorted(HEADERS.iterdir()))
    key = repr((unit, headers, OPTIONS, options, _compiler()))
    library = _folder() / f"{Path(file).stem}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.so"
    if not library.exists():
        _compile(unit, library, options)
    loaded = ctypes.PyDLL(str(library))  # holds Python's lock: there is one scheduler, for whichever thread launches
    loaded.emulated_failure.restype = ctypes.c_char_p
    return {
        expression: Emulated(
            expression,
            tuple(_text(loaded, f"emulated_signature_{number}").split(",")),
            getattr(loaded, f"emulated_launch_{number}"),
            loaded.emulated_failure,
        )
        for number, expression in enumerate(expressions)
    }


def guarded(*shape: int, dtype: torch.dtype = torch.float32, fill: float = float("nan"), at_end: bool = True) -> Tensor:
    """Return a tensor whose memory ends, or begins, at a page that may not be touched, to 16 bytes."""
    n_bytes = torch.Size(shape).numel() * dtype.itemsize
    padded = -(-n_bytes // 16) * 16
    inside = -(-max(padded, 1) // _PAGE) * _PAGE
    memory = mmap.mmap(-1, inside + 2 * _PAGE)
    tensor = torch.frombuffer(
        memory, dtype=dtype, count=max(n_bytes // dtype.itemsize, 1), offset=_PAGE + (inside - padded if at_end else 0)
    )[: n_bytes // dtype.itemsize]
    start = tensor.data_ptr() - (inside - padded if at_end else 0)
    for page in (start - _PAGE, start + inside):
        if ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(page), ctypes.c_size_t(_PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect failed")
    return tensor.fill_(fill).view(shape)


def _text(library: ctypes.CDLL, name: str) -> str:
    """Call a function that returns a C string."""
    function = getattr(library, name)
    function.restype = ctypes.c_char_p
    return function().decode()


def _compile(unit: str, library: Path, options: Iterable[str]) -> None:
    """Run g++; the library appears only once it is whole, because several processes may share the folder."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        path = Path(scratch, "kernels.cpp")
        path.write_text(unit, encoding="utf-8")
        command = ["g++", *OPTIONS, *options, f"-I{HEADERS}", str(path), "-o", f"{scratch}/kernels.so"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CompilationError(f"{' '.join(command)}\n{done.stderr}")
        Path(scratch, "kernels.so").replace(library)


@functools.cache
def _compiler() -> str:
    """Return what the compiler says of itself and of this processor."""
    command = ["g++", "-march=native", "-dM", "-E", "-x", "c++", os.devnull]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@functools.cache
def _folder() -> Path:
    """Return where libraries are kept: CROSSBOW_KERNEL_CACHE, else a folder that lives as long as this process."""
    named = os.environ.get("CROSSBOW_KERNEL_CACHE")
    return Path(named) if named else Path(_temporary().name)


@functools.cache
def _temporary() -> "tempfile.TemporaryDirectory[str]":
    """Make a folder that is removed at exit."""
    return tempfile.TemporaryDirectory(prefix="crossbow-kernels-")
