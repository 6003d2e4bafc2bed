"""What a comparison of a few runs says, as a table and as a sentence. Both are computed, so they can't flatter."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crossbow_lab.errors import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd

    from crossbow_lab.session import Accuracy, Session

_MEASURES = (("epochs", "epochs"), ("training time", "s"))


def summarise(sessions: Mapping[str, Sequence["Session"]], target: "Accuracy") -> "pd.DataFrame":
    """Summarise what was compared: one row per label, medians over its sessions.

    Parameters
    ----------
    sessions : mapping of str to sequence of Session
        Sessions that differ in nothing but their seeds, by label.
    target : Accuracy
        What counts as reached.

    Returns
    -------
    DataFrame
        Columns: algorithm, runs, reached (how many runs reached the target), epochs_to_target, epochs_range,
        seconds_to_target [s], seconds_range (training time; evaluation not counted), samples_per_s,
        final_accuracy (of z, 0..1). A run that didn't reach the target counts as infinitely long, so a median
        over runs is infinite when half of them didn't.

    Raises
    ------
    ConfigurationError
        If a label has no session.
    """
    import pandas as pd  # here, so that running a notebook doesn't wait for it

    rows = []
    for label, several in sessions.items():
        if not several:
            raise ConfigurationError(f"{label!r} has no session; repeats must be at least 1")
        epochs, seconds = _times(several, target)
        last = [session.history.iloc[-1] for session in several]
        rows.append(
            {
                "algorithm": label,
                "runs": len(several),
                "reached": sum(math.isfinite(value) for value in epochs),
                "epochs_to_target": statistics.median(epochs),
                "epochs_range": _range(epochs),
                "seconds_to_target": statistics.median(seconds),
                "seconds_range": _range(seconds),
                "samples_per_s": statistics.median(row["samples"] / row["elapsed_s"] for row in last),
                "final_accuracy": statistics.median(row["test_accuracy"] for row in last),
            }
        )
    return pd.DataFrame(rows)


def verdict(sessions: Mapping[str, Sequence["Session"]], target: "Accuracy") -> str:
    """Say which of two was faster to the target, by epochs and by time, and how sure that is.

    Parameters
    ----------
    sessions : mapping of str to sequence of Session
        Exactly two labels, with sessions of the same seeds in the same order.
    target : Accuracy
        What counts as reached.

    Raises
    ------
    ConfigurationError
        If there aren't two labels with equally many sessions.
    """
    if len(sessions) != 2 or len({len(several) for several in sessions.values()}) != 1:
        counts = {label: len(several) for label, several in sessions.items()}
        raise ConfigurationError(f"a verdict needs two labels with equally many sessions, got {counts}")
    times = {label: _times(several, target) for label, several in sessions.items()}
    parts = [
        _compare({label: both[index] for label, both in times.items()}, what, unit)
        for index, (what, unit) in enumerate(_MEASURES)
    ]
    n_seeds = len(next(iter(sessions.values())))
    joined = ";\n".join(parts)  # a line for each, which a terminal and a report of any width can hold
    seeds = "seed" if n_seeds == 1 else "seeds"
    return (
        f"To {100 * target.target:g} % test accuracy\n{joined}.\n"
        f"That is {n_seeds} {seeds} on one workload and one machine, and no more than that."
    )


def _times(several: Sequence["Session"], target: "Accuracy") -> tuple[list[float], list[float]]:
    """Return epochs and seconds to the target for each session, infinite where it wasn't reached."""
    reached = [session.time_to_accuracy(target) for session in several]
    epochs = [math.inf if time is None else float(time.epochs) for time in reached]
    return epochs, [math.inf if time is None else float(time.seconds) for time in reached]


def _compare(times: Mapping[str, Sequence[float]], what: str, unit: str) -> str:
    """Say who needed less of something."""
    first, second = sorted(times, key=lambda label: statistics.median(times[label]))
    fast, slow = statistics.median(times[first]), statistics.median(times[second])
    if math.isinf(fast):
        return f"by {what}, neither {first} nor {second} got there in half of the runs"
    ahead = sum(a < b for a, b in zip(times[first], times[second], strict=True))
    n_pairs = len(times[first])
    shown = f"median {fast:.3g} {unit} ({_range(times[first])})"
    other = f"{slow:.3g} {unit} ({_range(times[second])})" if math.isfinite(slow) else "not reached"
    if ahead == n_pairs:
        return f"by {what}, {first} was ahead with every seed: {shown} against {other}"
    return f"by {what}, {first} was ahead with {ahead} of {n_pairs} seeds only: {shown} against {other}"


def _range(values: Sequence[float]) -> str:
    """Return the smallest and the largest, or that some are missing."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "never"
    spread = f"{min(finite):.3g} to {max(finite):.3g}"
    return spread if len(finite) == len(values) else f"{spread}, {len(values) - len(finite)} never"
