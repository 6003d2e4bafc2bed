"""CIFAR's Python pickles, read without running anything that they ask for.

A pickle can call any function. These need two things of NumPy's, "make an array" and "make a dtype", and get
stand-ins for them that accept bytes only; whatever else a pickle asks for is refused before it is called.
"""

import io
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbow_lab.errors import DataError

_SHAPE = (3, 32, 32)


class _PickledDtype:
    """Stands in for ``numpy.dtype``: unsigned bytes, or refused."""

    def __init__(self, code: object, *_: object) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"arrays of dtype {code!r} are not expected")

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and the like: a byte has none."""


class _PickledArray:
    """Stands in for ``numpy.ndarray``: its state is (version, shape, dtype, is_fortran, bytes)."""

    def __init__(self, *_: object) -> None:
        self.array: NDArray[np.uint8] | None = None

    def __setstate__(self, state: Any) -> None:
        """Build the array: NumPy checks that shape and bytes agree."""
        _, shape, dtype, is_fortran, content = state
        if not isinstance(dtype, _PickledDtype) or not isinstance(content, bytes):
            raise pickle.UnpicklingError("an array of something else than bytes")
        self.array = np.frombuffer(content, np.uint8).reshape(shape, order="F" if is_fortran else "C")


_STAND_INS: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): _PickledArray,
    ("numpy", "dtype"): _PickledDtype,
    ("numpy.core.multiarray", "_reconstruct"): _PickledArray,  # NumPy 1, as published
    ("numpy._core.multiarray", "_reconstruct"): _PickledArray,  # NumPy 2
}


class _ByteArrayUnpickler(pickle.Unpickler):
    """An unpickler that finds nothing but the stand-ins."""

    def find_class(self, module_name: str, global_name: str) -> type:
        """Return the stand-in, or refuse."""
        try:
            return _STAND_INS[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}") from None


def read_cifar_batch(content: bytes, *, labels_key: str, where: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one of CIFAR's Python pickles; nothing in it is executed.

    Parameters
    ----------
    content : bytes
        The whole file.
    labels_key : str
        "labels" in CIFAR-10, "fine_labels" in CIFAR-100.
    where : str
        What messages call the file.

    Returns
    -------
    (uint8 array, shape (n, 3, 32, 32), int64 array, shape (n,))
        Images, a read-only view, and labels.

    Raises
    ------
    DataError
        If this isn't such a pickle, or it asks for anything else than arrays of bytes.
    """
    advice = "replace it with the published file"
    try:
        batch = _ByteArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle may raise anything
        raise DataError(
            f"{where} isn't a pickle of images and labels ({str(error) or type(error).__name__}); nothing in "
            f"it was run: {advice}"
        ) from error
    held = batch.get(b"data") if isinstance(batch, dict) else None
    images = held.array if isinstance(held, _PickledArray) else None
    labels = batch.get(labels_key.encode()) if isinstance(batch, dict) else None
    if images is None or not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise DataError(f"{where} has no images under 'data' or no labels under {labels_key!r}; {advice}")
    if images.shape != (len(labels), int(np.prod(_SHAPE))):
        raise DataError(
            f"{where} holds images of shape {images.shape} for {len(labels)} labels; each needs 3072 bytes: {advice}"
        )
    return images.reshape(-1, *_SHAPE), np.array(labels, dtype=np.int64)
