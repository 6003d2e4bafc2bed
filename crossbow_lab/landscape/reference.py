"""Learners on a loss surface, in NumPy, float64, to be read beside Algorithm 1; cuda/landscape.cu is its twin.

Every learner's gradient is that of the surface plus noise, as if it came from a batch of b samples: a normal random
number for each parameter, of standard deviation σ = noise / √b. The noise is a function of (seed, learner, iteration),
so other settings meet the same noise, and a run in parts equals a run in one.

=======  =====================================================  =======
symbol   meaning                                                shape
=======  =====================================================  =======
w        weights of the learners, j = 1..k, in columns          (2, k)
g, v, c  their gradients, velocities and corrections            (2, k)
z        central average model                                  (2, 1)
e        its last increment, z − z_prev; S-SGD's velocity       (2, 1)
gamma    learning rate γ
alpha    strength of the correction α
mu       central momentum μ; S-SGD's momentum
mu_l     local momentum; 0 is the paper's algorithm
tau      synchronisation period τ
sigma    standard deviation of the gradients' noise σ
=======  =====================================================  =======
"""

import math
import numbers
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossbow_lab.averaging import EASGD, SMA, SSGD, resolve_alpha
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.landscape.surfaces import Array, Point, Surface
from crossbow_lab.random import random_bits, stream_key

# Noise is made for many iterations at once: enough numbers for torch's threads, few enough for a second-level cache.
_NOISE_BLOCK = 1 << 16


@dataclass(frozen=True)
class Settings:
    """How learners move.

    Parameters
    ----------
    algorithm : SMA, EASGD or SSGD
        ``alpha=None`` means 1/k (1/2 for k = 1). Any other α is taken as it is, so that one can watch it diverge.
    learning_rate : float
        γ, at least 0.
    noise : float
        Standard deviation of one sample's gradient, at least 0.
    batch_size : int
        b, at least 1: divides the noise by √b.
    seed : int
        Of the noise.

    Raises
    ------
    ConfigurationError
        If a number is outside its range.

    Examples
    --------
    >>> from crossbow_lab.averaging import SMA
    >>> Settings(SMA(), learning_rate=0.1, noise=1.0, batch_size=4).scalars(n_learners=8)
    (0.1, 0.125, 0.9, 0.0, 0.5)
    """

    algorithm: SMA | EASGD | SSGD
    learning_rate: float
    noise: float = 0.0
    batch_size: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.algorithm, SMA | EASGD | SSGD):
            raise ConfigurationError(
                f"algorithm is {self.algorithm!r}; learners move on a surface with SMA(), EASGD() or SSGD()"
            )
        for name in ("learning_rate", "noise"):
            value = getattr(self, name)
            if not (isinstance(value, numbers.Real) and 0 <= float(value) < math.inf):
                raise ConfigurationError(f"{name} is {value!r}; it must be a finite number, at least 0")
        _check_count("batch_size", self.batch_size)

    def scalars(self, n_learners: int) -> tuple[float, float, float, float, float]:
        """Return (γ, α, μ, μ_l, σ) for k learners: the head of a row of the CUDA kernel's scalars."""
        algorithm = self.algorithm
        alpha = None if isinstance(algorithm, SSGD) else algorithm.alpha
        return (
            self.learning_rate,
            resolve_alpha(algorithm, n_learners) if alpha is None else alpha,
            0.0 if isinstance(algorithm, EASGD) else algorithm.momentum,
            0.0 if isinstance(algorithm, SSGD) else algorithm.local_momentum,
            self.noise / math.sqrt(self.batch_size),
        )

    @property
    def sync_period(self) -> int:
        """τ; 1 for S-SGD."""
        return 1 if isinstance(self.algorithm, SSGD) else self.algorithm.sync_period

    @property
    def key(self) -> int:
        """The stream of random numbers that the noise comes from."""
        return stream_key(self.seed, "landscape")


@dataclass(frozen=True, eq=False)
class State:
    """Where k learners are between two iterations.

    Parameters
    ----------
    learners, velocities : float64 array, shape (k, 2)
        Weights w_j and velocities v_j.
    centre, centre_velocity : float64 array, shape (2,)
        Central average model z and its last increment e.
    iteration : int
        Iterations behind them.
    """

    learners: Array
    velocities: Array
    centre: Array
    centre_velocity: Array
    iteration: int = 0


@dataclass(frozen=True, eq=False)
class Trail:
    """Where learners have been: one row for each record.

    Parameters
    ----------
    iterations : int64 array, shape (records,)
        Iterations that were complete.
    centres, means : float64 array, shape (records, 2)
        z, and the mean of the learners' weights.
    centre_losses, mean_losses : float64 array, shape (records,)
        Loss at z, and the mean of the learners' losses.
    positions : float64 array, shape (records, k, 2), or None
        Learners' weights.
    """

    iterations: NDArray[np.int64]
    centres: Array
    means: Array
    centre_losses: Array
    mean_losses: Array
    positions: Array | None


def begin(point: Point, n_learners: int) -> State:
    """Return the state in which k learners begin: w_1..w_k = z = point, all at rest.

    Raises
    ------
    ConfigurationError
        If point is not two numbers, or n_learners not a whole number, at least 1.

    Examples
    --------
    >>> begin((1.0, 2.0), n_learners=2).learners
    array([[1., 2.],
           [1., 2.]])
    """
    _check_count("n_learners", n_learners)
    z = np.array(point, dtype=np.float64)
    if z.shape != (2,):
        raise ConfigurationError(f"point is {point!r}; it must be two numbers, (x, y)")
    return State(np.tile(z, (n_learners, 1)), np.zeros((n_learners, 2)), z, np.zeros(2))


def simulate(
    surface: Surface,
    state: State,
    settings: Settings,
    iterations: int,
    *,
    record_every: int = 1,
    record_positions: bool = False,
) -> tuple[State, Trail]:
    """Return the state some iterations later, and the trail to it.

    Parameters
    ----------
    surface : Surface
        From `crossbow_lab.landscape.surface`, or your own.
    state : State
        From `begin`, or from here; left as it is.
    settings : Settings
    iterations : int
        At least 1.
    record_every : int
        Records follow every iteration whose number, counted from 1, is a multiple of this.
    record_positions : bool
        Whether records hold every learner's weights.

    Returns
    -------
    (State, Trail)
        Where learners diverge, infinities and NaN.

    Raises
    ------
    ConfigurationError
        If iterations or record_every is not a whole number, at least 1.

    Notes
    -----
    10,000 learners take 1,000 iterations of SMA on "rastrigin", with noise, in under a second on two cores.

    Examples
    --------
    >>> from crossbow_lab.averaging import SMA
    >>> from crossbow_lab.landscape import surface
    >>> settings = Settings(SMA(), learning_rate=0.05, noise=1.0)
    >>> state, trail = simulate(surface("saddle"), begin((1.25, 0.0), n_learners=4), settings, iterations=200)
    >>> state.iteration, bool(trail.centre_losses[-1] < -0.2)
    (200, True)
    """
    _check_count("iterations", iterations)
    _check_count("record_every", record_every)
    gamma, alpha, mu, mu_l, sigma = settings.scalars(len(state.learners))
    w, v = state.learners.T.copy(), state.velocities.T.copy()
    z, e = state.centre[:, None], state.centre_velocity[:, None]
    end = state.iteration + iterations
    noise = _noise(settings.key, sigma, state.iteration, end, w.shape[1])
    rows, positions = [], []
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(state.iteration, end):
            if isinstance(settings.algorithm, SSGD):
                g = np.stack(surface.gradient(*z)) + next(noise)  # every learner at z
                e = mu * e - gamma * g.mean(axis=1, keepdims=True)
                z = z + e
                w = np.broadcast_to(z, w.shape)
            else:
                g = np.stack(surface.gradient(*w)) + next(noise)
                c = alpha * (w - z)  # w before the gradient step, z before the update
                v = mu_l * v - gamma * g
                w = w + v
                if (t + 1) % settings.sync_period == 0:
                    w = w - c
                    e = mu * e + c.sum(axis=1, keepdims=True)  # EA-SGD: mu = 0
                    z = z + e
            if (t + 1) % record_every == 0:
                rows.append((*z[:, 0], *w.mean(axis=1), surface.loss(*z)[0], surface.loss(*w).mean()))
                if record_positions:
                    positions.append(w.T)
    first = state.iteration // record_every + 1
    trail = _trail(np.array(rows).reshape(-1, 6), first * record_every, record_every)
    if record_positions:
        trail = replace(trail, positions=np.array(positions).reshape(-1, *state.learners.shape))
    return State(w.T.copy(), v.T.copy(), z[:, 0], e[:, 0], end), trail


def _check_count(name: str, value: object) -> None:
    """Refuse what is no whole number, or below 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ConfigurationError(f"{name} is {value!r}; it must be a whole number, at least 1")


def _noise(key: int, sigma: float, start: int, end: int, k: int) -> Iterator[Array | float]:
    """Give the noise of all learners' gradients, (2, k), iteration after iteration; 0 where there is none."""
    if sigma == 0.0:
        yield from (0.0 for _ in range(start, end))
        return
    learners = torch.arange(k)
    step = max(1, _NOISE_BLOCK // k)
    for first in range(start, end, step):
        iterations = torch.arange(first, min(first + step, end))[:, None] << 32
        yield from _normal(key, iterations | learners, sigma).numpy()


def _normal(key: int, counters: Tensor, sigma: float) -> Tensor:
    """Return two normal random numbers for each counter (m, k), as (m, 2, k), by Box and Muller from 32 bits each."""
    bits = random_bits(key, counters)
    upper, lower = (bits >> 32) & 0xFFFFFFFF, bits & 0xFFFFFFFF
    radius = upper.double().add_(0.5).mul_(2.0**-32).log_().mul_(-2.0).sqrt_().mul_(sigma)
    angle = lower.double().mul_(2.0 * math.pi * 2.0**-32)
    return torch.stack((angle.cos().mul_(radius), angle.sin_().mul_(radius)), dim=1)


def _trail(rows: Array, first: int, record_every: int) -> Trail:
    """Make a trail of rows (records, 6), without positions."""
    iterations = first + record_every * np.arange(len(rows))
    return Trail(iterations, rows[:, 0:2], rows[:, 2:4], rows[:, 4], rows[:, 5], positions=None)
