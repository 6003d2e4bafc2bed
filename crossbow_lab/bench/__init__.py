"""``crossbow-lab bench``: speed, memory, overhead, runs and devices with medians and spread, as tables and JSON."""

from collections.abc import Sequence
from pathlib import Path

from crossbow_lab.errors import ConfigurationError, nearest

BENCH_NAMES = ("throughput", "memory", "overhead", "runs", "devices", "landscape")
BROWSER_NAMES = ("dashboard",)
"""Parts that need a real browser, and are measured only where they are named."""
CUDA_NAMES = ("kernels", "lenet", "resnet-32", "compiled", "averaging", "adjust", "host")
"""Parts of the bench of a GPU, in order; all together take less than eight minutes, none more than three."""


def run_bench(names: Sequence[str], json_path: Path | None, quick: bool) -> int:
    """Measure, print tables, and write the JSON.

    Parameters
    ----------
    names : sequence of str
        Which of `BENCH_NAMES`, all of those when empty; or of `BROWSER_NAMES`.
    json_path : Path or None
        Written after every measurement, so that a later failure loses nothing.
    quick : bool
        A smoke test of a few seconds, whose numbers mean nothing.

    Returns
    -------
    int
        Exit status: 0.

    Raises
    ------
    ConfigurationError
        If a name is unknown; the nearest is named.
    CrossbowError
        If there is no browser; with what to install.
    """
    _check(names, (*BENCH_NAMES, *BROWSER_NAMES))
    # Here, so that `crossbow-lab --help` needs no torch.
    from crossbow_lab.bench.suite import measure_all

    return measure_all(list(names or BENCH_NAMES), json_path, quick)


def run_cuda_bench(names: Sequence[str], json_path: Path | None, quick: bool) -> int:
    """Measure on the GPU, print tables, and write the JSON; a part that fails is recorded, and the rest goes on.

    Parameters
    ----------
    names : sequence of str
        Which of `CUDA_NAMES`; all when empty.
    json_path, quick
        As in `run_bench`.

    Returns
    -------
    int
        Exit status: 0, or 1 where a part failed.

    Raises
    ------
    ConfigurationError
        If a name is unknown; the nearest is named.
    DeviceUnavailable
        If kernels can't run here: what is missing, and the way out.
    """
    _check(names, CUDA_NAMES)
    import torch

    from crossbow_lab import kernels

    device = torch.device("cuda")
    kernels.check(device)
    from crossbow_lab.bench.cuda.suite import measure_cuda

    return measure_cuda(list(names or CUDA_NAMES), json_path, quick, device)


def _check(names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse an unknown name."""
    for name in names:
        if name not in known:
            raise ConfigurationError(f"unknown bench {name!r}: {nearest(name, known)}")
