"""Bugs to plant in the averaging kernels, and the examination that has to notice each of them.

An edit of the kernels may break a planting, and then a test says so: adapt the lines here.
"""

from dataclasses import dataclass

import torch
from averaging_cases import bits, exact, last_columns, make_case, make_far_case, square_tiles, update
from emulated import THREAD_ORDERS, EmulationError, Emulator, Schedule, guarded

from crossbow_lab.kernels import averaging

RULES, VALUES, NORMS, ORDER, FAR = "rules of CUDA", "values", "norms", "order of threads", "far indices"


@dataclass(frozen=True)
class Mutant:
    """One planted bug: ``old`` becomes ``new`` in the text of cuda/FILE, its header included."""

    name: str
    file: str
    kernels: str  # what is examined: a rule of `averaging_cases.update`, or "square sums"
    old: str
    new: str
    noticed_by: str


# Lanes and warps; rows, tails and grids; arithmetic; shared memory.
MUTANTS = (
    Mutant("half a mask", "sma.cu", "sma", "(0xffffffffu, value", "(0x0000ffffu, value", RULES),
    Mutant("a sum ends one step early", "sma.cu", "sma", "distance > 0;", "distance > 1;", NORMS),
    Mutant(
        "lanes without elements leave", "sma.cu", "sma", "  value = w", "if (place.left <= 0) return;\nvalue = w", RULES
    ),
    Mutant("runs of four for all types", "sma.cu", "sma", "kRun = kPacketBytes / sizeof(T)", "kRun = 4", RULES),
    Mutant("row stride n", "sma.cu", "sma", "    w += ld;", "    w += place.n;", VALUES),
    Mutant("last learner left out", "easgd.cu", "easgd", "j < k; ++j) {", "j < k - 1; ++j) {", VALUES),
    Mutant("one read too many", "sgd.cu", "sgd", ".left) own.at[i]", ".left + 1) own.at[i]", RULES),
    Mutant("one write too many", "sma.cu", "sma", ".left) row[", ".left + 1) row[", RULES),
    Mutant("one write too few", "sma.cu", "sma", ".left) row[", ".left - 1) row[", VALUES),
    Mutant("last tile taken for whole", "sma.cu", "sma", "(tile + 1) * kTile <= n", "tile * kTile <= n", RULES),
    Mutant("stride of one block", "sma.cu", "sma", "item += n_warps", "item += blockDim.x / kWarp", VALUES),
    Mutant("one tile a warp", "easgd.cu", "easgd", "item += n_warps", "item = n * rows", VALUES),
    Mutant("32-bit rows", "sgd.cu", "sgd", "w + j * ld, place)", "w + int(j) * int(ld), place)", FAR),
    Mutant("32-bit elements", "easgd.cu", "easgd", "first(tile * kTile +", "first(int(tile) * kTile +", FAR),
    Mutant("partials a column short", "sma.cu", "sma", "row * n_tiles(place.n)", "row * (place.n / kTile)", NORMS),
    Mutant("α and μ swapped", "sma.cu", "sma", "alpha(values[1])", "alpha(values[2])", VALUES),
    Mutant("no weight decay", "sma.cu", "sma", "fma_rn(s.weight_decay, w, g)", "g", VALUES),
    Mutant("central momentum for local", "sgd.cu", "sgd", "v, s.local_momentum, s", "v, s.momentum, s", VALUES),
    Mutant("local velocity not kept", "sma.cu", "sma", "      store(v, place, v_j);\n", "", VALUES),
    Mutant(
        "sum of new differences",
        "sma.cu",
        "sma",
        "(total.at[i], d)",
        "(total.at[i], sub_rn(widen(w_j.at[i]), z.at[i]))",
        VALUES,
    ),
    Mutant("norm of new weights", "sma.cu", "sma", "(d, d, d_s", "(sub_rn(widen(w_j.at[i]), z.at[i]), d, d_s", NORMS),
    Mutant(
        "norm of decayed gradient",
        "easgd.cu",
        "easgd",
        "(g_i, g_i, g_s",
        "(g_i, fma_rn(s.weight_decay, w_i, g_i), g_s",
        NORMS,
    ),
    Mutant(
        "z moved before it is read",
        "sma.cu",
        "sma",
        "    const auto total",
        "    for (auto &z_i : centre.at) z_i = add_rn(z_i, s.momentum);\n    const auto total",
        VALUES,
    ),
    Mutant(
        "z without momentum",
        "sma.cu",
        "split sma",
        "(z.at[i], e.at[i])",
        "(z.at[i], mul_rn(s.alpha, total.at[i]))",
        VALUES,
    ),
    Mutant(
        "two roundings for one",
        "sma.cu",
        "split sma",
        "fma_rn(s.momentum, e.at[i], mul",
        "add_rn(mul_rn(s.momentum, e.at[i]), mul",
        VALUES,
    ),
    Mutant(
        "first difference only", "easgd.cu", "split easgd", "sum_of_rows(d, place, ld, k)", "load(d, place)", VALUES
    ),
    Mutant(
        "z rounded as w",
        "ssgd.cu",
        "ssgd",
        "weights.at[i]);\n    }",
        "weights.at[i]);\n centre.at[i] = widen(weights.at[i]);\n    }",
        VALUES,
    ),
    Mutant("uphill", "ssgd.cu", "ssgd", "-mul_rn(s.learning_rate", "mul_rn(s.learning_rate", VALUES),
    Mutant("no barrier", "sma.cu", "square sums", "  __syncthreads();\n", "", ORDER),
    Mutant("a barrier for some", "sma.cu", "square sums", "  __sync", "  if (threadIdx.x < 32) __sync", RULES),
    Mutant(
        "a warp's sum in its lane",
        "sma.cu",
        "square sums",
        "sums[threadIdx.x / kWarp]",
        "sums[threadIdx.x % kWarp]",
        VALUES,
    ),
    Mutant("one warp's sum", "sma.cu", "square sums", "add_rn(sum, part)", "part", VALUES),
)


def examine(kernels: str, emulator: Emulator) -> str:
    """Return what notices that the kernels are wrong, or "nothing"."""
    try:
        if kernels == "square sums":
            return _square_sums(emulator)
        noticed = _near(kernels, emulator)
    except EmulationError:
        return RULES
    if noticed == "nothing" and not kernels.startswith("split"):
        return _far(kernels, emulator)
    return noticed


def _near(rule: str, emulator: Emulator) -> str:
    """Compare states and partial sums: two tiles and a part of one for two warps, two types of weights."""
    for dtype, threads in ((torch.float32, "ascending"), (torch.float16, "scattered")):
        emulator.schedule = Schedule(threads, "descending", grid=2, block=32)
        case = make_case(1 if rule == "ssgd" else 3, 600, dtype, padding=8)
        norms = rule in ("sma", "easgd")
        before, tiles = case.state(), square_tiles(case)
        update(rule, case, local=True, norms=norms)
        expected = exact(rule.removeprefix("split "), before, case, local=rule != "ssgd")
        if any(bits(tensor) != bits(expected[name]) for name, tensor in case.state().items()):
            return VALUES
        if not case.gaps().isnan().all():
            return RULES
        if norms and not torch.allclose(case.partials.double(), tiles, rtol=2e-6, atol=2e-6):
            return NORMS
    return "nothing"


def _far(rule: str, emulator: Emulator) -> str:
    """Compare states beyond 2^31 elements."""
    shapes = [(1, 2**31 + 300, 2**31 + 304), *([] if rule == "ssgd" else [(3, 300, 2**30 + 8)])]
    for k, n, ld in shapes:
        blocks = -(-n // 2048)
        emulator.schedule = Schedule(grid=blocks, block=256, only_blocks=(blocks - 1, blocks))
        case = make_far_case(k, n, ld)
        before = last_columns(case)
        try:
            update(rule, case)
        except EmulationError:
            return FAR
        expected = exact(rule, before.state(), before)
        if any(bits(tensor) != bits(expected[name]) for name, tensor in last_columns(case).state().items()):
            return FAR
    return "nothing"


def _square_sums(emulator: Emulator) -> str:
    """Compare sums in every order of threads."""
    partials = guarded(3, 600).copy_(torch.rand(3, 600, generator=torch.Generator().manual_seed(0)))
    seen = []
    for threads in THREAD_ORDERS:
        emulator.schedule = Schedule(threads, seed=1)
        seen.append(averaging.square_sums(partials, out=guarded(3, dtype=torch.float64)))
    if len({bits(sums) for sums in seen}) > 1:
        return ORDER
    return "nothing" if torch.allclose(seen[0], partials.double().sum(1), rtol=1e-14, atol=0) else VALUES
