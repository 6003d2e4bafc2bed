"""The IDX format of MNIST and Fashion-MNIST: a big-endian header, then unsigned bytes.

Header: two zero bytes, the type (8: unsigned byte), the number of axes, then each extent as a 32-bit integer.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from crossbow_lab.errors import DataError

_UNSIGNED_BYTE = 8


def read_idx(content: bytes, *, axes: int, where: str) -> NDArray[np.uint8]:
    """Read the unsigned bytes of an IDX file.

    Parameters
    ----------
    content : bytes
        The whole file, decompressed.
    axes : int
        How many axes it must have: 3 for images, 1 for labels.
    where : str
        What messages call the file.

    Returns
    -------
    uint8 array
        A view of ``content``: read-only if that is.

    Raises
    ------
    DataError
        If this isn't such a file, or it is cut short.

    Examples
    --------
    >>> read_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]), axes=1, where="labels")
    array([7, 2, 1], dtype=uint8)
    """
    expected = bytes([0, 0, _UNSIGNED_BYTE, axes])
    if content[:4] != expected or len(content) < 4 + 4 * axes:
        raise DataError(
            f"{where} isn't an IDX file of unsigned bytes with {axes} axes: it starts with "
            f"{content[:4].hex(' ')}, not {expected.hex(' ')}; replace it with the published file"
        )
    shape = struct.unpack_from(f">{axes}I", content, 4)
    start = 4 + 4 * axes
    n_values = int(np.prod(shape, dtype=object))
    if len(content) - start != n_values:
        raise DataError(
            f"{where} should hold {n_values} bytes of shape {shape} but holds {len(content) - start}: it "
            f"was cut short or damaged; replace it with the published file"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
