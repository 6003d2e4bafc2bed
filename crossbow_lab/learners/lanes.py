"""Lanes: where a device's work is put in order. Work on one lane runs in order; between lanes only marks order it.

On CUDA a lane is a stream and a mark an event, so that a captured graph gets one branch for each lane. On other
devices there is one lane, and everything runs when it is put there.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch


class Lane(Protocol):
    """Something that runs work in the order in which it was put there."""

    def do(self, work: Callable[[], None]) -> None:
        """Put work on this lane."""

    def mark(self) -> Any:
        """Return a mark of all that this lane has been given so far."""

    def wait(self, mark: Any) -> None:
        """Let what is put here from now on run after all that ``mark`` stands for."""

    def stamp(self) -> Any:
        """Return the time at which this lane gets here: seconds of the host's clock, or an event that tells it."""


class HostLane:
    """The one lane of a device without streams: work runs at once."""

    def do(self, work: Callable[[], None]) -> None:
        """Run it."""
        work()

    def mark(self) -> None:
        """Return nothing: whatever was put here has been done."""

    def wait(self, mark: None) -> None:
        """Go on: there is nothing to wait for."""

    def stamp(self) -> float:
        """Return the host's clock."""
        return time.perf_counter()


class CudaLane:
    """A CUDA stream as a lane.

    Parameters
    ----------
    stream : torch.cuda.Stream
    """

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream

    def do(self, work: Callable[[], None]) -> None:
        """Launch work on the stream."""
        with torch.cuda.stream(self._stream):
            work()

    def mark(self) -> torch.cuda.Event:
        """Record an event."""
        event = torch.cuda.Event()
        event.record(self._stream)
        return event

    def wait(self, mark: torch.cuda.Event) -> None:
        """Let the stream wait for an event; the host doesn't."""
        self._stream.wait_event(mark)

    def stamp(self) -> torch.cuda.Event:
        """Record an event that tells its time."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(self._stream)
        return event


def make_lanes(device: torch.device, count: int) -> list[Lane]:
    """Return that many new lanes of a device."""
    if device.type != "cuda":
        return [HostLane() for _ in range(count)]
    return [CudaLane(torch.cuda.Stream(device)) for _ in range(count)]


def current_lane(device: torch.device) -> Lane:
    """Return the lane that other work of this thread on the device is put on."""
    return CudaLane(torch.cuda.current_stream(device)) if device.type == "cuda" else HostLane()


@contextmanager
def one_device(device: torch.device) -> Iterator[None]:
    """Work on a device for a while; on CUDA with cuDNN's deterministic algorithms, for the same bits every time."""
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        with torch.cuda.device(device):
            yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before
