"""Decisions on recorded throughputs: what a rule would have done, with nothing trained."""

import math
from collections.abc import Mapping, Sequence

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.tuning.measurements import Measurement
from crossbow_lab.tuning.rules import Decision, TuningRule, decide


def decide_on_trace(
    rule: TuningRule,
    trace: Mapping[int, Sequence[float]],
    *,
    batch_size: int = 1,
    noise_scale: float = math.nan,
) -> list[Decision]:
    """Return the decisions of a rule on a recorded trace, the last one final: the same each time.

    Parameters
    ----------
    rule : PaperRule or GoodputRule
    trace : learners -> samples/s of every window
        What was recorded with each number of learners. The largest is the most that fit.
    batch_size : b, for goodput
    noise_scale : for goodput, in samples; NaN if it wasn't recorded

    Raises
    ------
    ConfigurationError
        If the trace is empty, has no windows for a number of learners that the rule asks for, or holds a zero, a
        negative number or NaN.

    Examples
    --------
    >>> from crossbow_lab.tuning import PaperRule
    >>> trace = {1: [100.0], 2: [160.0], 3: [190.0], 4: [170.0]}
    >>> [decision.learners for decision in decide_on_trace(PaperRule(), trace)]
    [2, 3, 4, 3]
    """
    if not trace:
        raise ConfigurationError("the trace is empty; give samples/s by number of learners, as {1: [900, 910], 2: ...}")
    measured: list[Measurement] = []
    decisions: list[Decision] = []
    learners, most = rule.first, max(trace)
    while True:
        if learners not in trace:
            raise ConfigurationError(
                f"the trace has a gap: nothing was recorded with {learners} learners, which the rule asks for after "
                f"{[one.learners for one in measured]}; recorded are {sorted(trace)}"
            )
        measured.append(Measurement.of_windows(learners, batch_size, tuple(trace[learners]), noise_scale))
        decisions.append(decide(rule, measured, most))
        if decisions[-1].is_final:
            return decisions
        learners = decisions[-1].learners
