"""The kernels of averaging: what they take, which instantiations there are, and on how many threads they run."""

from typing import Final

import torch

from crossbow_lab.kernels import _checks as checks
from crossbow_lab.kernels import launch as launching
from crossbow_lab.kernels.kernel import Kernel, Parameter, Template

TILE: Final = 256  # elements of a row that one warp handles at a time, and that one partial sum covers

_WARP: Final = 32
# A row of few tiles goes to more, smaller blocks, so that no multiprocessor of a large device (H100, H200: 132) is
# idle while others have several warps.
_SPREAD_BLOCKS: Final = 264


def _pointers(names: str) -> tuple[Parameter, ...]:
    """Describe pointers; a question mark marks one that may be null."""
    return tuple(Parameter(name.rstrip("?"), "pointer", optional=name.endswith("?")) for name in names.split())


_N: Final = (Parameter("n", "i64"),)
_BANK: Final = (*_N, Parameter("ld", "i64"), Parameter("k", "i32"))

SMA_UPDATE: Final = Kernel("sma.cu", "sma_update", _pointers("w g v? z e partials? scalars") + _BANK)
SMA_CORRECT: Final = Kernel("sma.cu", "sma_correct", _pointers("w g v? z d_out scalars") + _N)
SMA_AVERAGE: Final = Kernel("sma.cu", "sma_average", _pointers("z e d scalars") + _BANK)
SQUARE_SUMS: Final = Kernel("sma.cu", "square_sums", (*_pointers("partials out"), Parameter("tiles", "i64")))
SGD_UPDATE: Final = Kernel("sgd.cu", "sgd_update", _pointers("w g v? scalars") + _BANK)
EASGD_UPDATE: Final = Kernel("easgd.cu", "easgd_update", _pointers("w g v? z partials? scalars") + _BANK)
EASGD_AVERAGE: Final = Kernel("easgd.cu", "easgd_average", _pointers("z d scalars") + _BANK)
SSGD_UPDATE: Final = Kernel("ssgd.cu", "ssgd_update", _pointers("w g z e scalars") + _N)


def variants(dtypes: tuple[torch.dtype, ...] = tuple(checks.TYPES)) -> list[tuple[Kernel, Template]]:
    """Return every instantiation that the doors can ask for, for weights of these types.

    Returns
    -------
    list of (Kernel, template arguments)
        What `crossbow_lab.kernels.prepare` takes.
    """
    found: list[tuple[Kernel, Template]] = []
    for dtype in dtypes:
        name = checks.TYPES[dtype]
        for local in (False, True):
            found += [(SMA_UPDATE, (name, local, norms)) for norms in (False, True)]
            found += [(EASGD_UPDATE, (name, local, norms)) for norms in (False, True)]
            found += [(SMA_CORRECT, (name, local)), (SGD_UPDATE, (name, local))]
        found.append((SSGD_UPDATE, (name,)))
    for name in dict.fromkeys(checks.TYPES[checks.arithmetic_type(dtype)] for dtype in dtypes):
        found += [(kernel, (name,)) for kernel in (SMA_AVERAGE, EASGD_AVERAGE, SQUARE_SUMS)]
    return found


def tiles_of(n: int) -> int:
    """Return how many tiles a row of n elements has."""
    return -(-n // TILE)


def geometry(tiles: int) -> tuple[int, int]:
    """Return (blocks, threads of a block) for this many tiles, a warp to each. Results don't depend on it.

    Examples
    --------
    >>> geometry(0), geometry(200), geometry(1_000), geometry(40_000)
    ((0, 32), (200, 32), (250, 128), (5000, 256))
    """
    warps = min(max(-(-tiles // _SPREAD_BLOCKS), 1), launching.BLOCK // _WARP)
    return launching.blocks(tiles, warps), warps * _WARP
