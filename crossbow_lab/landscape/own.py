"""Loss surfaces from functions of the user's own, written in torch; their gradients come from autograd."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.landscape.surfaces import Array, Point, Surface

Function = Callable[..., Any]
View = tuple[Point, Point]

_VIEW: View = ((-2.0, 2.0), (-2.0, 2.0))
_GRID = 41
_STEP_SHARE = 0.02  # of the view: how far a suggested first step goes where the surface is steep


def surface_of(
    function: Function,
    *,
    view: View | None = None,
    start: Point | None = None,
    learning_rate: float | None = None,
    noise: float = 0.0,
) -> Surface:
    """Return a function of one's own as a surface.

    Parameters
    ----------
    function : function (x, y) -> loss, or (points) -> loss
        In torch operations, on float64 tensors: x and y of one shape, or points of shape (..., 2). Returns the loss at
        each point, of shape (...,). Always the same at the same point: noise is a setting of its own.
    view : (low, high) of x, (low, high) of y
        What to look at; from -2 to 2 where not given.
    start : point
        Where learners begin; near a corner of the view where not given.
    learning_rate : float
        γ; where not given, one with which a step goes two per cent of the view where the surface is steep.
    noise : float
        As in `Surface`.

    Raises
    ------
    ConfigurationError
        If it is no such function: with what it did, and what is needed.

    Examples
    --------
    >>> bowl = surface_of(lambda x, y: x**2 + 10 * y**2)
    >>> bowl.loss(np.array(1.0), np.array(0.5)), bowl.gradient(np.array(1.0), np.array(0.5))
    (array(3.5), (array(2.), array(10.)))
    """
    name = getattr(function, "__name__", type(function).__name__)
    name = "your function" if name == "<lambda>" else name
    low_high = _checked_view(_VIEW if view is None else view)
    call = _caller(function, name)

    def loss(x: Array, y: Array) -> Array:
        x, y = _pair(x, y)
        with torch.no_grad():
            return _numbers(_loss(call, name, torch.from_numpy(x), torch.from_numpy(y)))

    def gradient(x: Array, y: Array) -> tuple[Array, Array]:
        x, y = _pair(x, y)
        at = [torch.from_numpy(part).requires_grad_() for part in (x, y)]
        total = _loss(call, name, *at).sum()
        if not total.requires_grad:
            raise ConfigurationError(f"{name} has no gradient: its loss doesn't depend on x and y by torch operations")
        parts = torch.autograd.grad(total, at, allow_unused=True)
        return tuple(np.zeros_like(x) if part is None else _numbers(part) for part in parts)  # type: ignore[return-value]

    x, y = np.meshgrid(*(np.linspace(*side, _GRID) for side in low_high))
    _check(name, loss, gradient, x, y)
    begin = tuple(low + 0.15 * (high - low) for low, high in low_high) if start is None else start
    rate = _rate(gradient(x, y), low_high) if learning_rate is None else learning_rate
    return Surface(name, loss, gradient, minima=(), view=low_high, start=begin, learning_rate=rate, noise=noise)  # type: ignore[arg-type]


def _checked_view(view: View) -> View:
    """Return a view, or refuse it."""
    sides = np.array(view, dtype=np.float64)
    if sides.shape != (2, 2) or not np.isfinite(sides).all() or not (sides[:, 0] < sides[:, 1]).all():
        raise ConfigurationError(
            f"view is {view!r}; give ((low, high), (low, high)) of x and of y, each low below high"
        )
    (left, right), (low, high) = sides.tolist()
    return (left, right), (low, high)


def _caller(function: Function, name: str) -> Callable[[Tensor, Tensor], Any]:
    """Return the function as one of x and y, by the number of arguments that it needs."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return function  # it doesn't say: most such functions are torch's own
    places = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    needed = [one for one in places if one.default is one.empty]
    if len(needed) == 2 or any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return function
    if len(needed) == 1:
        return lambda x, y: function(torch.stack((x, y), dim=-1))
    raise ConfigurationError(
        f"{name} needs {len(needed)} arguments; give a function of two tensors, (x, y), or of one of points (..., 2)"
    )


def _loss(call: Callable[[Tensor, Tensor], Any], name: str, x: Tensor, y: Tensor) -> Tensor:
    """Return the function's loss, or say what is wrong with it."""
    try:
        loss = call(x, y)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"{name} failed on float64 tensors of shape {tuple(x.shape)}: {type(error).__name__}: {error}; it must "
            "use torch operations that take many points at once"
        ) from error
    if not isinstance(loss, Tensor) or loss.shape != x.shape or not loss.is_floating_point():
        got = f"shape {tuple(loss.shape)}, {loss.dtype}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ConfigurationError(
            f"{name} returned {got} for points of shape {tuple(x.shape)}; it must return one loss for each point, a "
            "tensor of that shape"
        )
    return loss


def _check(name: str, loss: Function, gradient: Function, x: Array, y: Array) -> None:
    """Refuse what can't be looked at in its view, or isn't the same twice."""
    heights = loss(x, y)
    if not np.isfinite(heights).any():
        raise ConfigurationError(f"{name} is nowhere finite in the view; give another view=((low, high), (low, high))")
    if not np.array_equal(heights, loss(x, y), equal_nan=True):
        raise ConfigurationError(
            f"{name} returned another loss at the same points; make it a function of them alone, and give noise= for "
            "the gradients' noise"
        )
    gradient(x, y)


def _rate(slopes: tuple[Array, Array], view: View) -> float:
    """Return a learning rate with which a step is small beside the view, to one digit."""
    steep = np.hypot(*slopes)
    steep = steep[np.isfinite(steep)]
    most = float(np.quantile(steep, 0.9)) if steep.size else 0.0
    if most == 0.0:
        return 0.1
    rate = _STEP_SHARE * min(high - low for low, high in view) / most
    return float(f"{rate:.0e}") if math.isfinite(rate) and rate > 0 else 0.1


def _pair(x: Array, y: Array) -> tuple[Array, Array]:
    """Return two arrays of one shape that torch may read."""
    x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
    return x.copy(), y.copy()


def _numbers(values: Tensor) -> Array:
    """Return a tensor as NumPy's float64."""
    numbers: Array = values.detach().double().numpy()
    return numbers
