"""When kernels are compiled, and what is said when they can't be."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from crossbow_lab.errors import DeviceUnavailable, KernelError
from crossbow_lab.kernels import check, no_cupy, prepare, why_not
from crossbow_lab.kernels import compile as compiling
from crossbow_lab.kernels import launch as launching
from crossbow_lab.kernels.kernel import Kernel, Parameter

CUDA = torch.device("cuda", 0)
KERNEL = Kernel("a.cu", "act", (Parameter("n", "i64"),))


@pytest.fixture(autouse=True)
def _nothing_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every test without compiled kernels."""
    monkeypatch.setattr(compiling, "_functions", {})


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that torch has two GPUs, as far as host code can tell."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())


def _install_cupy(monkeypatch: pytest.MonkeyPatch, *, runtime: int = 13020, nvrtc: Exception | None = None) -> None:
    """Pretend that a CuPy for this CUDA runtime is installed, whose NVRTC may fail."""

    def version() -> tuple[int, int]:
        if nvrtc:
            raise nvrtc
        return 13, 0

    cupy = ModuleType("cupy")
    cupy.__spec__ = ModuleSpec("cupy", None)
    cupy.__version__ = "14.2.0"  # type: ignore[attr-defined]
    cupy.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        runtime=SimpleNamespace(runtimeGetVersion=lambda: runtime), nvrtc=SimpleNamespace(getVersion=version)
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)


def test_importing_the_doors_imports_no_cupy() -> None:
    """Nor does asking why kernels can't run, where CuPy is not installed: it says which extra brings it."""
    program = (
        "import sys, torch\n"
        "from crossbow_lab import kernels\n"
        "from crossbow_lab.kernels import averaging, batches, landscape\n"
        "assert not [name for name in sys.modules if name.startswith('cupy')], 'CuPy was imported'\n"
        "sys.modules['cupy'] = None\n"
        "print(kernels.no_cupy()); print(kernels.why_not(torch.device('cuda')))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "CuPy, which compiles the CUDA kernels, is missing: pip install 'crossbow-lab[cuda1" in run.stdout


@pytest.mark.parametrize(("version", "extra"), [("12.8", "crossbow-lab[cuda12]"), ("13.0", "crossbow-lab[cuda13]")])
def test_a_missing_cupy_names_the_extra_for_torchs_cuda(
    version: str, extra: str, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process can't have two CUDA versions."""
    monkeypatch.setattr(torch.version, "cuda", version)
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert extra in (why_not(CUDA) or "")


def test_kernels_can_run_where_everything_fits(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA 13.2's CuPy fits torch for 13.0: minor versions are compatible."""
    _install_cupy(monkeypatch)
    assert why_not(CUDA) is None
    assert why_not(torch.device("cuda")) is None
    check(CUDA)


def test_cupy_for_another_cuda_version_says_what_to_install(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what to remove."""
    _install_cupy(monkeypatch, runtime=12090)
    monkeypatch.setattr(compiling, "_cupy_packages", lambda: ["cupy-cuda12x"])
    reason = why_not(CUDA) or ""
    assert "cupy-cuda12x is for CUDA 12, but torch" in reason
    assert "is for CUDA 13.0" in reason
    assert "pip uninstall cupy-cuda12x, then pip install 'crossbow-lab[cuda13]'" in reason


def test_a_broken_cupy_is_a_reason_and_no_crash(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing NVRTC is found before anything is compiled."""
    _install_cupy(monkeypatch, nvrtc=RuntimeError("libnvrtc.so.13 not found"))
    reason = why_not(CUDA) or ""
    assert "RuntimeError: libnvrtc.so.13 not found" in reason
    assert "crossbow-lab[cuda13]" in reason


def test_a_driver_too_old_is_told_in_torchs_words(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold both versions and where to get a driver."""

    def fail() -> int:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040)")

    monkeypatch.setattr(torch.cuda, "current_device", fail)
    assert "too old (found version 11040). Check the driver with nvidia-smi" in (why_not(CUDA) or "")
    with pytest.raises(DeviceUnavailable, match="too old"):
        check(CUDA)


def test_a_device_that_is_not_there_is_told_with_those_that_are(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By torch's names."""
    _install_cupy(monkeypatch)
    assert why_not(torch.device("cuda", 2)) == "there is no cuda:2; this machine has: cuda:0, cuda:1"


def test_torch_without_cuda_and_other_devices_have_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each its own way out."""
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "was built without CUDA, so there is no cuda:0; install torch's CUDA build" in (why_not(CUDA) or "")
    assert "CUDA kernels don't run on cpu; use device='cuda', or" in (why_not(torch.device("cpu")) or "")
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "[cuda12]' or [cuda13]" in (no_cupy() or "")


def test_a_kernel_is_compiled_once_per_device_and_instantiation(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when two threads ask at the same time; a device without an index is the current one."""
    built: list[tuple[str, str]] = []

    def build(kernel: Kernel, expression: str, device: torch.device) -> object:
        built.append((expression, str(device)))
        time.sleep(0.02)
        return object()

    monkeypatch.setattr(compiling, "_build", build)
    found: list[object] = []
    ask = [threading.Thread(target=lambda: found.append(compiling.function(KERNEL, ("float",), CUDA))) for _ in "ab"]
    for thread in ask:
        thread.start()
    for thread in ask:
        thread.join()
    assert found[0] is found[1]
    prepare(torch.device("cuda"), [(KERNEL, ("float",)), (KERNEL, ("double",))])
    prepare(torch.device("cuda", 1), [(KERNEL, ("float",))])
    assert built == [("act<float>", "cuda:0"), ("act<double>", "cuda:0"), ("act<float>", "cuda:1")]


def test_where_kernels_can_not_run_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is raised."""
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(DeviceUnavailable, match="was built without CUDA"):
        prepare(CUDA, [(KERNEL, ())])


def test_a_kernel_that_does_not_compile_shows_file_options_and_log(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler's own words, from the real NVRTC, with the file and line as on disk."""
    import nvrtc

    class RawModule:
        """Compiles as CuPy's does, for a device that isn't there."""

        def __init__(self, *, code: str, options: tuple[str, ...], name_expressions: tuple[str, ...]) -> None:
            assert options == compiling.OPTIONS
            self.code, self.expressions = code, name_expressions

        def get_function(self, expression: str) -> Any:
            assert self.expressions == (expression,)
            return nvrtc.compile_all(self.code, self.expressions, "90")

    monkeypatch.setattr(nvrtc.cupy, "RawModule", RawModule)
    monkeypatch.setattr(compiling, "check", lambda _: None)
    monkeypatch.setattr(
        compiling, "source", lambda file: f'#line 7 "{file}"\n__global__ void act(long long n) {{ m; }}'
    )
    with pytest.raises(KernelError) as raised:
        compiling.function(KERNEL, (), CUDA)
    message = str(raised.value)
    assert "the CUDA kernel act in cuda/a.cu can't be compiled or loaded on cuda:0" in message
    assert "-std=c++17 -fmad=false" in message
    assert "-arch=sm_90" in message
    assert 'a.cu(7): error: identifier "m" is undefined' in message


@pytest.fixture
def called(gpu: None, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Note what compiled kernels are called with, on streams 1, 2, ..."""
    noted: list[tuple[Any, ...]] = []

    def function(*_: object) -> Callable[..., None]:
        return lambda grid, block, arguments, *, stream: noted.append((grid, block, arguments, stream.ptr))

    streams = iter(range(1, 9))
    monkeypatch.setattr(compiling, "function", function)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: SimpleNamespace(cuda_stream=next(streams)))
    return noted


def test_a_launch_goes_to_the_stream_that_is_current_then(called: list[tuple[Any, ...]]) -> None:
    """Under capture that is another one; one that was remembered would leave the graph empty."""
    launching.launch(KERNEL, (), 5, 32, {"n": 3}, CUDA)
    launching.launch(KERNEL, (), 5, 32, {"n": 4}, CUDA)
    assert called == [((5,), (32,), (3,), 1), ((5,), (32,), (4,), 2)]


def test_a_grid_of_none_launches_nothing(called: list[tuple[Any, ...]]) -> None:
    """CuPy makes it one block."""
    launching.launch(KERNEL, (), 0, 32, {"n": 0}, CUDA)
    assert called == []


def test_a_launch_with_wrong_values_is_an_error_wherever_it_goes(called: list[tuple[Any, ...]]) -> None:
    """Before anything is launched, and on the CPU as well."""
    for device in (CUDA, torch.device("cpu")):
        with pytest.raises(TypeError, match=r"act in a\.cu: n is 0\.5"):
            launching.launch(KERNEL, (), 1, 32, {"n": 0.5}, device)
    assert called == []
