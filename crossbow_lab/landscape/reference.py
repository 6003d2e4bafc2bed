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
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossbow_lab.averaging import EASGD, SMA, SSGD, resolve_alpha
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.landscape.surfaces import Array, Point, Surface
from crossbow_lab.random import random_bits, stream_key

_Moving: TypeAlias = tuple[Array, Array, Array, Array]
_Parts: TypeAlias = tuple[Array, Array, Array, Array]

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
class Iteration:
    """One iteration, taken apart: what moves each learner, and what moves z.

    Parameters
    ----------
    before, after : State
    gradients : float64 array, shape (k, 2)
        g_j, with their noise.
    steps : float64 array, shape (k, 2)
        What each learner's own SGD adds: −γ g_j, or the velocity v_j.
    corrections : float64 array, shape (k, 2)
        c_j, which is taken from the learner and given to z; 0 where the iteration doesn't synchronise, and in S-SGD.
    centre_step : float64 array, shape (2,)
        Σ_j c_j; in S-SGD −γ times the mean gradient.
    centre_momentum : float64 array, shape (2,)
        μ (z − z_prev). z moves by this and ``centre_step``.
    synchronises : bool
        Whether learners are corrected in it.
    """

    before: State
    after: State
    gradients: Array
    steps: Array
    corrections: Array
    centre_step: Array
    centre_momentum: Array
    synchronises: bool


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
        Learners' weights; of fewer learners where fewer were asked for.
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
    record_positions: bool | int = False,
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
    record_positions : bool or int
        Whether records hold every learner's weights; or of how many learners, the first.

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
    end = state.iteration + iterations
    k = len(state.learners)
    n_recorded = k if record_positions is True else min(k, record_positions)
    noise = _noise(settings, state.iteration, end, k)
    w, v = state.learners.T.copy(), state.velocities.T.copy()
    z, e = state.centre[:, None], state.centre_velocity[:, None]
    rows, positions = [], []
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(state.iteration, end):
            (w, v, z, e), _ = _iterate(surface, settings, t, (w, v, z, e), next(noise))
            if (t + 1) % record_every == 0:
                rows.append((*z[:, 0], *w.mean(axis=1), surface.loss(*z)[0], surface.loss(*w).mean()))
                if n_recorded:
                    positions.append(w[:, :n_recorded].T.copy())
    first = state.iteration // record_every + 1
    trail = _trail(np.array(rows).reshape(-1, 6), first * record_every, record_every)
    if n_recorded:
        trail = replace(trail, positions=np.array(positions).reshape(-1, n_recorded, 2))
    return State(w.T.copy(), v.T.copy(), z[:, 0], e[:, 0], end), trail


def iteration_of(surface: Surface, state: State, settings: Settings) -> Iteration:
    """Return the next iteration from a state, taken apart: what `simulate` does with it, to the bit.

    Examples
    --------
    >>> from crossbow_lab.averaging import SMA
    >>> from crossbow_lab.landscape import surface
    >>> one = iteration_of(surface("saddle"), begin((1.0, 0.0), n_learners=2), Settings(SMA(), learning_rate=0.1))
    >>> one.steps[0].tolist(), one.corrections[0].tolist(), one.after.learners[0].tolist()
    ([-0.1, 0.0], [0.0, 0.0], [0.9, 0.0])
    """
    k, t = len(state.learners), state.iteration
    moving = (state.learners.T, state.velocities.T, state.centre[:, None], state.centre_velocity[:, None])
    noise = next(_noise(settings, t, t + 1, k))
    with np.errstate(over="ignore", invalid="ignore"):
        (w, v, z, e), (g, step, c, s) = _iterate(surface, settings, t, moving, noise)
        synchronises = (t + 1) % settings.sync_period == 0
        return Iteration(
            before=state,
            after=State(w.T.copy(), v.T.copy(), z[:, 0], e[:, 0], t + 1),
            gradients=np.broadcast_to(g, w.shape).T.copy(),
            steps=np.broadcast_to(step, w.shape).T.copy(),
            corrections=c.T.copy(),
            centre_step=s[:, 0],
            centre_momentum=(settings.scalars(k)[2] if synchronises else 0.0) * state.centre_velocity,
            synchronises=synchronises,
        )


def _check_count(name: str, value: object) -> None:
    """Refuse what is no whole number, or below 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ConfigurationError(f"{name} is {value!r}; it must be a whole number, at least 1")


def _iterate(
    surface: Surface, settings: Settings, t: int, before: _Moving, noise: Array | float
) -> tuple[_Moving, _Parts]:
    """Return (w, v, z, e) after iteration t, given what they are before it; and what moved them: (g, step, c, s)."""
    w, v, z, e = before
    gamma, alpha, mu, mu_l, _ = settings.scalars(w.shape[1])
    if isinstance(settings.algorithm, SSGD):
        g = np.stack(surface.gradient(*z)) + noise  # every learner at z
        s = -gamma * g.mean(axis=1, keepdims=True)
        e = mu * e + s
        z = z + e
        return (np.broadcast_to(z, w.shape), v, z, e), (g, -gamma * g, np.zeros_like(w), s)
    g = np.stack(surface.gradient(*w)) + noise
    c = alpha * (w - z)  # w before the gradient step, z before the update
    v = mu_l * v - gamma * g
    w = w + v
    if (t + 1) % settings.sync_period != 0:
        return (w, v, z, e), (g, v, np.zeros_like(w), np.zeros_like(z))
    w = w - c
    s = c.sum(axis=1, keepdims=True)
    e = mu * e + s  # EA-SGD: mu = 0
    z = z + e
    return (w, v, z, e), (g, v, c, s)


def _noise(settings: Settings, start: int, end: int, k: int) -> Iterator[Array | float]:
    """Give the noise of all learners' gradients, (2, k), iteration after iteration; 0 where there is none."""
    key, sigma = settings.key, settings.scalars(k)[-1]
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
