"""When which task ran: spans of learning, synchronisation, data and evaluation, by clocks on a CPU, by events on CUDA.

Recording a span costs two looks at a clock, or two events, and a place in a queue; nothing waits for the device. Where
no recorder is given there is nothing to skip: launches are put together without it.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from crossbow_lab.learners.lanes import Lane

KINDS = ("learning", "local_synchronisation", "global_synchronisation", "synchronisation", "data", "evaluation")
"""Tasks. The paper's local synchronisation corrects one learner, the global one updates z; "synchronisation" is both
in one piece, as they are where one kernel or one pass over the bank does them."""

ALL = -1
"""In the place of a learner: the task is of all of them."""


@dataclass(frozen=True)
class Span:
    """One task.

    Attributes
    ----------
    kind : one of `KINDS`.
    learner : counted from 0; -1 for a task of all learners together.
    stream : where it ran: "host", "device", or a lane's name.
    iteration : counted from 0; of an evaluation, how many were done before.
    start_s, duration_s : since recording began.
    """

    kind: str
    learner: int
    stream: str
    iteration: int
    start_s: float
    duration_s: float

    @property
    def end_s(self) -> float:
        """When it is done."""
        return self.start_s + self.duration_s


@dataclass(frozen=True)
class Piece:
    """Work with the name of its task, to be put on a lane."""

    kind: str
    learner: int
    work: Callable[[], None]

    def __call__(self) -> None:
        """Do it."""
        self.work()


class Recorder:
    """Keeps the latest spans.

    Parameters
    ----------
    every : iterations from one that is recorded to the next.
    most : spans kept.
    device : on CUDA, where events come from.

    Attributes
    ----------
    every : as given.
    iteration : the one whose tasks are recorded; set by whoever runs it.
    """

    def __init__(self, every: int, most: int, device: torch.device) -> None:
        self.every, self.iteration = every, 0
        self._spans: deque[tuple[str, int, str, int, float, float]] = deque(maxlen=most)
        self._pending: deque[tuple[str, int, str, int, Any, Any]] = deque(maxlen=most)
        self._began: torch.cuda.Event | None = None
        if device.type == "cuda":  # the two clocks meet here, once
            self._began = torch.cuda.Event(enable_timing=True)
            self._began.record(torch.cuda.current_stream(device))
            self._began.synchronize()
        self._began_s = time.perf_counter()

    def is_due(self, iteration: int) -> bool:
        """Tell whether an iteration is recorded."""
        return iteration % self.every == 0

    def add(self, kind: str, learner: int, since_s: float) -> float:
        """Note that a task of the host has run since then; return the time."""
        now_s = time.perf_counter()
        self._spans.append((kind, learner, "host", self.iteration, since_s, now_s))
        return now_s

    def keep(self, piece: Piece, stream: str, start: Any, end: Any) -> None:
        """Note a task between two stamps of a lane."""
        entry = (piece.kind, piece.learner, stream, self.iteration, start, end)
        (self._spans if isinstance(start, float) else self._pending).append(entry)

    def collect(self) -> None:
        """Take in the events that have happened; never waits."""
        began = self._began
        while began is not None and self._pending and self._pending[0][-1].query():
            kind, learner, stream, iteration, start, end = self._pending.popleft()
            start_s, end_s = (self._began_s + began.elapsed_time(event) / 1e3 for event in (start, end))
            self._spans.append((kind, learner, stream, iteration, start_s, end_s))

    @property
    def spans(self) -> list[Span]:
        """What was recorded, by when it began."""
        self.collect()
        found = sorted(self._spans, key=lambda entry: entry[4])
        return [Span(*entry[:4], entry[4] - self._began_s, entry[5] - entry[4]) for entry in found]


class TimedLane:
    """A lane whose pieces are recorded.

    Parameters
    ----------
    lane : does the work
    name : of the stream
    recorder : gets the spans
    """

    def __init__(self, lane: Lane, name: str, recorder: Recorder) -> None:
        self._lane, self._name, self._recorder = lane, name, recorder

    def do(self, work: Callable[[], None]) -> None:
        """Put work on the lane, between two stamps if it is a piece."""
        if not isinstance(work, Piece):
            self._lane.do(work)
            return
        start = self._lane.stamp()
        self._lane.do(work)
        self._recorder.keep(work, self._name, start, self._lane.stamp())

    def mark(self) -> Any:
        """Return the lane's mark."""
        return self._lane.mark()

    def wait(self, mark: Any) -> None:
        """Let the lane wait."""
        self._lane.wait(mark)

    def stamp(self) -> Any:
        """Return the lane's stamp."""
        return self._lane.stamp()


def timed(lane: Lane, name: str, recorder: Recorder | None) -> Lane:
    """Return a lane whose pieces are recorded; the lane itself where nothing records."""
    return lane if recorder is None else TimedLane(lane, name, recorder)
