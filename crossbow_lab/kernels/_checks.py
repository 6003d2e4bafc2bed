"""What the doors to the averaging kernels refuse, and how they say so. Of tensors, only the metadata is read."""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from crossbow_lab.errors import ConfigurationError

ALIGNMENT_BYTES: Final = 16  # of a 128-bit access
VECTOR: Final = 8  # elements of a row that one thread handles at a time

TYPES: Final = {
    torch.float32: "float",
    torch.float64: "double",
    torch.float16: "__half",
    torch.bfloat16: "__nv_bfloat16",
}


class Bank(NamedTuple):
    """What an accepted bank of learners is: k rows of n elements, ld elements apart."""

    k: int
    n: int
    ld: int
    dtype: torch.dtype
    arithmetic: torch.dtype
    device: torch.device

    @property
    def type(self) -> str:
        """The weights' type in C++."""
        return TYPES[self.dtype]


def arithmetic_type(dtype: torch.dtype) -> torch.dtype:
    """Return the type A in which weights of this type are updated: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def bank(name: str, weights_kn: Tensor) -> Bank:
    """Refuse weights that the kernels can't take as k rows of n elements."""
    _floating(name, weights_kn)
    if weights_kn.dim() != 2:
        raise ConfigurationError(
            f"{given(name, weights_kn)}; it must be (k, n), one row of n parameters for each of k learners"
        )
    k, n = weights_kn.shape
    ld, within = weights_kn.stride()
    if n > 1 and within != 1:
        raise ConfigurationError(
            f"{given(name, weights_kn)}; a learner's parameters must be contiguous (stride 1): lay the bank out as "
            "(k, n), or pass .contiguous() and copy it back"
        )
    if k > 1 and (ld < n or ld % VECTOR):
        padded = -(-n // VECTOR) * VECTOR
        raise ConfigurationError(
            f"{given(name, weights_kn)}; rows must lie a multiple of {VECTOR} elements apart and not overlap, for "
            f"128-bit accesses: allocate (k, {padded}) and pass its [:, :{n}]"
        )
    _aligned(name, weights_kn)
    if k <= 1:  # a single row has no next one
        ld = -(-n // VECTOR) * VECTOR
    return Bank(k, n, ld, weights_kn.dtype, arithmetic_type(weights_kn.dtype), weights_kn.device)


def row(name: str, weights_n: Tensor) -> Bank:
    """Refuse weights that the kernels can't take as one row of n elements."""
    _floating(name, weights_n)
    if weights_n.dim() != 1:
        raise ConfigurationError(f"{given(name, weights_n)}; it must be one learner's row, (n,): pass weights[j]")
    (n,) = weights_n.shape
    one = Bank(1, n, -(-n // VECTOR) * VECTOR, weights_n.dtype, arithmetic_type(weights_n.dtype), weights_n.device)
    vector(one, name, weights_n, weights_n.dtype)
    return one


def rows(like: Bank, name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Refuse a tensor that doesn't lie like the bank."""
    k, n = like.k, like.n
    _fits(like, name, tensor, (k, n), dtype)
    stride = tensor.stride()
    if (k > 1 and stride[0] != like.ld) or (n > 1 and stride[1] != 1):
        raise ConfigurationError(
            f"{given(name, tensor)}; its rows must lie as the bank's, strides {(like.ld, 1)}: allocate it like the "
            "bank, padding included, and slice it alike"
        )
    _aligned(name, tensor)
    return tensor


def vector(like: Bank, name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Refuse a tensor that is not n contiguous elements."""
    _fits(like, name, tensor, (like.n,), dtype)
    if like.n > 1 and tensor.stride(0) != 1:
        raise ConfigurationError(f"{given(name, tensor)}; it must be contiguous (stride 1): pass .contiguous()")
    _aligned(name, tensor)
    return tensor


def array(like: Bank, name: str, tensor: object, shape: tuple[int, ...], maker: str) -> Tensor:
    """Refuse a small array of arithmetic type that is not what its maker returns."""
    if not isinstance(tensor, Tensor):
        raise ConfigurationError(f"{name} is a {type(tensor).__name__}; it must be what {maker} returns")
    fits = tensor.shape == shape and tensor.dtype == like.arithmetic and tensor.device == like.device
    if fits and tensor.is_contiguous():
        return tensor
    raise ConfigurationError(
        f"{given(name, tensor)}; with these weights it must be contiguous, of shape {shape}, {like.arithmetic}, on "
        f"{like.device}: {maker} returns it"
    )


def given(name: str, tensor: Tensor) -> str:
    """Say what a tensor is."""
    return (
        f"{name} has shape {tuple(tensor.shape)}, strides {tensor.stride()}, {tensor.dtype}, on {tensor.device}, at "
        f"an address of {tensor.data_ptr() % 256} modulo 256 bytes"
    )


def _floating(name: str, tensor: object) -> None:
    """Refuse what is no tensor of a type that the kernels know."""
    if not isinstance(tensor, Tensor):
        raise ConfigurationError(f"{name} is a {type(tensor).__name__}; the CUDA kernels need a torch.Tensor")
    if tensor.dtype not in TYPES:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in TYPES)
        raise ConfigurationError(f"{given(name, tensor)}; the CUDA kernels know {known}: convert it with .to(dtype)")


def _fits(like: Bank, name: str, tensor: object, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Refuse what has not this shape and dtype, or lies on another device than the weights."""
    if not isinstance(tensor, Tensor):
        raise ConfigurationError(f"{name} is a {type(tensor).__name__}; it must be a torch.Tensor")
    if tensor.shape == shape and tensor.dtype == dtype and tensor.device == like.device:
        return
    raise ConfigurationError(
        f"{given(name, tensor)}; with weights of shape {(like.k, like.n)}, {like.dtype}, on {like.device} it must "
        f"have shape {shape}, {dtype}, on {like.device}: allocate it so, or convert it"
    )


def _aligned(name: str, tensor: Tensor) -> None:
    """Refuse a tensor that starts where no 128-bit access may."""
    if tensor.data_ptr() % ALIGNMENT_BYTES:
        raise ConfigurationError(
            f"{given(name, tensor)}; it must start at a multiple of {ALIGNMENT_BYTES} bytes, for 128-bit accesses: "
            "pass a view that starts at a row of its array, or a .clone()"
        )
