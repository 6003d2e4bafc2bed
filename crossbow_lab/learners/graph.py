"""A sequence of launches as one CUDA graph: captured once, replayed with one launch."""

import gc
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from crossbow_lab.errors import ExecutorError

_aten = torch.ops.aten
# Operators that wait for the device, because the host, or the shape of their result, needs to know a value.
_WAITING = frozenset(
    [
        *(_aten._local_scalar_dense, _aten.item, _aten.nonzero, _aten.masked_select, _aten.equal),
        *(_aten.unique_consecutive, _aten.unique_dim, _aten._unique, _aten._unique2, _aten.repeat_interleave),
    ]
)
_capturing = threading.Lock()  # entering a capture waits for the device, which another thread's capture would not bear
_failed: list[torch.cuda.CUDAGraph] = []  # torch's allocator may still point to a graph whose capture failed


@dataclass(frozen=True, eq=False)
class Replay:
    """A captured graph, with all that its launches point to.

    Attributes
    ----------
    graph : what is replayed, on the stream that is current when this is called.
    work : what was captured; it keeps alive the memory that the graph reads and writes by address.
    """

    graph: torch.cuda.CUDAGraph
    work: Callable[[], None]

    def __call__(self) -> None:
        """Launch it; the host doesn't wait."""
        self.graph.replay()


def capture(work: Callable[[], None], warm_up: Callable[[], None], device: torch.device) -> Replay:
    """Capture what ``work`` launches.

    Parameters
    ----------
    work : launches on the device, and neither waits for it nor copies from the host
    warm_up : runs on the same streams before, twice, so that libraries choose their algorithms and allocate their
        workspaces, and kernels are compiled and loaded, none of which can be captured
    device : a CUDA device

    Raises
    ------
    ExecutorError
        If something in it can't be captured, naming the operator, or torch's last one before that.
    torch.OutOfMemoryError
        If there is no memory for what it allocates.
    """
    graph = torch.cuda.CUDAGraph()
    watch = _LastOperator()  # type: ignore[no-untyped-call]
    # A stream of its own: cuBLAS keeps its workspace by stream, and graphs that share one can't be freed
    # independently (pytorch#193402).
    stream, current = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    # The outer context puts the current stream back, which torch doesn't if a capture fails.
    with _capturing, torch.cuda.device(device), torch.cuda.stream(current):
        stream.wait_stream(current)
        try:
            with torch.cuda.stream(stream):
                warm_up()
                with OnlyCapturable():  # type: ignore[no-untyped-call]  # a capture that fails leaves much behind
                    warm_up()
        except Exception:
            torch.cuda.synchronize(device)  # what was launched before must not overtake what comes after
            raise
        gc.collect()  # a tensor collected while capturing would be freed into the graph
        try:
            # Thread-local: other threads of a notebook may use the device meanwhile.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"), watch:
                work()
        except RuntimeError as error:
            _failed.append(graph)
            if _is_out_of_memory(error):
                raise torch.OutOfMemoryError(_reason(error)) from error
            raise ExecutorError(
                f"it can't be captured in a CUDA graph, at or after {watch.last}: {_reason(error)}"
            ) from error
    return Replay(graph, work)


class OnlyCapturable(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch doesn't annotate it
    """While active, an operator that a CUDA graph can't hold raises ExecutorError instead of running."""

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator, unless it waits for the device or copies between it and the host."""
        if func.overloadpacket in _WAITING or _selects_by_mask(func, args):
            raise ExecutorError(
                f"it can't be captured in a CUDA graph: {func} waits for the device, because what follows depends on "
                "a value; compute with tensors only"
            )
        result = func(*args, **(kwargs or {}))
        tensors = [value for value in pytree.tree_leaves((args, kwargs, result)) if isinstance(value, Tensor)]
        if len({tensor.device for tensor in tensors}) > 1:
            raise ExecutorError(
                f"it can't be captured in a CUDA graph: {func} copies between the device and the host; make tensors on "
                "the device of the inputs, and constants buffers of the model"
            )
        return result


def _selects_by_mask(func: Any, args: tuple[Any, ...]) -> bool:
    """Tell whether an operator indexes by a mask, so that the result's shape depends on values."""
    if func.overloadpacket is not _aten.index:
        return False
    return any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1])


class _LastOperator(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch doesn't annotate it
    """Remembers which operator ran last."""

    last = "its first operator"

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator."""
        self.last = str(func)
        return func(*args, **(kwargs or {}))


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it covers, is a lack of memory; leaving a capture raises over the reason."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__context__
    return False


def _reason(error: BaseException) -> str:
    """Return the first line of the error that came first."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
