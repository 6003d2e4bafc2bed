"""The auto-tuner's rules: from what was measured so far to the next number of learners. Pure functions.

m: learners per device; t: throughput in samples/s.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.tuning.efficiency import goodput
from crossbow_lab.tuning.measurements import Measurement


@dataclass(frozen=True)
class PaperRule:
    """Algorithm 2 of the CROSSBOW paper (after the paper, from secondary sources): add while throughput gains.

    ::

        if   t' − t > threshold:  m = m + 1
        else:                     m = the best so far, and settle
        t = t'

    The gain is relative, (t' − t) / t, as in the paper's code; `threshold_samples_per_s` makes it absolute, as the
    paper writes it. The code removes one learner in the end; this returns to the best, which is the same one or better.

    Attributes
    ----------
    threshold : least relative gain for another learner; >= 0.
    threshold_samples_per_s : least absolute gain instead; >= 0, or None.
    first : learners to begin with; >= 1.

    Raises
    ------
    ConfigurationError
        If a number is outside its range.
    """

    threshold: float = 0.1
    threshold_samples_per_s: float | None = None
    first: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("threshold", "threshold_samples_per_s"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int | float) or not 0 <= value < math.inf):
                raise ConfigurationError(f"{name} is {value!r}; it must be a finite number >= 0")
        _check_whole("first", self.first)


@dataclass(frozen=True)
class GoodputRule:
    """Ours: the number of learners with the most goodput, throughput times statistical efficiency.

    Doubles m while goodput may still rise: until `patience` rungs above the best one were worse, so that one dip
    hides no peak behind it. Then halves the gaps beside the best until its neighbours are measured, and settles on
    the best. All goodputs are formed with the latest noise scale; where none is known, efficiency counts as 1, and
    the rule looks for the peak of throughput. Noise scales grow while models train, and with them the best number of
    learners: start it again later.

    Attributes
    ----------
    patience : rungs above the best that may be worse before the walk ends; >= 1.
    first : learners to begin with; >= 1.

    Raises
    ------
    ConfigurationError
        If a number is outside its range.
    """

    patience: int = 2
    first: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check_whole("patience", self.patience)
        _check_whole("first", self.first)


TuningRule = PaperRule | GoodputRule


@dataclass(frozen=True)
class Decision:
    """What to do after a measurement.

    Attributes
    ----------
    learners : to train with from now on.
    is_final : whether the rule has settled.
    reason : why, with the numbers behind it.
    """

    learners: int
    is_final: bool
    reason: str

    def __str__(self) -> str:
        """Say it in one line: the decision, a colon, and why."""
        what = "settled on" if self.is_final else "try"
        return f"{what} {counted(self.learners)}: {self.reason}"


def decide(rule: TuningRule, measured: Sequence[Measurement], most: int, least: int = 1) -> Decision:
    """Return what a rule does next.

    Parameters
    ----------
    rule : PaperRule or GoodputRule
    measured : of one batch size, in the order in which they were made; at least one.
    most : the most learners that fit; at least as many as were measured.
    least : the fewest that can train, such as one for each device of hierarchical SMA.

    Raises
    ------
    ConfigurationError
        If nothing was measured, or with different batch sizes, or more learners than fit, or fewer than can train.

    Examples
    --------
    >>> one, two = Measurement(1, 16, 100.0), Measurement(2, 16, 150.0)
    >>> print(decide(PaperRule(), [one, two], most=8))
    try 3 learners: 2 gave 150 samples/s, 50.0 % more than 100 with 1; more than 10.0 % is wanted
    >>> print(decide(PaperRule(), [one, two, Measurement(3, 16, 155.0)], most=8))
    settled on 3 learners: 3 gave 155 samples/s, 3.3 % more than 150 with 2; more than 10.0 % is wanted
    """
    if not measured:
        raise ConfigurationError("nothing was measured, so nothing can be decided; train until one window is over")
    sizes = sorted({one.batch_size for one in measured})
    if len(sizes) > 1:
        raise ConfigurationError(f"measured with batch sizes {sizes}; begin again when the batch size changes")
    if most < max(one.learners for one in measured):
        raise ConfigurationError(
            f"most is {most}, but {max(one.learners for one in measured)} learners were measured; give what fits"
        )
    if least > min(one.learners for one in measured):
        raise ConfigurationError(
            f"least is {least}, but {min(one.learners for one in measured)} learners were measured; give what can train"
        )
    if isinstance(rule, PaperRule):
        return _by_paper(rule, measured, most)
    return _by_goodput(rule, measured, most, least)


def _by_paper(rule: PaperRule, measured: Sequence[Measurement], most: int) -> Decision:
    """Add a learner while throughput gains enough."""
    now = measured[-1]
    reason, gains = f"{now.learners} gave {now.samples_per_s:,.0f} samples/s", True
    if len(measured) > 1:
        before = measured[-2]
        gain = now.samples_per_s - before.samples_per_s
        share = gain / before.samples_per_s
        if rule.threshold_samples_per_s is None:
            gains, wanted = share > rule.threshold, _percent(rule.threshold)
        else:
            gains, wanted = gain > rule.threshold_samples_per_s, f"{rule.threshold_samples_per_s:,.0f} samples/s"
        reason += (
            f", {_percent(abs(share))} {'more' if gain >= 0 else 'less'} than {before.samples_per_s:,.0f} with "
            f"{before.learners}; more than {wanted} is wanted"
        )
    if gains and now.learners < most:
        return Decision(now.learners + 1, is_final=False, reason=reason)
    if gains:
        reason += f"; no more than {most} fit"
    best = max(measured, key=lambda one: (one.samples_per_s, -one.learners))
    if best.learners != now.learners:
        reason += f"; {best.learners} gave most, {best.samples_per_s:,.0f} samples/s"
    return Decision(best.learners, is_final=True, reason=reason)


def _by_goodput(rule: GoodputRule, measured: Sequence[Measurement], most: int, least: int) -> Decision:
    """Walk up by doubling, then halve the gaps beside the best."""
    noise_scale = measured[-1].noise_scale
    known = not math.isnan(noise_scale)
    scores = {
        one.learners: goodput(one.samples_per_s, one.learners * one.batch_size, noise_scale if known else math.inf)
        for one in measured
    }
    best = max(scores, key=lambda m: (scores[m], -m))
    what = f"useful samples/s (noise scale {noise_scale:,.0f})" if known else "samples/s (no noise scale is known)"
    reason = ", ".join(f"{m}: {scores[m]:,.0f}" for m in sorted(scores)) + f" {what}"
    top = max(scores)
    rungs_above = sum(best < m for m in scores if _is_rung(m, rule.first, most))
    if top < most and rungs_above < rule.patience:
        return Decision(min(2 * top, most), is_final=False, reason=reason)
    below = max((m for m in scores if m < best), default=least - 1)
    above = min((m for m in scores if m > best), default=best)
    if max(best - below, above - best) > 1:
        middle = (below + best) // 2 if best - below >= above - best else (best + above) // 2
        return Decision(middle, is_final=False, reason=reason)
    return Decision(best, is_final=True, reason=reason)


def _is_rung(m: int, first: int, most: int) -> bool:
    """Tell whether m is one of first, 2 first, 4 first and so on, the last being the most that fit."""
    times = m // first
    return m == most or (m % first == 0 and times & (times - 1) == 0)


def counted(learners: int) -> str:
    """Return "1 learner", "2 learners".

    Examples
    --------
    >>> counted(1), counted(2)
    ('1 learner', '2 learners')
    """
    return f"{learners} learner{'' if learners == 1 else 's'}"


def _percent(share: float) -> str:
    """Write a share in per cent."""
    return f"{100 * share:.1f} %"


def _check_whole(name: str, value: object) -> None:
    """Refuse what isn't a whole number >= 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} is {value!r}; it must be a whole number >= 1")
