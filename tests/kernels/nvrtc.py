"""Compile kernels as CuPy would, for any architecture, without a GPU; read what came out off the machine code.

`cupy.RawModule` assembles the options, calls NVRTC and loads the result. Two things below it need a device: finding out
its architecture, and loading. Both are replaced here, and nothing else, so options, include paths and their order are
CuPy's own. The names are private to CuPy: its version is bounded in pyproject.toml, and one without them fails loudly.

Machine code is 16-byte instructions on every architecture since Volta. Opcode and access width were found by compiling
accesses of known width; `test_nvrtc` does that again for every architecture, so a new encoding fails there.
"""

import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from crossbow_lab.kernels.compile import OPTIONS

cupy = pytest.importorskip("cupy", reason="CuPy is not installed: pip install 'crossbow-lab[test]'")
compiler = pytest.importorskip("cupy.cuda.compiler")
try:
    VERSION = compiler.nvrtc.getVersion()
except Exception as error:
    pytest.skip(f"NVRTC is not installed ({error}): pip install 'crossbow-lab[test]'", allow_module_level=True)

ARCHITECTURES = ("75", "80", "90", "100")
"""Turing (the oldest that NVRTC 13 knows), Ampere, Hopper, Blackwell."""

_ACCESSES = {0x381: "load", 0x981: "load", 0x386: "store", 0x986: "store", 0x983: "local load", 0x387: "local store"}
_WIDTHS = (8, 8, 16, 16, 32, 64, 128)
_ELF_NOBITS = 8  # a section without content in the file
_SIZED = 4  # the form of an attribute in .nv.info whose value follows it
_REGISTERS, _FRAME, _PARAMETER, _MOST_THREADS = 0x2F, 0x11, 0x17, 0x05


@dataclass(frozen=True)
class Compiled:
    """One kernel's machine code, read.

    Attributes
    ----------
    registers : per thread.
    most_threads : that a block may have, as the source declares it.
    stack_bytes : local memory per thread, which holds what was spilt; 0 means that nothing was.
    shared_bytes : per block, static.
    parameter_bytes : size of each parameter, in order.
    accesses : (space and direction, bits) -> number of instructions, such as ``("load", 128) -> 4``.
    """

    registers: int
    most_threads: int
    stack_bytes: int
    shared_bytes: int
    parameter_bytes: tuple[int, ...]
    accesses: Counter[tuple[str, int]]


def compile_all(code: str, expressions: tuple[str, ...], architecture: str) -> dict[str, Compiled]:
    """Compile instantiations of one source in one program, with the options of the package, and read them."""
    with _without_device(architecture) as loaded:
        module = cupy._core.core.compile_with_cache(
            code, OPTIONS, arch=architecture, prepend_cupy_headers=False, name_expressions=expressions
        )
    assert loaded, f"CuPy {cupy.__version__} loads modules in another way; adapt this helper"
    kernels = _read(loaded[0])
    return {expression: kernels[module.mapping[expression]] for expression in expressions}


@contextmanager
def _without_device(architecture: str) -> Iterator[list[bytes]]:
    """Let CuPy compile for an architecture and keep the machine code instead of loading it."""
    for owner, name in ((compiler, "_get_arch_for_options_for_nvrtc"), (cupy.cuda.function, "Module")):
        assert hasattr(owner, name), f"CuPy {cupy.__version__} has no {owner.__name__}.{name}; adapt this helper"
    loaded: list[bytes] = []

    class Kept(cupy.cuda.function.Module):  # type: ignore[misc]
        def load(self, cubin: bytes) -> None:
            loaded.append(bytes(cubin) + b"\0")  # CuPy takes the last byte for the end of a text

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUPY_CACHE_IN_MEMORY", "1")  # what an earlier run left on disk would hide a failure
        patch.setattr(compiler, "_get_arch_for_options_for_nvrtc", lambda _=None: (f"-arch=sm_{architecture}", "cubin"))
        patch.setattr(cupy.cuda.function, "Module", Kept)
        yield loaded


def _read(cubin: bytes) -> dict[str, Compiled]:
    """Read every kernel of a file of machine code, by its mangled name."""
    sections = _sections(cubin)
    numbers = {(kernel, attribute): value for kernel, attribute, value in _kernel_attributes(sections)}
    names = [name.removeprefix(".text.") for name in sections if name.startswith(".text.")]
    return {
        name: Compiled(
            registers=numbers[name, _REGISTERS],
            most_threads=_most_threads(sections[f".nv.info.{name}"]),
            stack_bytes=numbers[name, _FRAME],
            shared_bytes=len(sections.get(f".nv.shared.{name}", b"")),
            parameter_bytes=_parameter_bytes(sections[f".nv.info.{name}"]),
            accesses=Counter(_accesses(sections[f".text.{name}"])),
        )
        for name in names
    }


def _sections(elf: bytes) -> dict[str, bytes]:
    """Return the sections of a 64-bit ELF file by name; one without content as zeros."""
    assert elf[:5] == b"\x7fELF\x02", "the compiler's output is no 64-bit ELF file"
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    entry_bytes, n_entries, names_index = struct.unpack_from("<HHH", elf, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + i * entry_bytes) for i in range(n_entries)]
    names = headers[names_index][4]
    return {
        _text(elf, names + name): bytes(size) if kind == _ELF_NOBITS else elf[offset : offset + size]
        for name, kind, _, _, offset, size in headers
    }


def _text(data: bytes, start: int) -> str:
    """Return the text that ends at the next zero."""
    return data[start : data.index(b"\0", start)].decode()


def _attributes(info: bytes) -> Iterator[tuple[int, bytes]]:
    """Iterate over the attributes of a .nv.info section that have a value of their own."""
    position = 0
    while position < len(info):
        form, attribute, size = struct.unpack_from("<BBH", info, position)
        position += 4
        if form == _SIZED:
            yield attribute, info[position : position + size]
            position += size


def _kernel_attributes(sections: dict[str, bytes]) -> Iterator[tuple[str, int, int]]:
    """Iterate over (kernel, attribute, value) of the attributes that are kept for all kernels together."""
    symbols, names = sections[".symtab"], sections[".strtab"]
    for attribute, value in _attributes(sections[".nv.info"]):
        if len(value) == 8:
            symbol, number = struct.unpack("<II", value)
            (name,) = struct.unpack_from("<I", symbols, symbol * 24)
            yield _text(names, name), attribute, number


def _parameter_bytes(info: bytes) -> tuple[int, ...]:
    """Return the size of each parameter of one kernel, in order."""
    words = [struct.unpack("<IHHI", value) for attribute, value in _attributes(info) if attribute == _PARAMETER]
    return tuple(word >> 18 for _, _, _, word in sorted(words, key=lambda entry: entry[1]))


def _most_threads(info: bytes) -> int:
    """Return the launch bound of one kernel; the hardware's own where it declares none."""
    bounds = (struct.unpack("<III", value)[0] for attribute, value in _attributes(info) if attribute == _MOST_THREADS)
    return next(bounds, 1024)


def _accesses(code: bytes) -> Iterator[tuple[str, int]]:
    """Iterate over the accesses to global and local memory of one kernel's instructions."""
    for position in range(0, len(code), 16):
        instruction = int.from_bytes(code[position : position + 16], "little")
        kind = _ACCESSES.get(instruction & 0xFFF)
        if kind is not None:
            yield kind, _WIDTHS[instruction >> 73 & 7]
