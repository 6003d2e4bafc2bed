"""Instruments that watch training without stopping it: losses stay on the device until someone looks."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from crossbow_lab.errors import DivergedError
from crossbow_lab.session.fetch import Fetch

REMEDIES = (
    "Try a smaller learning rate (a tenth), a larger batch size, or a smaller alpha; what was recorded until "
    "then is kept"
)
_RING_ROWS = 1024
_SMOOTHING_S = 1.0


class Clock:
    """Counts seconds between ``start`` and ``stop``."""

    def __init__(self, elapsed_s: float = 0.0) -> None:
        self._before_s = elapsed_s
        self._since: float | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds counted so far."""
        before_s, since = self._before_s, self._since
        return before_s if since is None else before_s + time.perf_counter() - since

    @property
    def is_running(self) -> bool:
        """Whether it counts at present."""
        return self._since is not None

    def start(self) -> None:
        """Count from now on."""
        if self._since is None:
            self._since = time.perf_counter()

    def stop(self) -> None:
        """Stop counting."""
        self._before_s, self._since = self.elapsed_s, None

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Don't count for a while."""
        was_running = self.is_running
        self.stop()
        try:
            yield
        finally:
            if was_running:
                self.start()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count for a while."""
        self.start()
        try:
            yield
        finally:
            self.stop()


@dataclass(frozen=True)
class LossSums:
    """Losses summed since the last row of the history.

    Attributes
    ----------
    sums, counts : of each learner.
    sum, iterations : of the mean over learners.
    """

    sums: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    sum: float = 0.0
    iterations: int = 0


class Losses:
    """A ring of recent losses on the device, read when someone looks.

    ``keep`` costs one small copy; ``glance`` never waits for the device, ``read`` does.

    Parameters
    ----------
    like : a tensor of the losses' dtype and device
    max_learners : the most learners there can be
    past : what to go on from
    join : makes all devices' learners of this one's, (n, m) to (n, k); nothing where there is one
    """

    def __init__(
        self, like: Tensor, max_learners: int, past: LossSums, join: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self._ring = torch.zeros(_RING_ROWS, max_learners, dtype=like.dtype, device=like.device)
        self._count = self._width = 0
        self._join = join or (lambda losses: losses)
        self._fetch = Fetch()
        self._fetched_from = 0
        self._last: tuple[float, ...] = ()
        self._mean = math.nan
        self._sums, self._counts = list(past.sums), list(past.counts)
        self._sum, self._iterations = past.sum, past.iterations

    @property
    def room(self) -> int:
        """How many more iterations can be kept before the ring must be read."""
        return _RING_ROWS - self._count

    def keep(self, losses: Tensor) -> None:
        """Remember the losses (done, replicas) of one iteration or several. Read first where replicas change."""
        done, replicas = losses.shape
        self._ring[self._count : self._count + done, :replicas] = losses
        self._count, self._width = self._count + done, replicas

    def glance(self, iteration: int, replicas: int) -> None:
        """Take in losses that have arrived from the device, and send for those kept since; never waits.

        Parameters, Raises
        ------------------
        As `read`.
        """
        if self._fetch.has_arrived:
            self._take_in(replicas)
        if self._count and not self._fetch.is_under_way:
            self._fetch.send(self._join(self._ring[: self._count, : self._width]))
            self._fetched_from, self._count = iteration - self._count, 0
            if self._fetch.has_arrived:
                self._take_in(replicas)

    def read(self, iteration: int, replicas: int) -> None:
        """Take in all losses kept since the last reading, and wait for the device if need be.

        Parameters
        ----------
        iteration : iterations done; says which one diverged.
        replicas : how many losses each iteration had.

        Raises
        ------
        DivergedError
            If a loss is not finite, naming the iteration, the learner and what to try.
        """
        for _ in range(2):  # what is under way, and what was kept since
            if self._fetch.is_under_way:
                self._take_in(replicas)
            self.glance(iteration, replicas)
        if self._fetch.is_under_way:
            self._take_in(replicas)

    def _take_in(self, replicas: int) -> None:
        """Add up losses that were fetched."""
        recent, first = self._fetch.take().double(), self._fetched_from
        finite = torch.isfinite(recent)
        if not bool(finite.all()):
            row, learner = (~finite).nonzero()[0].tolist()
            raise DivergedError(
                f"the loss of learner {learner} became {float(recent[row, learner])} in iteration "
                f"{first + row}. {REMEDIES}"
            )
        self._last, self._mean = tuple(recent[-1].tolist()), float(recent.mean())
        newcomers = replicas - len(self._sums)
        self._sums += [0.0] * newcomers
        self._counts += [0] * newcomers
        for learner, total in enumerate(recent.sum(0).tolist()):
            self._sums[learner] += total
            self._counts[learner] += len(recent)
        self._sum += float(recent.mean(1).sum())
        self._iterations += len(recent)

    def forget_from(self, learner: int) -> None:
        """Forget what is known of the learners from this one on, for they have left."""
        self._last = self._last[:learner]
        del self._sums[learner:], self._counts[learner:]

    def latest(self, replicas: int) -> tuple[float, tuple[float, ...]]:
        """Return the mean loss of the last reading, and each learner's latest (NaN before its first)."""
        return self._mean, (self._last + (math.nan,) * replicas)[:replicas]

    def take_means(self) -> tuple[float, list[float]]:
        """Return means since this was last asked: over learners and iterations, and of each learner.

        Learners that have not trained since, the last ones to join, are left out; others that joined count from
        then on.
        """
        mean = self._sum / self._iterations if self._iterations else math.nan
        means = [total / count for total, count in zip(self._sums, self._counts, strict=True)]
        self._sum, self._iterations, self._sums, self._counts = 0.0, 0, [], []
        return mean, means

    @property
    def sums(self) -> LossSums:
        """What a checkpoint must keep; everything must have been read."""
        return LossSums(tuple(self._sums), tuple(self._counts), self._sum, self._iterations)


class Throughput:
    """Samples per second, smoothed over about a second."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []

    def at(self, elapsed_s: float, samples: int) -> float:
        """Note that ``samples`` were done at ``elapsed_s``; return the smoothed rate, NaN at first."""
        if not self._marks or self._marks[-1][0] < elapsed_s:
            self._marks.append((elapsed_s, samples))
        while len(self._marks) > 2 and self._marks[1][0] < elapsed_s - _SMOOTHING_S:
            del self._marks[0]
        since_s, before = self._marks[0]
        return (samples - before) / (elapsed_s - since_s) if elapsed_s > since_s else math.nan
