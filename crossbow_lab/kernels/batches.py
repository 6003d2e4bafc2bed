"""Batches from a data set on the device: the typed doors of cuda/batch.cu.

Which samples come next is read from a cursor on the device, so a captured CUDA graph that ends with `advance` gathers
the next samples at each replay. What arrives equals `crossbow_lab.learners.Batches` bit for bit. Only metadata of
tensors is checked, and nothing waits for the device.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.kernels import _batch_checks as checks
from crossbow_lab.kernels import launch as launching
from crossbow_lab.kernels.kernel import Kernel, Parameter, Template
from crossbow_lab.random import stream_key

_RAW = {torch.uint8: "unsigned char", torch.float32: "float", torch.float64: "double"}
_INPUTS = {torch.float32: "float", torch.float64: "double"}
_TARGETS = {torch.int64: "long long", torch.float32: "float", torch.float64: "double"}
_SLICE = 256  # elements of one sample that a warp takes, kTile in the source
_WARPS = launching.BLOCK // 32

_COMMON = (
    Parameter("offset", "i64"),
    Parameter("count", "i32"),
    Parameter("epoch_samples", "i64"),
    Parameter("ring", "i32"),
)
GATHER_INPUTS = Kernel(
    "batch.cu",
    "gather_inputs",
    (
        Parameter("samples", "pointer"),
        Parameter("order", "pointer"),
        Parameter("cursor", "pointer"),
        Parameter("scale", "pointer", optional=True),
        Parameter("shift", "pointer", optional=True),
        Parameter("out", "pointer"),
        *_COMMON,
        *(Parameter(name, "i32") for name in ("channels", "height", "width", "scale_step", "shift_step")),
        *(Parameter(name, "i32") for name in ("pad", "flip")),
        *(Parameter(name, "i64") for name in ("key_top", "key_left", "key_flip")),
        *(Parameter(f"stride_{name}", "i64") for name in ("sample", "channel", "row", "column")),
    ),
)
GATHER_TARGETS = Kernel(
    "batch.cu",
    "gather_targets",
    (
        *(Parameter(name, "pointer") for name in ("targets", "order", "cursor", "out")),
        *_COMMON,
        Parameter("width", "i32"),
    ),
)
ADVANCE = Kernel(
    "batch.cu",
    "advance",
    (Parameter("cursor", "pointer"), Parameter("samples", "i64"), Parameter("iterations", "i64")),
)


def variants() -> list[tuple[Kernel, Template]]:
    """Return every instantiation that these doors can ask for.

    Returns
    -------
    list of (Kernel, template arguments)
        What `crossbow_lab.kernels.prepare` takes.
    """
    inputs = [(GATHER_INPUTS, (raw, to)) for raw in _RAW.values() for to in _INPUTS.values()]
    return [*inputs, *((GATHER_TARGETS, (kind,)) for kind in _TARGETS.values()), (ADVANCE, ())]


@dataclass(frozen=True)
class RandomCrop:
    """How images are varied: a random crop after zero-padding and a random mirroring, keyed by position in the stream.

    Parameters
    ----------
    pad : int
        Raw zeros added on each side before a crop of the original size, at least 0.
    flip : bool
        Whether half of the images, at random, are mirrored left to right.
    key_top, key_left, key_flip : int
        Signed 64-bit keys of the streams that place the crop and choose the mirrored; `seeded` makes them.

    Raises
    ------
    ConfigurationError
        If pad is negative.

    Examples
    --------
    >>> RandomCrop.seeded(0, pad=4, flip=True) == RandomCrop.seeded(0, pad=4, flip=True)
    True
    """

    pad: int
    flip: bool
    key_top: int
    key_left: int
    key_flip: int

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise ConfigurationError(f"pad is {self.pad}; it must be a number of pixels, at least 0")

    @classmethod
    def seeded(cls, seed: int, *, pad: int, flip: bool) -> "RandomCrop":
        """Return the variation that a session with this seed applies; the keys are those of `learners.Batches`."""
        keys = (stream_key(seed, name) for name in ("crop-top", "crop-left", "flip"))
        return cls(pad, flip, *keys)


def gather_inputs(
    samples: Tensor,
    order: Tensor,
    cursor: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    out: Tensor,
    *,
    offset: int,
    augmentation: RandomCrop | None = None,
) -> None:
    """Write the inputs of the next samples of the stream: ``raw * scale + shift``, per channel, perhaps cropped.

    Sample i of the launch is at position p = cursor[0] + offset + i. With N samples in an epoch it is row
    ``order[p // N % ring, p % N]`` of the data set.

    Parameters
    ----------
    samples : uint8, float32 or float64 Tensor, shape (N, *input_shape), contiguous
        Raw values of the whole data set.
    order : int32 Tensor, shape (ring, N), contiguous
        Orders of `ring` consecutive epochs, that of epoch e in row e % ring; whoever advances keeps it filled.
    cursor : int64 Tensor, shape (2,)
        Position in the stream and iteration. Read on the device.
    scale, shift : Tensor like ``out``, shape (1,) or (input_shape[0],), or both None
        One value for all channels, or one each. None leaves the values as they are.
    out : float32 or float64 Tensor, shape (count, *input_shape), any strides
        Where inputs go, in any memory format.
    offset : int
        Position of the first sample, counted from the cursor; at least 0.
    augmentation : RandomCrop, optional
        Needs images: input_shape (C, H, W).

    Raises
    ------
    ConfigurationError
        If shapes, dtypes, devices or layouts don't fit.
    DeviceUnavailable, KernelError
        As `crossbow_lab.kernels.launch.launch`.

    Notes
    -----
    Moves each element once: 1 + 4 bytes for bytes to float32. On torch's current stream; never synchronises.
    The two roundings are those of the CPU. Results too small for a normal number are flushed to zero.
    """
    checks.stream("samples", samples, order, cursor, out, offset, _RAW)
    checks.inputs(samples, out, _INPUTS, is_varied=augmentation is not None)
    checks.scaling(scale, shift, out)
    channels, height, width, strides = _image(out)
    varied = augmentation or RandomCrop(pad=0, flip=False, key_top=0, key_left=0, key_flip=0)
    slices = -(-channels * height * width // _SLICE)
    values = {
        "samples": samples,
        "scale": scale,
        "shift": shift,
        "channels": channels,
        "height": height,
        "width": width,
        "scale_step": int(scale is not None and len(scale) > 1),
        "shift_step": int(shift is not None and len(shift) > 1),
        "pad": varied.pad,
        "flip": int(varied.flip),
        "key_top": varied.key_top,
        "key_left": varied.key_left,
        "key_flip": varied.key_flip,
        "stride_sample": out.stride(0),
        "stride_channel": strides[0],
        "stride_row": strides[1],
        "stride_column": strides[2],
        **_place(order, cursor, out, offset),
    }
    template = (_RAW[samples.dtype], _INPUTS[out.dtype])
    grid = launching.blocks(len(out) * slices, _WARPS)
    launching.launch(GATHER_INPUTS, template, grid, launching.BLOCK, values, out.device)


def gather_targets(targets: Tensor, order: Tensor, cursor: Tensor, out: Tensor, *, offset: int) -> None:
    """Write the targets of the next samples of the stream; which they are, says `gather_inputs`.

    Parameters
    ----------
    targets : int64, float32 or float64 Tensor, shape (N, ...), contiguous
        Class labels or values of the whole data set.
    order, cursor, offset
        As in `gather_inputs`.
    out : Tensor like ``targets``, shape (count, ...), contiguous
        Where targets go.

    Raises
    ------
    ConfigurationError
        If shapes, dtypes, devices or layouts don't fit.
    DeviceUnavailable, KernelError
        As `crossbow_lab.kernels.launch.launch`.
    """
    checks.stream("targets", targets, order, cursor, out, offset, _TARGETS)
    checks.targets(targets, out)
    width = math.prod(targets.shape[1:])
    values = {"targets": targets, "width": width, **_place(order, cursor, out, offset)}
    grid = launching.blocks(len(out) * width, launching.BLOCK)
    launching.launch(GATHER_TARGETS, (_TARGETS[out.dtype],), grid, launching.BLOCK, values, out.device)


def advance(cursor: Tensor, *, samples: int, iterations: int) -> None:
    """Move the cursor behind the samples of an iteration, on the device; after all gathers of that iteration.

    Parameters
    ----------
    cursor : int64 Tensor, shape (2,)
        Position in the stream and iteration; updated in place.
    samples, iterations : int
        What is added to them: k·b and 1 for one iteration.

    Raises
    ------
    ConfigurationError
        If the cursor is not an int64 tensor of shape (2,), contiguous.
    DeviceUnavailable, KernelError
        As `crossbow_lab.kernels.launch.launch`.
    """
    checks.cursor_of_stream(cursor)
    values = {"cursor": cursor, "samples": samples, "iterations": iterations}
    launching.launch(ADVANCE, (), 1, 1, values, cursor.device)


def _place(order: Tensor, cursor: Tensor, out: Tensor, offset: int) -> dict[str, object]:
    """Return what both gathers are told about the stream."""
    ring, epoch_samples = order.shape
    return {
        "order": order,
        "cursor": cursor,
        "out": out,
        "offset": offset,
        "count": len(out),
        "epoch_samples": epoch_samples,
        "ring": ring,
    }


def _image(out: Tensor) -> tuple[int, int, int, tuple[int, int, int]]:
    """See a sample as channels x rows x columns, and return these with their strides in ``out``."""
    shape, strides = tuple(out.shape[2:]), tuple(out.stride()[2:])
    if len(shape) > 2:
        shape, strides = _folded(shape, strides)
    height, width = (1, 1, *shape)[-2:]
    row, column = (0, 0, *strides)[-2:]
    return out.shape[1], height, width, (out.stride(1), row, column)


def _folded(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Join neighbouring axes that lie behind each other in memory, so that at most two remain."""
    sizes: list[int] = []
    steps: list[int] = []
    for size, step in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if steps and steps[-1] == size * step:
            sizes[-1], steps[-1] = sizes[-1] * size, step
        else:
            sizes, steps = [*sizes, size], [*steps, step]
    if len(sizes) > 2:
        raise ConfigurationError(
            f"out has the axes {tuple(shape)} behind its channels, with strides {tuple(strides)}; more than two "
            "axes must lie behind each other in memory: make out contiguous, or channels last"
        )
    return tuple(sizes), tuple(steps)
