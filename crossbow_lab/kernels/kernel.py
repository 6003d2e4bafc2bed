"""What a kernel is called, where its source is, and what it takes: the one description that every launch is packed by.

CuPy passes a Python int as 64 bits and a Python float as a double whatever the kernel's C++ signature says, and a
wrong width is garbage without a message. So values become NumPy scalars of exactly the declared type here, once, and
a test compares each description with the signature in the source.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from torch import Tensor

Kind = Literal["pointer", "i32", "i64"]
Scalar = np.uint64 | np.int32 | np.int64
Template = tuple[str | bool, ...]

_NULL: Final = np.uint64(0)
# The same addresses and extents come again in every iteration, and NumPy takes 0.3 us to make a scalar.
_uint64 = lru_cache(maxsize=4096)(np.uint64)
_int32 = lru_cache(maxsize=4096)(np.int32)
_int64 = lru_cache(maxsize=4096)(np.int64)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel.

    Parameters
    ----------
    name : str
        As in the source.
    kind : {"pointer", "i32", "i64"}
        Device pointer, ``int`` or ``long long``.
    optional : bool
        Whether a pointer may be null, given as None.
    """

    name: str
    kind: Kind
    optional: bool = False


@dataclass(frozen=True, eq=False)  # a kernel is itself and no other: compiled functions are looked up by identity
class Kernel:
    """A ``__global__`` function of cuda/FILE.

    Parameters
    ----------
    file : str
        Name of the file in ``cuda/``, such as ``"sma.cu"``.
    name : str
        Name of the function, without template arguments.
    parameters : tuple of Parameter
        In the order of the C++ signature.
    """

    file: str
    name: str
    parameters: tuple[Parameter, ...]
    _converters: tuple[tuple[str, Callable[[str, object], Scalar]], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Look the converters up once, not at every launch."""
        converters = tuple((p.name, _OPTIONAL if p.optional else _CONVERTERS[p.kind]) for p in self.parameters)
        object.__setattr__(self, "_converters", converters)

    def expression(self, template: Template) -> str:
        """Return the C++ name of one instantiation, such as ``"sma_update<float, true, false>"``.

        Parameters
        ----------
        template : tuple of str or bool
            The template arguments; ``()`` for a function that is no template.
        """
        if not template:
            return self.name
        return f"{self.name}<{', '.join(_argument(argument) for argument in template)}>"


def pack(kernel: Kernel, values: Mapping[str, object]) -> tuple[Scalar, ...]:
    """Return a launch's arguments as scalars of exactly the kernel's types, in its order.

    Parameters
    ----------
    kernel : Kernel
    values : mapping from parameter name to Tensor, None or int
        A Tensor for a pointer (its address is taken: the caller keeps it alive until the kernel has run, which torch's
        allocator ensures for tensors of the launch's stream), None for an optional one, an int otherwise.

    Returns
    -------
    tuple of NumPy scalars
        ``uint64`` for pointers, ``int32`` and ``int64``; what CuPy's launch takes.

    Raises
    ------
    TypeError
        If a value is missing, left over, of another type or too wide. This is an error in the caller's program, not
        in a user's setting.

    Examples
    --------
    >>> advance = Kernel("batch.cu", "advance", (Parameter("cursor", "pointer", optional=True), Parameter("n", "i64")))
    >>> pack(advance, {"cursor": None, "n": 3})
    (np.uint64(0), np.int64(3))
    """
    try:
        packed = tuple([convert(name, values[name]) for name, convert in kernel._converters])
    except KeyError as error:
        raise TypeError(f"{kernel.name} in {kernel.file} needs a value for {error.args[0]!r}; give one") from None
    except TypeError as error:
        raise TypeError(f"{kernel.name} in {kernel.file}: {error}") from None
    if len(packed) != len(values):
        extra = sorted(set(values) - {p.name for p in kernel.parameters})
        raise TypeError(f"{kernel.name} in {kernel.file} has no parameter {', '.join(extra)}; leave it out")
    return packed


def _argument(argument: str | bool) -> str:
    """Spell one template argument in C++."""
    return argument if isinstance(argument, str) else str(argument).lower()


def _pointer(name: str, value: object) -> np.uint64:
    """Take a tensor's address."""
    if isinstance(value, Tensor):
        return _uint64(value.data_ptr())
    raise TypeError(f"{name} is {value!r}; it must be a torch.Tensor")


def _optional_pointer(name: str, value: object) -> np.uint64:
    """Take a tensor's address, or null for None."""
    return _NULL if value is None else _pointer(name, value)


def _i32(name: str, value: object) -> np.int32:
    """Narrow an int, if it fits."""
    if type(value) is int and -(2**31) <= value < 2**31:
        return _int32(value)
    raise TypeError(f"{name} is {value!r}; it must be an int of at most 32 bits")


def _i64(name: str, value: object) -> np.int64:
    """Take an int, if it fits."""
    if type(value) is int and -(2**63) <= value < 2**63:
        return _int64(value)
    raise TypeError(f"{name} is {value!r}; it must be an int of at most 64 bits")


_CONVERTERS: Final[dict[str, Callable[[str, object], Scalar]]] = {"pointer": _pointer, "i32": _i32, "i64": _i64}
_OPTIONAL: Final = _optional_pointer
