"""What the doors of cuda/batch.cu refuse, and how they say so. Of tensors, only the metadata is read."""

from collections.abc import Mapping

import torch
from torch import Tensor

from crossbow_lab.errors import ConfigurationError

_MOST_ELEMENTS = 2**31 - 257  # of one sample: the kernel counts them in 32 bits, in slices of 256


def stream(
    name: str,
    source: Tensor,
    order: Tensor,
    cursor: Tensor,
    out: Tensor,
    offset: int,
    types: Mapping[torch.dtype, str],
) -> None:
    """Refuse a data set's samples or targets, an order, a cursor or an output that don't fit each other."""
    if source.dtype not in types or source.dim() < 1 or not source.is_contiguous() or not source.numel():
        raise ConfigurationError(
            f"{name} have shape {tuple(source.shape)}, strides {source.stride()}, {source.dtype}; needed is a "
            f"contiguous tensor (N, ...), not empty, of {', '.join(map(str, types))}: convert them once, when they go "
            "to the device"
        )
    n_samples = len(source)
    is_whole = order.dim() == 2 and order.shape[1] == n_samples and order.numel() > 0 and order.is_contiguous()
    if not is_whole or order.dtype != torch.int32:
        raise ConfigurationError(
            f"order has shape {tuple(order.shape)}, strides {order.stride()}, {order.dtype}; with {n_samples} samples "
            f"it must be a contiguous int32 tensor (ring, {n_samples}), one row for the order of each epoch"
        )
    cursor_of_stream(cursor)
    if out.dim() != source.dim() or out.shape[1:] != source.shape[1:]:
        needed = ", ".join(("count", *map(str, source.shape[1:])))
        raise ConfigurationError(
            f"out has shape {tuple(out.shape)}; for {name} of shape {tuple(source.shape)} it must be ({needed})"
        )
    if len({source.device, order.device, cursor.device, out.device}) > 1:
        raise ConfigurationError(
            f"{name} are on {source.device}, order on {order.device}, cursor on {cursor.device}, out on {out.device}; "
            f"all must be on one device: .to('{out.device}')"
        )
    if offset < 0:
        raise ConfigurationError(f"offset is {offset}; it is counted from the cursor and must be at least 0")


def cursor_of_stream(cursor: Tensor) -> None:
    """Refuse what is not a cursor."""
    if cursor.shape != (2,) or cursor.dtype != torch.int64 or not cursor.is_contiguous():
        raise ConfigurationError(
            f"cursor has shape {tuple(cursor.shape)}, strides {cursor.stride()}, {cursor.dtype}; it must hold position "
            "and iteration: torch.zeros(2, dtype=torch.int64, device=...)"
        )


def inputs(samples: Tensor, out: Tensor, types: Mapping[torch.dtype, str], *, is_varied: bool) -> None:
    """Refuse inputs of another type, elements that share memory, samples without axes, and crops of no image."""
    given = f"out has shape {tuple(out.shape)}, strides {out.stride()}, {out.dtype}"
    if out.dtype not in types or samples.dim() < 2 or samples[0].numel() > _MOST_ELEMENTS:
        raise ConfigurationError(
            f"{given}; inputs are (count, *input_shape) of {' or '.join(map(str, types))}, with one axis or more and "
            f"at most {_MOST_ELEMENTS} elements in a sample"
        )
    reach = 1
    for stride, size in sorted(zip(out.stride(), out.shape, strict=True)):
        if size > 1 and stride < reach:
            raise ConfigurationError(f"{given}; its elements share memory: out.clone() gives each its own")
        reach = max(reach, stride * size)
    if is_varied and out.dim() != 4:
        raise ConfigurationError(f"{given}; augmentation needs images, (count, C, H, W): leave it out")


def scaling(scale: Tensor | None, shift: Tensor | None, out: Tensor) -> None:
    """Refuse scale and shift that don't fit the channels."""
    if scale is None and shift is None:
        return
    for name, values in (("scale", scale), ("shift", shift)):
        if values is None:
            raise ConfigurationError(f"{name} is None but the other one isn't; give both, or None for both")
        fits = values.dim() == 1 and len(values) in (1, out.shape[1]) and values.is_contiguous()
        if not fits or values.dtype != out.dtype or values.device != out.device:
            raise ConfigurationError(
                f"{name} has shape {tuple(values.shape)}, {values.dtype}, on {values.device}; with out of shape "
                f"{tuple(out.shape)}, {out.dtype}, on {out.device} it must hold 1 or {out.shape[1]} values of that "
                "dtype, there"
            )


def targets(source: Tensor, out: Tensor) -> None:
    """Refuse an output of another type, or with gaps."""
    if out.dtype != source.dtype or not out.is_contiguous():
        raise ConfigurationError(
            f"out has strides {out.stride()}, {out.dtype}; targets of {source.dtype} need the same dtype, contiguous: "
            "targets.new_empty(count, *targets.shape[1:])"
        )
