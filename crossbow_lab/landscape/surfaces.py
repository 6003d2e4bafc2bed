"""Loss surfaces over two parameters, for looking at: functions, gradients, minima, and where to look.

Parameters of a model are a point (x, y) here, and its loss is a height. Functions take coordinates of any shape, two
arrays that broadcast, and return the loss or both parts of its gradient in float64. Each has a twin in
cuda/landscape.cu.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from crossbow_lab.errors import ConfigurationError, nearest

Array: TypeAlias = NDArray[np.float64]
Point: TypeAlias = tuple[float, float]

_TWO_PI = 2.0 * np.pi


@dataclass(frozen=True)
class Surface:
    """A loss surface; make your own for a function of yours.

    Parameters
    ----------
    name : str
        What messages and plots call it.
    loss : function (x, y) -> float64 array
        The loss at points (x, y): two float64 arrays of one shape.
    gradient : function (x, y) -> two float64 arrays
        Its partial derivatives there.
    minima : tuple of points
        Where it is least, or locally so; empty where not known.
    view : (low, high) of x, (low, high) of y
        What is worth plotting.
    start : point
        A good place for w_0.
    learning_rate : float
        A learning rate γ with which plain gradient descent from there is stable and gets somewhere.
    noise : float
        Standard deviation of one sample's gradient that is worth looking at.

    Examples
    --------
    >>> bowl = Surface("bowl", lambda x, y: x**2 + y**2, lambda x, y: (2 * x, 2 * y), minima=((0.0, 0.0),),
    ...                view=((-1.0, 1.0), (-1.0, 1.0)), start=(1.0, 1.0), learning_rate=0.1)
    >>> bowl.loss(np.array([0.0, 1.0]), np.array([0.0, 2.0]))
    array([0., 5.])
    """

    name: str
    loss: Callable[[Array, Array], Array]
    gradient: Callable[[Array, Array], tuple[Array, Array]]
    minima: tuple[Point, ...]
    view: tuple[Point, Point]
    start: Point
    learning_rate: float
    noise: float = 0.0


def surface(name: str) -> Surface:
    """Return the surface of this name.

    Parameters
    ----------
    name : {"rastrigin", "rosenbrock", "himmelblau", "saddle", "noisy-quadratic"}

    Raises
    ------
    ConfigurationError
        If there is none; with the nearest name.

    Examples
    --------
    >>> surface("saddle").minima
    ((0.0, -1.0), (0.0, 1.0))
    """
    if name not in SURFACES:
        raise ConfigurationError(f"there is no surface {name!r}; {nearest(str(name), SURFACES)}")
    return SURFACES[name]


def _sine(x: Array) -> Array:
    """Return sin(2πx), after taking whole turns off exactly, as the kernel does."""
    return _by_torch(torch.sin_, _TWO_PI * (x - np.rint(x)))


def _cosine(x: Array) -> Array:
    """Return cos(2πx), after taking whole turns off exactly."""
    return _by_torch(torch.cos_, _TWO_PI * (x - np.rint(x)))


def _by_torch(function: Callable[[torch.Tensor], torch.Tensor], values: Array) -> Array:
    """Apply a function of torch's in place, several times as fast as NumPy's and on all its threads."""
    numbers: Array = function(torch.from_numpy(np.asarray(values))).numpy()
    return numbers


def _rastrigin(x: Array, y: Array) -> Array:
    """Return 20 + x² − 10 cos 2πx + y² − 10 cos 2πy: a bowl full of local minima (Rastrigin, 1974)."""
    return 20.0 + (x * x - 10.0 * _cosine(x)) + (y * y - 10.0 * _cosine(y))


def _rastrigin_gradient(x: Array, y: Array) -> tuple[Array, Array]:
    """Return (2x + 20π sin 2πx, 2y + 20π sin 2πy)."""
    return 2.0 * x + 10.0 * _TWO_PI * _sine(x), 2.0 * y + 10.0 * _TWO_PI * _sine(y)


def _rosenbrock(x: Array, y: Array) -> Array:
    """Return (1 − x)² + 100 (y − x²)²: a bent, narrow valley (Rosenbrock, 1960, doi 10.1093/comjnl/3.3.175)."""
    return (1.0 - x) ** 2 + 100.0 * (y - x * x) ** 2


def _rosenbrock_gradient(x: Array, y: Array) -> tuple[Array, Array]:
    """Return (−2 (1 − x) − 400 x (y − x²), 200 (y − x²))."""
    height = y - x * x
    return -2.0 * (1.0 - x) - 400.0 * x * height, 200.0 * height


def _himmelblau(x: Array, y: Array) -> Array:
    """Return (x² + y − 11)² + (x + y² − 7)²: four minima of equal loss (Himmelblau, 1972)."""
    return (x * x + y - 11.0) ** 2 + (x + y * y - 7.0) ** 2


def _himmelblau_gradient(x: Array, y: Array) -> tuple[Array, Array]:
    """Return (4x a + 2b, 2a + 4y b) with a = x² + y − 11 and b = x + y² − 7."""
    a, b = x * x + y - 11.0, x + y * y - 7.0
    return 4.0 * x * a + 2.0 * b, 2.0 * a + 4.0 * y * b


def _saddle(x: Array, y: Array) -> Array:
    """Return x²/2 − y²/2 + y⁴/4: a saddle at 0 between two minima (Nesterov, Introductory Lectures, 2004, 1.2.3)."""
    return 0.5 * x * x + y * y * (0.25 * y * y - 0.5)


def _saddle_gradient(x: Array, y: Array) -> tuple[Array, Array]:
    """Return (x, y³ − y)."""
    return 1.0 * x, y * (y * y - 1.0)


def _noisy_quadratic(x: Array, y: Array) -> Array:
    """Return x²/2 + 10 y²: curvatures 1 and 20, where all that matters is the gradients' noise."""
    return 0.5 * x * x + 10.0 * y * y


def _noisy_quadratic_gradient(x: Array, y: Array) -> tuple[Array, Array]:
    """Return (x, 20 y)."""
    return 1.0 * x, 20.0 * y


SURFACES: dict[str, Surface] = {
    each.name: each
    for each in (
        Surface(
            "rastrigin",
            _rastrigin,
            _rastrigin_gradient,
            minima=((0.0, 0.0),),
            view=((-5.12, 5.12), (-5.12, 5.12)),
            start=(3.4, -2.6),
            learning_rate=0.002,
            noise=80.0,
        ),
        Surface(
            "rosenbrock",
            _rosenbrock,
            _rosenbrock_gradient,
            minima=((1.0, 1.0),),
            view=((-2.0, 2.0), (-1.0, 3.0)),
            start=(-1.2, 1.0),
            learning_rate=0.0005,
            noise=20.0,
        ),
        Surface(
            "himmelblau",
            _himmelblau,
            _himmelblau_gradient,
            minima=(
                (3.0, 2.0),
                (-2.805118086952745, 3.131312518250573),
                (-3.779310253377747, -3.283185991286170),
                (3.584428340330492, -1.848126526964404),
            ),
            view=((-5.0, 5.0), (-5.0, 5.0)),
            start=(-0.5, -1.0),
            learning_rate=0.005,
            noise=20.0,
        ),
        Surface(
            "saddle",
            _saddle,
            _saddle_gradient,
            minima=((0.0, -1.0), (0.0, 1.0)),
            view=((-1.5, 1.5), (-1.75, 1.75)),
            start=(1.25, 0.0),
            learning_rate=0.05,
            noise=1.0,
        ),
        Surface(
            "noisy-quadratic",
            _noisy_quadratic,
            _noisy_quadratic_gradient,
            minima=((0.0, 0.0),),
            view=((-4.0, 4.0), (-2.0, 2.0)),
            start=(-3.0, 1.5),
            learning_rate=0.05,
            noise=4.0,
        ),
    )
}
