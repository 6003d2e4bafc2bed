"""How far a sweep is: what is done, what runs at this moment, and how long the rest will take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crossbow_lab.runs.sweeps.jobs import COMPLETED, Ending


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Attributes
    ----------
    n_total : int
        Runs to do; those that a record answers aren't among them.
    ended : tuple of Ending
        Those that have ended, in that order.
    running : dict of str to str
        What runs at this moment: the latest line that each has printed, by label.
    elapsed_s : float
        Seconds since the first run began.
    left_s : float or None
        Seconds that the rest will take; None before the first run has ended.
    """

    n_total: int
    ended: tuple[Ending, ...]
    running: dict[str, str]
    elapsed_s: float
    left_s: float | None

    @property
    def n_failed(self) -> int:
        """How many ended otherwise than by completing."""
        return sum(ending.status != COMPLETED for ending in self.ended)


def seconds_left(
    ended: Sequence[Ending], running_s: Mapping[str, float], n_waiting: int, n_workers: int
) -> float | None:
    """Say how long the rest of a sweep will take, if it takes as long as what has been.

    Parameters
    ----------
    ended : sequence of Ending
    running_s : mapping of str to float
        Seconds since each running one began.
    n_waiting : int
        Runs that haven't begun.
    n_workers : int
        How many run at a time, at least 1.

    Returns
    -------
    float or None
        Seconds; None while no run has ended that says how long one takes.

    Examples
    --------
    >>> seconds_left([Ending("a", "completed", 10.0)], {"b": 4.0}, 3, 2)
    18.0
    """
    seconds = [ending.seconds for ending in ended if ending.status == COMPLETED and not ending.is_cached]
    if not seconds:
        return None
    mean_s = sum(seconds) / len(seconds)
    of_running_s = sum(max(0.0, mean_s - so_far_s) for so_far_s in running_s.values())
    return (of_running_s + n_waiting * mean_s) / n_workers
