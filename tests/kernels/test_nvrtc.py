"""Every kernel compiles as on a device, spills nothing, and moves rows 128 bits at a time; no GPU is needed."""

from collections import Counter

import pytest
from nvrtc import ARCHITECTURES, Compiled, compile_all

from crossbow_lab.kernels import averaging, batches, landscape
from crossbow_lab.kernels.kernel import Kernel, Template
from crossbow_lab.kernels.sources import source

VARIANTS = [*averaging.variants(), *batches.variants(), *landscape.variants()]
FILES = list(dict.fromkeys(kernel.file for kernel, _ in VARIANTS))
PARAMETER_BYTES = {"pointer": 8, "i32": 4, "i64": 8}
SHARED_BYTES = 1024  # of our own; from sm_90 on the system takes as much again
REGISTER_FILE = 65_536  # of a multiprocessor, of every architecture

# At most so many registers a thread, in float and 16-bit types, and in double. Twice as many threads fit at half of it.
REGISTERS = {
    "sma_update": (80, 128),
    "easgd_update": (80, 128),
    "sma_correct": (128, 128),
    "sma_average": (72, 112),
    "easgd_average": (64, 96),
    "square_sums": (32, 32),
    "sgd_update": (64, 88),
    "ssgd_update": (64, 88),
    "gather_inputs": (96, 96),
    "gather_targets": (64, 64),
    "advance": (16, 16),
    "landscape_run": (80, 128),
}
# Rows that a kernel reads and writes: w, g are of the weights' type, all others of the arithmetic type.
ROWS = {
    "sma_update": ("wgvze", "wvze"),
    "easgd_update": ("wgvz", "wvz"),
    "sma_correct": ("wgvz", "wvd"),
    "sma_average": ("zed", "ze"),
    "easgd_average": ("zd", "z"),
    "sgd_update": ("wgv", "wv"),
    "ssgd_update": ("wge", "wze"),
}
SIZES = {"float": 4, "double": 8, "__half": 2, "__nv_bfloat16": 2}
TAIL = """\
    if ((tile + 1) * kTile <= n)
      work(row, Place<T, true>(tile, n));
    else
      work(row, Place<T, false>(tile, n));
"""
DECLARATIONS = {"load": "Own<X> load(", "store": "void store("}

Variant = tuple[Kernel, Template]
# One architecture always; the slow rest leaves out what that has covered.
LEAN = "90"
all_architectures = pytest.mark.parametrize(
    ("architecture", "is_lean"),
    [(LEAN, True), *(pytest.param(name, False, marks=pytest.mark.slow) for name in ARCHITECTURES)],
    ids=lambda value: {True: "float", False: "rest"}[value] if isinstance(value, bool) else f"sm_{value}",
)


def _is_lean(template: Template) -> bool:
    """Say whether an instantiation is of the type that most people train with."""
    return not {"double", "__half", "__nv_bfloat16"} & set(template)


def _compile_text(text: str, variants: list[Variant], architecture: str) -> list[tuple[Variant, Compiled]]:
    """Compile instantiations of this text."""
    compiled = compile_all(text, tuple(kernel.expression(template) for kernel, template in variants), architecture)
    return list(zip(variants, compiled.values(), strict=True))


def _misfits(kernel: Kernel, template: Template, compiled: Compiled) -> list[str]:
    """Say what is wrong with the resources of one kernel."""
    limit = REGISTERS[kernel.name]["double" in template]
    declared = tuple(PARAMETER_BYTES[parameter.kind] for parameter in kernel.parameters)
    claims = {
        f"spills: {compiled.stack_bytes} bytes of stack": compiled.stack_bytes == 0,
        f"touches local memory: {compiled.accesses}": not any("local" in kind for kind, _ in compiled.accesses),
        f"{compiled.registers} registers, at most {limit} are allowed": compiled.registers <= limit,
        f"{compiled.most_threads} threads of {compiled.registers} registers can't be launched": (
            compiled.most_threads * compiled.registers <= REGISTER_FILE
        ),
        f"{compiled.shared_bytes} bytes of shared memory": compiled.shared_bytes <= SHARED_BYTES + 1024,
        f"parameters of {compiled.parameter_bytes} bytes": compiled.parameter_bytes == declared,
    }
    return [f"{kernel.expression(template)}: {claim}" for claim, holds in claims.items() if not holds]


def _narrow(kernel: Kernel, template: Template, compiled: Compiled) -> list[str]:
    """Say which accesses of one kernel, compiled without the end of a row, are not 128 bits wide."""
    weights = SIZES[str(template[0])]
    sizes = Counter({"w": weights, "g": weights})
    has_velocity, has_norms = (*template[1:], False, False)[:2]
    # Beside rows a thread reads the five scalars, and writes three sums, twice as many for each turn that is unrolled.
    beside = {"load": 5, "store": 12 if has_norms else 0}
    problems = []
    for kind, rows in zip(("load", "store"), ROWS[kernel.name], strict=True):
        moved = [sizes[row] or max(weights, 4) for row in rows if row != "v" or has_velocity]
        wide = compiled.accesses[kind, 128]
        narrow = sum(count for (own, bits), count in compiled.accesses.items() if own == kind and bits < 128)
        if wide < sum(8 * size // 16 for size in moved) or narrow > beside[kind]:
            problems.append(f"{kernel.expression(template)}: {wide} wide and {narrow} narrow {kind}s")
    return problems


def _without_tail(text: str) -> str:
    """Leave out what handles the end of a row, element by element, so that only the main path is compiled."""
    assert text.count(TAIL) == 1, "the source treats the end of a row in another way: adapt TAIL"
    return text.replace(TAIL, "work(row, Place<T, true>(tile, n));\n")


@all_architectures
@pytest.mark.parametrize("file", FILES)
def test_kernels_compile_without_spills_and_can_be_launched(file: str, architecture: str, is_lean: bool) -> None:
    """With the options of a device, within the registers that they are known to need."""
    is_wanted = (True,) if is_lean else (False,) if architecture == LEAN else (True, False)
    variants = [(k, t) for k, t in VARIANTS if k.file == file and _is_lean(t) in is_wanted]
    compiled = _compile_text(source(file), variants, architecture)
    assert not [misfit for variant, result in compiled for misfit in _misfits(*variant, result)]


@all_architectures
@pytest.mark.parametrize("file", sorted({kernel.file for kernel, _ in VARIANTS if kernel.name in ROWS}))
def test_rows_are_moved_128_bits_at_a_time(file: str, architecture: str, is_lean: bool) -> None:
    """Narrower accesses are for the end of a row, scalars and sums. Other types than float on one architecture."""
    is_wanted = architecture != LEAN or is_lean
    variants = [(k, t) for k, t in VARIANTS if k.file == file and k.name in ROWS and _is_lean(t) == is_wanted]
    compiled = _compile_text(_without_tail(source(file)), variants, architecture)
    assert not [problem for variant, result in compiled for problem in _narrow(*variant, result)]


def test_a_spill_is_noticed() -> None:
    """Eight blocks on a multiprocessor leave 32 registers to a thread, and the stack takes the rest."""
    text = source("sgd.cu").replace("__launch_bounds__(256, 2)", "__launch_bounds__(256, 8)")
    variants = [(averaging.SGD_UPDATE, ("float", True))]
    [(variant, compiled)] = _compile_text(text, variants, "90")
    assert any("spills" in misfit for misfit in _misfits(*variant, compiled))


@pytest.mark.parametrize("function", ["load", "store"])
def test_narrow_accesses_are_noticed(function: str) -> None:
    """With accesses of 64 bits in place of those of 128 in the load, or in the store."""
    before, start, after = _without_tail(source("sgd.cu")).partition(
        f"__device__ __forceinline__ {DECLARATIONS[function]}"
    )
    assert start
    body, end, rest = after.partition("\n}\n")
    text = before + start + body.replace("uint4", "uint2") + end + rest
    [(variant, compiled)] = _compile_text(text, [(averaging.SGD_UPDATE, ("float", False))], "90")
    assert any(problem.endswith(f"{function}s") for problem in _narrow(*variant, compiled))


PROBE = """
__global__ void probe(float4 *a, float2 *b, float *c, short *d, char *e, int k, long long n) {
  int own[100];
  own[k] = k, own[n] = 1;
  const int i = threadIdx.x;
  float4 wide = a[i];
  const float2 half = b[i];
  const float one = c[i] + d[i] + e[i] + own[i] + half.x + half.y;
  wide.x += one, wide.y += one, wide.z += one, wide.w += one;
  a[i] = wide, b[i] = {one, half.y + 1}, c[i] = one, d[i] = (short)one, e[i] = (char)one;
}
"""


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_machine_code_is_read_rightly(architecture: str) -> None:
    """Accesses of known widths, to global and to local memory, and parameters and registers of known sizes."""
    found = compile_all(PROBE, ("probe",), architecture)["probe"]
    assert found.parameter_bytes == (8, 8, 8, 8, 8, 4, 8)
    assert found.stack_bytes == 400
    assert 16 < found.registers < 64
    for bits in (128, 64, 16, 8):
        assert (found.accesses["load", bits], found.accesses["store", bits]) == (1, 1)
    assert found.accesses["store", 32] == 1
    assert found.accesses["local load", 32] == 1
    assert found.accesses["local store", 32] >= 1
