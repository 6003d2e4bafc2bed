"""Learning tasks on learners and streams, first come first served or in turn: a deterministic simulation.

A learning task is one batch through one learner. It needs a free learner and a free stream. After τ iterations of k
tasks the central average model is updated, and nobody goes on before that is done.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import cycle, islice
from typing import Any

import pandas as pd

from crossbow_lab.errors import ConfigurationError, nearest
from crossbow_lab.learners.timeline import ALL, Span
from crossbow_lab.session.checks import check_not_negative, check_positive, check_whole

POLICIES = ("fcfs", "round_robin")


@dataclass(frozen=True)
class Schedule:
    """What was simulated. Made by `schedule_tasks`.

    Attributes
    ----------
    policy, learners, streams : as given.
    spans : learning tasks in the order in which they were handed out, synchronisations between them.
        As a timeline's, so `crossbow_lab.dashboard.gantt` draws them. Streams are "stream 0" and so on, and
        "synchronisation"; k learning tasks are one iteration; times are from the beginning.
    """

    policy: str
    learners: int
    streams: int
    spans: tuple[Span, ...]

    @property
    def makespan_s(self) -> float:
        """When the last task is done."""
        return max(span.end_s for span in self.spans)

    @property
    def idle_share(self) -> float:
        """The part of the streams' time, 0 to 1, in which they don't learn: synchronisation counts as idle."""
        busy_s = sum(span.duration_s for span in self.spans if span.kind == "learning")
        return 1 - busy_s / (self.streams * self.makespan_s)

    @property
    def tasks(self) -> tuple[int, ...]:
        """Learning tasks of each learner; the same for all when they take turns."""
        counts = [0] * self.learners
        for span in self.spans:
            if span.learner != ALL:
                counts[span.learner] += 1
        return tuple(counts)

    @property
    def frame(self) -> pd.DataFrame:
        """One row per span, columns as in `Span`: what a Gantt chart is drawn from."""
        return pd.DataFrame([asdict(span) for span in self.spans], columns=[field.name for field in fields(Span)])


def schedule_tasks(
    durations_s: Sequence[float | Sequence[float]],
    policy: str = "fcfs",
    *,
    iterations: int = 1,
    streams: int | None = None,
    sync_period: int = 1,
    synchronisation_s: float = 0.0,
) -> Schedule:
    """Simulate which learner trains when, on which stream.

    Between two synchronisations k·τ tasks are handed out in order. *First come first served*: task n goes to the
    learner that has been free for longest, on the stream that has been. *Round robin*: task n goes to learner n mod
    k on stream n mod (number of streams), and waits for both. Both start a task once learner and stream are free.
    With equal learners they are the same. With unequal ones and τ = 1 they still are if each learner has a stream:
    there is one task for each. For τ > 1, or with fewer streams than learners, first come first served lets fast
    learners train more; then learners differ in how many batches went into their models, which round robin avoids,
    and so do Algorithm 1 and our engine.

    Parameters
    ----------
    durations_s : sequence of float > 0, or of sequences of them
        Of one learning task, for each of k learners; a learner with several repeats them in turn. Seconds.
    policy : str
        "fcfs" or "round_robin".
    iterations : int >= 1
        Of k tasks each.
    streams : int, 1 <= streams <= k, optional
        On the device; k.
    sync_period : int >= 1
        τ, iterations between two synchronisations; an unfinished period at the end has none.
    synchronisation_s : float >= 0
        Duration of a synchronisation. It doesn't overlap with learning here.

    Returns
    -------
    Schedule
        The same for the same arguments, to the bit.

    Raises
    ------
    ConfigurationError
        If an argument is outside its range.

    References
    ----------
    Koliousis et al., PVLDB 12(11), 2019: a pool of available replicas, served first come first served (after
    secondary sources). The code of lsds/Crossbow, ``ThetaQueue``: round robin over free replicas.

    Examples
    --------
    Three learners of the same speed and one that takes three times as long, four iterations between synchronisations:

    >>> fair, fast = (schedule_tasks([1, 1, 1, 3], policy, iterations=4, sync_period=4) for policy in POLICIES[::-1])
    >>> fair.makespan_s, fair.tasks, fair.idle_share
    (12.0, (4, 4, 4, 4), 0.5)
    >>> fast.makespan_s, fast.tasks, round(fast.idle_share, 2)
    (6.0, (5, 5, 4, 2), 0.17)
    """
    lists = _checked(durations_s)
    k = len(lists)
    if policy not in POLICIES:
        raise ConfigurationError(f"unknown policy {policy!r}; {nearest(str(policy), POLICIES)}")
    count = k if streams is None else check_whole("streams", streams)
    if count > k:
        raise ConfigurationError(f"streams is {count} for {k} learners; a learner uses one at a time: at most {k}")
    iterations, period = check_whole("iterations", iterations), check_whole("sync_period", sync_period)
    pause_s = check_not_negative("synchronisation_s", synchronisation_s)
    upcoming = [cycle(own) for own in lists]
    spans: list[Span] = []
    begin_s = 0.0
    for first in range(0, iterations, period):
        number = min(period, iterations - first)
        window = _window(policy, k, count, first, number, begin_s, upcoming)
        spans += window
        begin_s = max(span.end_s for span in window)
        if number == period:
            last = first + number - 1
            spans.append(Span("global_synchronisation", ALL, "synchronisation", last, begin_s, pause_s))
            begin_s += pause_s
    return Schedule(policy, k, count, tuple(spans))


def _window(
    policy: str, learners: int, streams: int, first: int, iterations: int, begin_s: float, upcoming: Sequence[Any]
) -> list[Span]:
    """Hand out the tasks between two synchronisations."""
    learner_free_s, stream_free_s = [begin_s] * learners, [begin_s] * streams
    turn = list(range(learners))  # of those that become free at the same time, whose task was handed out first
    spans = []
    for n in range(learners * iterations):
        if policy == "fcfs":
            learner = min(range(learners), key=lambda j: (learner_free_s[j], turn[j]))
            stream = min(range(streams), key=lambda s: stream_free_s[s])
        else:
            learner, stream = n % learners, n % streams
        (duration_s,) = islice(upcoming[learner], 1)
        start_s = max(learner_free_s[learner], stream_free_s[stream])
        span = Span("learning", learner, f"stream {stream}", first + n // learners, start_s, duration_s)
        learner_free_s[learner] = stream_free_s[stream] = span.end_s
        turn[learner] = learners + n
        spans.append(span)
    return spans


def _checked(durations_s: Sequence[float | Sequence[float]]) -> list[list[float]]:
    """Return each learner's durations, or refuse what isn't one."""
    if not isinstance(durations_s, Sequence) or not durations_s:
        raise ConfigurationError(f"durations_s is {durations_s!r}; give at least one learner's, as [1.0, 2.0]")
    lists = []
    for j, own in enumerate(durations_s):
        values = list(own) if isinstance(own, Sequence) else [own]
        if not values:
            raise ConfigurationError(f"durations_s[{j}] is empty; give learner {j} at least one duration")
        lists.append([check_positive(f"durations_s[{j}]", value) for value in values])
    return lists
