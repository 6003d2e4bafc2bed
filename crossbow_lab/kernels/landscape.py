"""Learners on two-dimensional loss surfaces, thousands of iterations a launch: the typed door of cuda/landscape.cu.

P populations of k learners each run side by side, with settings, seeds and starting points of their own. This module
knows numbers only; `crossbow_lab.landscape` gives them their meaning, and does the same on the CPU.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from crossbow_lab.errors import ConfigurationError, nearest
from crossbow_lab.kernels import launch as launching
from crossbow_lab.kernels.kernel import Kernel, Parameter, Template

SurfaceName = Literal["rastrigin", "rosenbrock", "himmelblau", "saddle", "noisy-quadratic"]
AlgorithmName = Literal["SMA", "EA-SGD", "S-SGD"]

SURFACES: dict[str, str] = {
    "rastrigin": "Rastrigin",
    "rosenbrock": "Rosenbrock",
    "himmelblau": "Himmelblau",
    "saddle": "Saddle",
    "noisy-quadratic": "NoisyQuadratic",
}
_ALGORITHMS = {"SMA": "kSma", "EA-SGD": "kEasgd", "S-SGD": "kSsgd"}
_TYPES = {torch.float32: "float", torch.float64: "double"}
_TRAIL = 6  # numbers in a row of the trail
_SCALARS = 8
_MOST_THREADS = 512
_LONGEST = 2**31  # iterations of a run: their number takes 31 bits of the random generator's counter

LANDSCAPE_RUN = Kernel(
    "landscape.cu",
    "landscape_run",
    (
        Parameter("learners", "pointer"),
        Parameter("velocities", "pointer", optional=True),
        Parameter("centres", "pointer"),
        Parameter("centre_velocities", "pointer"),
        Parameter("trail", "pointer"),
        Parameter("positions", "pointer", optional=True),
        *(Parameter(name, "pointer") for name in ("scalars", "keys", "sync_periods")),
        Parameter("populations", "i64"),
        Parameter("k", "i32"),
        *(Parameter(name, "i64") for name in ("start", "iterations", "record_every")),
    ),
)


def variants() -> list[tuple[Kernel, Template]]:
    """Return every instantiation that the door can ask for, as `crossbow_lab.kernels.prepare` takes them."""
    return [
        (LANDSCAPE_RUN, (kind, surface, algorithm))
        for kind in _TYPES.values()
        for surface in SURFACES.values()
        for algorithm in _ALGORITHMS.values()
    ]


@dataclass(frozen=True, eq=False)
class Populations:
    """State of P populations of k learners: tensors of one dtype, float32 or float64, contiguous, on one device.

    Parameters
    ----------
    learners : Tensor, shape (P, k, 2)
        Weights w_j of the learners: points (x, y).
    velocities : Tensor, shape (P, k, 2), or None
        Velocities v_j of the learners' own momentum; None without.
    centres, centre_velocities : Tensor, shape (P, 2)
        Central average models z and their last increments.
    """

    learners: Tensor
    velocities: Tensor | None
    centres: Tensor
    centre_velocities: Tensor


@dataclass(frozen=True, eq=False)
class Settings:
    """Settings of P populations, each its own; contiguous, on the populations' device.

    Parameters
    ----------
    scalars : Tensor of the populations' dtype, shape (P, 8)
        [learning rate γ, α, μ, μ_l, σ, 0, 0, 0]; σ = noise / sqrt(b) is the gradient noise's standard deviation.
    keys : int64 Tensor, shape (P,)
        The stream of random numbers of each; see `crossbow_lab.random.stream_key`.
    sync_periods : int32 Tensor, shape (P,)
        Synchronisation periods τ, at least 1. The values are not looked at.
    """

    scalars: Tensor
    keys: Tensor
    sync_periods: Tensor


@dataclass(frozen=True, eq=False)
class Trails:
    """Where populations have been: one row for each record.

    Parameters
    ----------
    summaries : Tensor, shape (P, records, 6)
        [z_x, z_y, mean_x, mean_y, loss at z, mean loss of the learners], of the mean of the learners' weights.
    positions : Tensor, shape (P, records, k, 2), or None
        Learners' weights.
    """

    summaries: Tensor
    positions: Tensor | None


def populations_at(points: Tensor, n_learners: int, *, local_momentum: bool = False) -> Populations:
    """Return populations that begin: all learners at their population's point, and z too, at rest.

    Parameters
    ----------
    points : float32 or float64 Tensor, shape (P, 2)
        Initial models w_0; copied.
    n_learners : int
        k, at least 1.
    local_momentum : bool
        Whether learners have momentum of their own.

    Raises
    ------
    ConfigurationError
        If shape, dtype or n_learners don't fit.

    Examples
    --------
    >>> populations_at(torch.tensor([[1.0, 2.0]]), n_learners=2).learners
    tensor([[[1., 2.],
             [1., 2.]]])
    """
    if points.dtype not in _TYPES or points.dim() != 2 or points.shape[1] != 2 or n_learners < 1:
        raise ConfigurationError(
            f"points have shape {tuple(points.shape)}, {points.dtype}, for {n_learners} learners; needed are one point "
            "(x, y) a population, shape (P, 2), float32 or float64, and at least one learner"
        )
    learners = points[:, None].repeat(1, n_learners, 1)
    velocities = torch.zeros_like(learners) if local_momentum else None
    return Populations(learners, velocities, points.clone(), torch.zeros_like(points))


def run(
    populations: Populations,
    settings: Settings,
    *,
    surface: SurfaceName,
    algorithm: AlgorithmName,
    start: int,
    iterations: int,
    record_every: int = 1,
    record_positions: bool = False,
) -> Trails:
    """Let all populations take their next iterations, in one launch; their state is updated in place.

    Parameters
    ----------
    populations : Populations
    settings : Settings
    surface : {"rastrigin", "rosenbrock", "himmelblau", "saddle", "noisy-quadratic"}
        See `crossbow_lab.landscape.surfaces`.
    algorithm : {"SMA", "EA-SGD", "S-SGD"}
        S-SGD reads and writes z and moves the learners with it.
    start : int
        Iterations that these populations have behind them, counted from 0. A run in several launches equals one in a
        single launch, bit for bit.
    iterations : int
        How many more; at least 1.
    record_every : int
        Records follow every iteration whose number, counted from 1, is a multiple of this.
    record_positions : bool
        Whether records hold every learner's weights: 2 k numbers.

    Returns
    -------
    Trails
        New tensors, of the populations' dtype and device.

    Raises
    ------
    ConfigurationError
        If a name is unknown, a number is out of range, or shapes, dtypes, devices or layouts don't fit.
    DeviceUnavailable, KernelError
        As `crossbow_lab.kernels.launch.launch`.

    Notes
    -----
    One block for each population, on torch's current stream; never synchronises. Deterministic: threads depend on k
    alone, sums have a fixed order.
    """
    _check_names(surface, algorithm)
    _check_numbers(start, iterations, record_every)
    _check_tensors(populations, settings)
    learners = populations.learners
    n_populations, k, _ = learners.shape
    records = (start + iterations) // record_every - start // record_every
    trails = Trails(
        learners.new_empty(n_populations, records, _TRAIL),
        learners.new_empty(n_populations, records, k, 2) if record_positions else None,
    )
    values = {
        "learners": learners,
        "velocities": populations.velocities,
        "centres": populations.centres,
        "centre_velocities": populations.centre_velocities,
        "trail": trails.summaries,
        "positions": trails.positions,
        "scalars": settings.scalars,
        "keys": settings.keys,
        "sync_periods": settings.sync_periods,
        "populations": n_populations,
        "k": k,
        "start": start,
        "iterations": iterations,
        "record_every": record_every,
    }
    template = (_TYPES[learners.dtype], SURFACES[surface], _ALGORITHMS[algorithm])
    launching.launch(LANDSCAPE_RUN, template, launching.blocks(n_populations, 1), _threads(k), values, learners.device)
    return trails


def _threads(k: int) -> int:
    """Return the threads of a block: a learner each in whole warps, or as many as there may be. Sums depend on it."""
    return min(-(-k // 32) * 32, _MOST_THREADS)


def _check_names(surface: str, algorithm: str) -> None:
    """Refuse names that are not known."""
    for name, given, known in (("surface", surface, SURFACES), ("algorithm", algorithm, _ALGORITHMS)):
        if given not in known:
            raise ConfigurationError(f"there is no {name} {given!r} on the device; {nearest(str(given), known)}")


def _check_numbers(start: int, iterations: int, record_every: int) -> None:
    """Refuse numbers of iterations out of range."""
    if start < 0 or iterations < 1 or record_every < 1 or start + iterations > _LONGEST:
        raise ConfigurationError(
            f"start is {start}, iterations {iterations}, record_every {record_every}; start must be at least 0, the "
            f"others at least 1, and a run at most {_LONGEST} iterations long"
        )


def _check_tensors(populations: Populations, settings: Settings) -> None:
    """Refuse tensors that don't fit the learners."""
    learners = populations.learners
    if learners.dtype not in _TYPES or learners.dim() != 3 or learners.shape[2] != 2 or not learners.numel():
        raise ConfigurationError(
            f"learners have shape {tuple(learners.shape)}, {learners.dtype}; needed is (P, k, 2), float32 or float64, "
            "not empty: crossbow_lab.kernels.landscape.populations_at makes it"
        )
    n_populations = len(learners)
    expected = {
        "learners": (learners, tuple(learners.shape), learners.dtype),
        "velocities": (populations.velocities, tuple(learners.shape), learners.dtype),
        "centres": (populations.centres, (n_populations, 2), learners.dtype),
        "centre_velocities": (populations.centre_velocities, (n_populations, 2), learners.dtype),
        "scalars": (settings.scalars, (n_populations, _SCALARS), learners.dtype),
        "keys": (settings.keys, (n_populations,), torch.int64),
        "sync_periods": (settings.sync_periods, (n_populations,), torch.int32),
    }
    for name, (tensor, shape, dtype) in expected.items():
        if tensor is None or (
            tensor.shape == shape
            and tensor.dtype == dtype
            and tensor.device == learners.device
            and tensor.is_contiguous()
        ):
            continue
        raise ConfigurationError(
            f"{name}: shape {tuple(tensor.shape)}, strides {tensor.stride()}, {tensor.dtype}, on {tensor.device}; with "
            f"learners of shape {tuple(learners.shape)} on {learners.device} it must have shape {shape}, {dtype}, "
            "contiguous, there"
        )
