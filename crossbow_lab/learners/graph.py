"""A sequence of launches as one CUDA graph: captured once, replayed with one launch."""

import gc
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from crossbow_lab.errors import ExecutorError


def capture(work: Callable[[], None], warm_up: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Return a function that replays what ``work`` launches, on the stream that is current when it is called.

    Everything that ``work`` touches must stay where it is as long as the function is used.

    Parameters
    ----------
    work : launches on the device, and neither waits for it nor copies from the host
    warm_up : runs on the same streams before, so that libraries choose their algorithms and allocate their
        workspaces, and kernels are compiled and loaded, none of which can be captured
    device : a CUDA device

    Raises
    ------
    ExecutorError
        If something in it can't be captured, naming torch's last operator before that.
    torch.OutOfMemoryError
        If there is no memory for what it allocates.
    """
    graph = torch.cuda.CUDAGraph()
    watch = _LastOperator()  # type: ignore[no-untyped-call]
    # A stream of its own: cuBLAS keeps its workspace by stream, and graphs that share one can't be freed
    # independently (pytorch#193402).
    stream, current = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    stream.wait_stream(current)
    # The outer context puts the current stream back, which torch doesn't if a capture fails.
    with torch.cuda.device(device), torch.cuda.stream(current):
        with torch.cuda.stream(stream):
            warm_up()
        gc.collect()  # a tensor collected while capturing would be freed into the graph
        try:
            # Thread-local: other threads of a notebook may use the device meanwhile.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"), watch:
                work()
        except RuntimeError as error:
            if _is_out_of_memory(error):
                raise torch.OutOfMemoryError(_first_line(error)) from error
            raise ExecutorError(
                f"it can't be captured in a CUDA graph, at or after {watch.last}: {_first_line(error)}"
            ) from error
    return graph.replay


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it covers, is a lack of memory; leaving a capture raises over the reason."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__context__
    return False


def _first_line(error: BaseException) -> str:
    """Return the first line of the reason that an error covers, or of its own."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class _LastOperator(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch doesn't annotate it
    """Remembers which operator ran last."""

    last = "its first operator"

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator."""
        self.last = str(func)
        return func(*args, **(kwargs or {}))
