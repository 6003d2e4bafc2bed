"""Surfaces as grids of losses, compressed so that both a valley's floor and its walls have contours."""

from dataclasses import dataclass

import numpy as np

from crossbow_lab.landscape.own import View
from crossbow_lab.landscape.surfaces import Array, Surface

_LOW_SHARE = 0.15  # of the view that lies lower than where compression begins


@dataclass(frozen=True, eq=False)
class Grid:
    """Losses over a view.

    Attributes
    ----------
    x, y : float64 arrays, shape (n,)
        Coordinates, evenly spaced.
    shade : float64 array, shape (n, n), a row for each y
        asinh((loss − low) / scale): nearly the loss itself where it is low, its logarithm where it is high; NaN where
        the loss isn't finite.
    low, scale : float
        So that loss = low + scale · sinh(shade).
    """

    x: Array
    y: Array
    shade: Array
    low: float
    scale: float


def grid_of(surface: Surface, view: View, n: int = 121, like: Grid | None = None) -> Grid:
    """Return the losses of a surface over a view.

    Parameters
    ----------
    surface : Surface
    view : (low, high) of x, (low, high) of y
    n : int
        Points a side.
    like : Grid, optional
        Whose compression is taken, so that a part of a view looks like the whole.

    Examples
    --------
    >>> from crossbow_lab.landscape import surface
    >>> grid = grid_of(surface("saddle"), surface("saddle").view, n=5)
    >>> grid.shade.shape, round(float(grid.low), 3)
    ((5, 5), -0.236)
    """
    x, y = (np.linspace(low, high, n) for low, high in view)
    with np.errstate(all="ignore"):
        loss = surface.loss(*np.meshgrid(x, y))
    loss = np.where(np.isfinite(loss), loss, np.nan)
    if like is None:
        low = float(np.nanmin(loss)) if np.isfinite(loss).any() else 0.0
        scale = float(np.nanquantile(loss - low, _LOW_SHARE)) if np.isfinite(loss).any() else 1.0
        scale = scale if scale > 0 else 1.0
    else:
        low, scale = like.low, like.scale
    return Grid(x, y, np.arcsinh((loss - low) / scale), low, scale)
