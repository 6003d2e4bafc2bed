"""The one place where kernels are launched: on torch's current stream, looked up each time.

torch owns all memory, so nothing is converted: a kernel gets addresses. Wrappers call ``launching.launch`` through this
module, so that tests can run the same packed arguments on the CPU.
"""

from collections.abc import Mapping

import torch

from crossbow_lab.errors import DeviceUnavailable
from crossbow_lab.kernels import compile as compiling
from crossbow_lab.kernels.kernel import Kernel, Template, pack

BLOCK = 256  # threads of a block, in every kernel that says nothing else
MAX_BLOCKS = 65_535  # enough to fill any device hundreds of times over; kernels stride over the rest


class _Stream:
    """What CuPy's launch reads of a stream: its address. A CuPy stream object would be kept in thread-local state."""

    __slots__ = ("ptr",)

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr


def blocks(items: int, per_block: int) -> int:
    """Return how many blocks cover ``items``, at most `MAX_BLOCKS`. Results never depend on it, only speed does.

    Examples
    --------
    >>> blocks(0, 256), blocks(257, 256), blocks(10**12, 256)
    (0, 2, 65535)
    """
    return min(-(-items // per_block), MAX_BLOCKS)


def launch(
    kernel: Kernel, template: Template, grid: int, block: int, values: Mapping[str, object], device: torch.device
) -> None:
    """Launch a kernel on torch's current stream of a device. Never waits, once the kernel is compiled.

    Parameters
    ----------
    kernel : Kernel
    template : tuple of str or bool
        Template arguments, such as ``("float", True)``.
    grid : int
        Number of blocks. With 0 nothing is launched.
    block : int
        Threads of a block.
    values : mapping
        See `crossbow_lab.kernels.kernel.pack`. Pointers must be tensors on ``device``.
    device : torch.device
        A CUDA device.

    Raises
    ------
    TypeError
        If the values don't fit the kernel's parameters.
    DeviceUnavailable
        If the device is not a CUDA device, or kernels can't run on it.
    KernelError
        If the kernel doesn't compile.

    Notes
    -----
    Compiles on first use, which synchronises and is illegal while a CUDA graph is captured: call
    `crossbow_lab.kernels.prepare` before.
    """
    arguments = pack(kernel, values)
    if device.type != "cuda":
        raise DeviceUnavailable(
            f"{kernel.name} is a CUDA kernel, but its tensors are on {device}; move them with .to('cuda'), or use "
            "crossbow_lab.averaging, whose rules run on any device"
        )
    if grid == 0:
        return
    function = compiling.function(kernel, template, device)
    with torch.cuda.device(device):  # CuPy takes the function of the current device
        stream = torch.cuda.current_stream(device).cuda_stream
        function((grid,), (block,), arguments, stream=_Stream(stream))
