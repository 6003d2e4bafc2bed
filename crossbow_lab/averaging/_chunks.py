"""How a bank is walked: in chunks of columns that stay in the cache, with scratch allocated once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from crossbow_lab.averaging import _checks as checks
from crossbow_lab.errors import ConfigurationError

# Milliseconds per sma_step, by MiB of differences per chunk: medians of interleaved runs in float32 on 2 cores of an
# AMD EPYC (L2 512 KB per core, L3 32 MB), torch 2.13. Interquartile range: 1 to 26 % of the median, 40 % for the 157.
#
#    k           n  runs   1/8   1/4   1/2     1     2     3     4     6     8    16  one chunk
#   16   1,111,946    25  31.8  18.8  15.1  12.6  11.3  10.9  10.6  11.1  11.5  16.4  18.7
#    8  10,000,000     7   157    94    75    61    53    53    54    60    68    94   113
#   16      26,122   200  0.66  0.42  0.33  0.26                                      0.20  (1.6 MiB)
#
# So chunks belong in L3: those that fit L2 (1/4 MiB and less) are undone by the fixed cost of seven operators each.
# One pass that reads w and g and writes w, the least an update can do, takes 4.9, 26 and 0.03 ms.
_CHUNK_BYTES_CPU = 4 * 2**20

# Elsewhere a chunk need only hide the launches of its kernels and not burden the memory.
# Not measured on a GPU.
_CHUNK_BYTES_DEVICE = 32 * 2**20

# Chunks that begin at a multiple of 64 columns keep the alignment of a padded bank, and the order in which
# torch.sum adds up a column.
_CHUNK_MULTIPLE = 64

# Without padding, rows of a chunk of 2^m columns would compete for one set of the cache: 1 to 4 % slower.
_ROW_PADDING_BYTES = 64


@dataclass(frozen=True)
class Scratch:
    """Room for one chunk of differences and their sum; made by `make_scratch`, reused by every step.

    Attributes
    ----------
    bank_shape : (int, int)
        Shape (k, n) of the banks that it serves.
    chunk_columns : int
        Columns per chunk.
    chunks : tuple of (Tensor, Tensor)
        For each chunk a view (k, c) for the differences and a view (c,) for their sum; all share one storage.
    """

    bank_shape: tuple[int, int]
    chunk_columns: int
    chunks: tuple[tuple[Tensor, Tensor], ...]


def make_scratch(weights_kn: Tensor, *, chunk_columns: int | None = None) -> Scratch:
    """Allocate the scratch that lets the rules work on banks like this one without allocating.

    Parameters
    ----------
    weights_kn : floating-point Tensor, shape (k, n)
        A bank; its shape, dtype and device are read.
    chunk_columns : int, optional
        Columns per chunk, at least 1. By default as many as 4 MiB of differences hold on a CPU (measured),
        32 MiB elsewhere; so a small bank is one chunk.

    Returns
    -------
    Scratch
        New; about 4 MiB at most on a CPU by default.

    Raises
    ------
    ConfigurationError
        If weights_kn is not a bank, or chunk_columns is not a whole number of at least 1.

    Examples
    --------
    >>> scratch = make_scratch(torch.zeros(16, 1_000_000))
    >>> scratch.chunk_columns, len(scratch.chunks)
    (65536, 16)
    """
    checks.bank(weights_kn)
    k, n = weights_kn.shape
    columns = default_columns(weights_kn) if chunk_columns is None else chunk_columns
    if isinstance(columns, bool) or not isinstance(columns, int) or columns < 1:
        raise ConfigurationError(
            f"chunk_columns is {columns!r}; it must be a whole number of at least 1, or None for the measured choice"
        )
    columns = min(columns, n)
    row = columns + _ROW_PADDING_BYTES // weights_kn.element_size()
    differences = torch.empty((k, row), dtype=weights_kn.dtype, device=weights_kn.device)
    total = torch.empty(columns, dtype=weights_kn.dtype, device=weights_kn.device)
    widths = [min(columns, n - start) for start in range(0, n, columns)]
    chunks = tuple((differences[:, :width], total[:width]) for width in widths)
    return Scratch(bank_shape=(k, n), chunk_columns=columns, chunks=chunks)


def scratch_for(weights_kn: Tensor, scratch: Scratch | None) -> Scratch:
    """Return the scratch given if it serves this bank, or a new one if none is given."""
    if scratch is None:
        return make_scratch(weights_kn)
    difference, _ = scratch.chunks[0]
    if (
        scratch.bank_shape == weights_kn.shape
        and difference.dtype == weights_kn.dtype
        and difference.device == weights_kn.device
    ):
        return scratch
    raise ConfigurationError(
        f"scratch was made for a bank of shape {scratch.bank_shape}, {difference.dtype}, on "
        f"{difference.device}, but the weights have shape {tuple(weights_kn.shape)}, {weights_kn.dtype}, on "
        f"{weights_kn.device}: call make_scratch(weights) again when the number of learners changes"
    )


def default_columns(weights_kn: Tensor) -> int:
    """Return how many columns of a bank make a chunk by default."""
    budget = _CHUNK_BYTES_CPU if weights_kn.device.type == "cpu" else _CHUNK_BYTES_DEVICE
    columns = budget // (weights_kn.element_size() * len(weights_kn))
    return max(_CHUNK_MULTIPLE, columns // _CHUNK_MULTIPLE * _CHUNK_MULTIPLE)


def split(tensor: Tensor, columns: int) -> Sequence[Tensor]:
    """Return views of a tensor's chunks of columns; the tensor itself if it is one, which saves time."""
    return (tensor,) if tensor.shape[-1] <= columns else torch.split(tensor, columns, -1)


def split_or_none(tensor: Tensor | None, columns: int, n_chunks: int) -> Sequence[Tensor | None]:
    """Return views of a tensor's chunks of columns, or as many times None."""
    return (None,) * n_chunks if tensor is None else split(tensor, columns)


class Chunk(NamedTuple):
    """Some columns of what a rule works on: w, g, v (None without local momentum) and z, with their scratch."""

    w: Tensor
    g: Tensor
    v: Tensor | None
    z: Tensor
    difference: Tensor
    total: Tensor


def walk(
    weights_kn: Tensor,
    gradients_kn: Tensor,
    local_velocity_kn: Tensor | None,
    centre_n: Tensor,
    local: checks.LocalSGD,
    scratch: Scratch,
) -> Iterator[Chunk]:
    """Return the chunks of a bank, once it is sure that its parts fit together."""
    checks.learners(weights_kn, gradients_kn, local_velocity_kn, local.momentum)
    checks.centre(weights_kn, centre_n=centre_n)
    columns, n_chunks = scratch.chunk_columns, len(scratch.chunks)
    parts = zip(
        split(weights_kn, columns),
        split(gradients_kn, columns),
        split_or_none(local_velocity_kn, columns, n_chunks),
        split(centre_n, columns),
        scratch.chunks,
        strict=True,
    )
    return (Chunk(w, g, v, z, difference, total) for w, g, v, z, (difference, total) in parts)
