"""The emulator notices what it says it notices, and does what a GPU would do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from averaging_cases import fma
from emulated import (
    SANITIZED,
    THREAD_ORDERS,
    CompilationError,
    EmulationError,
    Emulator,
    Schedule,
    build,
    guarded,
    why_not,
)

from crossbow_lab.kernels.kernel import Kernel, Parameter

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

PROBES = """
__global__ void write_at(float *x, long long i) { x[i] = 1; }
__global__ void read_at(const float *x, float *out, long long i) { *out = x[i]; }
__global__ void write_four(float *x, long long i) { *reinterpret_cast<float4 *>(x + i) = float4{1, 2, 3, 4}; }
__global__ void overflow(int *out, int n) { *out = n + 2147483647; }
__global__ void shift(int *out, int n) { *out = 1 << n; }
__global__ void barrier_for_some(float *x) { if (threadIdx.x < 3) __syncthreads(); x[0] = 0; }
__global__ void two_barriers(float *x) { if (threadIdx.x < 3) { __syncthreads(); } else {
    __syncthreads(); } x[0] = 0; }
__global__ void exchange_with(float *x, unsigned mask, unsigned callers) {
  if (threadIdx.x < callers) x[threadIdx.x] = __shfl_xor_sync(mask, x[threadIdx.x], 1);
}
__global__ void exchange_for_ever(float *x) {
  if (threadIdx.x < 8) x[0] = __shfl_xor_sync(0xffffffffu, x[0], 1);
  else __syncthreads();
}
__global__ void halves(float *x) {
  const unsigned mask = threadIdx.x < 16 ? 0xffffu : 0xffff0000u;
  x[threadIdx.x] = __shfl_xor_sync(mask, x[threadIdx.x], 8);
}
__global__ void neighbours(const float *x, float *out) {
  out[threadIdx.x] = __shfl_down_sync(0xffffffffu, x[threadIdx.x], 1);
  out[32 + threadIdx.x] = __shfl_sync(0xffffffffu, x[threadIdx.x], 5);
}
template <typename X> __global__ void unwritten(X *out) {
  __shared__ X room[4];
  if (threadIdx.x < 3) room[threadIdx.x] = 1;
  __syncthreads();
  out[blockIdx.x] = room[0] + room[threadIdx.x + 3];
  room[3] = 1;
}
__global__ void racing(const float *x, float *out) {
  __shared__ float room[64];
  room[threadIdx.x] = x[threadIdx.x];
  out[threadIdx.x] = room[63 - threadIdx.x];
}
__global__ void from_half(const __half *x, float *out, int n) {
  for (int i = 0; i < n; ++i) out[i] = __half2float(x[i]);
}
__global__ void to_half(const float *x, __half *out, int n) {
  for (int i = 0; i < n; ++i) out[i] = __float2half_rn(x[i]);
}
__global__ void from_bfloat16(const __nv_bfloat16 *x, float *out, int n) {
  for (int i = 0; i < n; ++i) out[i] = __bfloat162float(x[i]);
}
__global__ void to_bfloat16(const float *x, __nv_bfloat16 *out, int n) {
  for (int i = 0; i < n; ++i) out[i] = __float2bfloat16_rn(x[i]);
}
__global__ void fused(const float *x, float *out, int n) {
  for (int i = 0; i < n; ++i) out[i] = __fmaf_rn(x[i], x[n + i], x[2 * n + i]);
}
template <typename X> __global__ void half_of(X *x) { *x = *x / 2; }
__global__ void where(long long *out) {
  out[blockIdx.x * blockDim.x + threadIdx.x] = blockIdx.x * 1000ll + threadIdx.x + 1000000ll * gridDim.x;
}
"""
NAMES = (
    *("write_at", "read_at", "write_four", "overflow", "shift", "barrier_for_some", "two_barriers", "exchange_with"),
    *("exchange_for_ever", "halves", "neighbours", "unwritten<float>", "unwritten<double>", "racing", "from_half"),
    *("to_half", "from_bfloat16", "to_bfloat16", "fused", "half_of<float>", "half_of<double>", "where"),
)
ASCENDING = Schedule()
i32, i64, u32 = np.int32, np.int64, np.uint32


def run(name: str, grid: int, block: int, *arguments: object, schedule: Schedule = ASCENDING) -> None:
    """Run one of the probes."""
    build("probes.cu", NAMES, text=PROBES, options=SANITIZED)[name](grid, block, arguments, schedule)


@pytest.mark.parametrize(("at_end", "index"), [(True, 10), (True, 11), (False, -1), (False, -1000)])
def test_memory_outside_an_array_is_not_touched(at_end: bool, index: int) -> None:
    """The launch fails with the thread's number, and the process goes on."""
    x = guarded(12, fill=0.0, at_end=at_end)[:10] if at_end else guarded(10, fill=0.0, at_end=False)
    for name, arguments in (("write_at", (x,)), ("read_at", (x, torch.zeros(1)))):
        if index in (10, 11):
            run(name, 1, 1, *arguments, i64(index))  # still within its 16 bytes
            continue
        with pytest.raises(EmulationError, match=r"write_at|read_at: thread 0 of block 0 touches memory at 0x"):
            run(name, 1, 1, *arguments, i64(index))
    with pytest.raises(EmulationError, match="none of its arrays"):
        run("write_at", 1, 1, x, i64(12 if at_end else -1))


def test_misaligned_accesses_are_noticed() -> None:
    """As the GPU would: 128-bit accesses lie at multiples of 16 bytes."""
    x = guarded(8, fill=0.0)
    run("write_four", 1, 1, x, i64(4))

    assert x.tolist() == [0, 0, 0, 0, 1, 2, 3, 4]
    with pytest.raises(EmulationError, match="misaligned"):
        run("write_four", 1, 1, x, i64(1))


@pytest.mark.parametrize(("name", "value"), [("overflow", 1), ("shift", 32)])
def test_undefined_integer_arithmetic_is_noticed(name: str, value: int) -> None:
    """Whatever the CPU would have made of it."""
    out = torch.zeros(1, dtype=torch.int32)
    run(name, 1, 1, out, i32(0))

    with pytest.raises(EmulationError, match="undefined behaviour"):
        run(name, 1, 1, out, i32(value))


@pytest.mark.parametrize("threads", THREAD_ORDERS)
@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("barrier_for_some", (), "__syncthreads at line 7: 29 of 32 threads have exited"),
        ("two_barriers", (), r"waits at __syncthreads line [89], thread \d+ at line [89]"),
        ("exchange_with", (u32(0xFFFF), u32(32)), "lane 1[6-9]|lane [23]. calls it but is not in mask 0x0000ffff"),
        ("exchange_with", (u32(0xFFFFFFFF), u32(31)), "mask 0xffffffff names lane 31, which has exited"),
        ("exchange_with", (u32(0x7FFFFFFF), u32(31)), "reads lane 31, which takes no part"),
        ("exchange_for_ever", (), r"for thread \d+, which waits at __syncthreads line 15"),
    ],
)
def test_broken_rules_of_cuda_are_noticed(name: str, arguments: tuple[object, ...], message: str, threads: str) -> None:
    """In every order of threads, with the line of the source."""
    with pytest.raises(EmulationError, match=message):
        run(name, 1, 32, torch.zeros(32), *arguments, schedule=Schedule(threads))


def test_a_mask_may_not_name_lanes_that_do_not_exist() -> None:
    """A block of 16 threads has half a warp."""
    with pytest.raises(EmulationError, match="names lane 16, which does not exist"):
        run("exchange_with", 1, 16, torch.zeros(32), u32(0xFFFFFFFF), u32(32))


@pytest.mark.parametrize("threads", THREAD_ORDERS)
def test_lanes_exchange_as_cuda_says(threads: str) -> None:
    """By mask, whole warps and parts of them; a source outside the warp gives one's own value."""
    x = torch.arange(32.0)
    run("halves", 1, 32, x, schedule=Schedule(threads))
    assert x.tolist() == [i ^ 8 for i in range(32)]
    out = torch.zeros(64)
    run("neighbours", 1, 32, torch.arange(32.0), out, schedule=Schedule(threads))

    assert out.tolist() == [*range(1, 32), 31, *[5.0] * 32]


@pytest.mark.parametrize(("name", "dtype"), [("unwritten<float>", torch.float32), ("unwritten<double>", torch.float64)])
def test_shared_memory_starts_as_nan_in_every_block(name: str, dtype: torch.dtype) -> None:
    """What nobody wrote is nothing to add to; not even what the block before left there."""
    out = torch.zeros(3, dtype=dtype)
    run(name, 3, 1, out)

    assert out.isnan().all()


def test_a_missing_barrier_shows() -> None:
    """In some order a thread reads what another has not written yet."""
    seen = set()
    for threads in THREAD_ORDERS:
        out = torch.zeros(64)
        run("racing", 1, 64, torch.arange(64.0), out, schedule=Schedule(threads, seed=1))
        seen.add(tuple(out.nan_to_num(-1).tolist()))

    assert len(seen) > 1


def test_conversions_round_as_torch_does() -> None:
    """All 65,536 halves and bfloat16s to float32, and back from these, their midpoints and all of their neighbours."""
    patterns = torch.arange(2**16, dtype=torch.int32).to(torch.int16)
    for name, dtype in (("half", torch.float16), ("bfloat16", torch.bfloat16)):
        narrow, wide = patterns.view(dtype), torch.empty(2**16)
        run(f"from_{name}", 1, 1, narrow, wide, i32(len(wide)))
        torch.testing.assert_close(wide, narrow.float(), rtol=0, atol=0, equal_nan=True)

        near = torch.cat([wide, (wide + torch.cat([wide[1:], wide[:1]])) / 2, torch.tensor([65519.99, 65520.0, 3e38])])
        near = torch.cat([near, near.nextafter(torch.tensor(torch.inf)), near.nextafter(torch.tensor(-torch.inf))])
        near = near[near.abs().lt(1e-37).logical_not() | near.eq(0)]  # float32 denormals are flushed
        out = torch.empty(len(near), dtype=dtype)
        run(f"to_{name}", 1, 1, near, out, i32(len(near)))
        torch.testing.assert_close(out, near.to(dtype), rtol=0, atol=0, equal_nan=True)
        assert (out.view(torch.int16)[near.isnan()] == 0x7FFF).all()


def test_fused_multiply_adds_round_once() -> None:
    """As the measure says that the averaging kernels are held to."""
    x = np.random.default_rng(3).standard_normal((3, 10_000)).astype(np.float32)
    out = torch.empty(10_000)
    run("fused", 1, 1, torch.tensor(x).reshape(-1), out, i32(10_000))

    assert out.numpy().tobytes() == fma(*x).tobytes()


def test_denormals_are_flushed_in_float_only() -> None:
    """And the process is left as it was."""
    small, smaller = torch.tensor([1e-38]), torch.tensor([2e-308], dtype=torch.float64)
    run("half_of<float>", 1, 1, small)
    run("half_of<double>", 1, 1, smaller)

    assert small.item() == 0
    assert smaller.item() == 1e-308
    assert np.float32(1e-38) / np.float32(2) > 0


@pytest.mark.parametrize("blocks", ["ascending", "descending", "shuffled"])
def test_every_thread_of_every_block_runs_once(blocks: str) -> None:
    """Or of some blocks only, if only those are wanted."""
    out = torch.zeros(7 * 40, dtype=torch.int64)
    run("where", 7, 40, out, schedule=Schedule("shuffled", blocks, seed=5))
    assert out.tolist() == [7_000_000 + 1000 * b + t for b in range(7) for t in range(40)]
    out.zero_()
    run("where", 7, 40, out, schedule=Schedule("ascending", blocks, only_blocks=(2, 4)))

    assert out.reshape(7, 40).count_nonzero(1).tolist() == [0, 0, 40, 40, 0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(1), i32(0)), "takes i64, int32 was given"),
        ((torch.zeros(1, dtype=torch.float64), i64(0)), "takes f32[*], torch.float64 on cpu was given"),
        ((torch.zeros(1, device="meta"), i64(0)), "takes f32[*], torch.float32 on meta was given"),
        ((torch.zeros(1),), "has 2 parameters, 1 were given"),
    ],
)
def test_arguments_are_checked_against_the_signature(arguments: tuple[object, ...], message: str) -> None:
    """The GPU would take any of these for what they are not."""
    with pytest.raises(TypeError, match=message):
        run("write_at", 1, 1, *arguments)


@pytest.mark.parametrize(("grid", "block"), [(1, 0), (1, 1025), (2**31, 32)])
def test_a_launch_that_no_gpu_takes_fails(grid: int, block: int) -> None:
    """Before anything runs."""
    with pytest.raises(EmulationError, match=f"no GPU takes {grid} blocks of {block} threads"):
        run("where", grid, block, torch.zeros(1, dtype=torch.int64))


def test_a_compile_error_shows_the_command_and_the_line() -> None:
    """Under the file's own name."""
    with pytest.raises(CompilationError, match=r"g\+\+(.|\n)*broken\.cu:2.*nonsense"):
        build("broken.cu", ("f",), text="__global__ void f() {\n  nonsense;\n}\n")


def test_a_launch_packs_builds_and_runs(tmp_path: Path, emulated: Emulator) -> None:
    """With the signature of the real one; a grid of 0 launches nothing, a tensor elsewhere is refused."""
    kernel = Kernel("tiny.cu", "fill", (Parameter("x", "pointer"), Parameter("n", "i64")))
    emulated.texts["tiny.cu"] = (
        "template <typename X> __global__ void fill(X *x, long long n) { if (threadIdx.x < n) x[threadIdx.x] = 1; }"
    )
    x = torch.zeros(4)
    emulated.launch(kernel, ("float",), 0, 32, {"x": x, "n": 3}, x.device)
    assert x.tolist() == [0, 0, 0, 0]
    emulated.launch(kernel, ("float",), 1, 32, {"x": x, "n": 3}, x.device)

    assert x.tolist() == [1, 1, 1, 0]
    assert emulated.launched == ["fill<float>"]
    with pytest.raises(TypeError, match="has no parameter m"):
        emulated.launch(kernel, ("float",), 1, 32, {"x": x, "n": 3, "m": 1}, x.device)
    with pytest.raises(TypeError, match="not for meta"):
        emulated.launch(kernel, ("float",), 1, 32, {"x": x, "n": 3}, torch.device("meta"))
