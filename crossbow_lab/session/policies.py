"""Learning-rate policies: pure functions of how far training has come, as frozen dataclasses that a recipe holds.

Each gives a factor; the rate of an iteration is the recipe's ``learning_rate`` times that. Let x be how far training
has come before an iteration: passes over the data (``unit="epochs"``), or iterations. (The original's code counts an
iteration before it is done, so its rates are these of one iteration later.) Only `StepDecay` and `MultiStepDecay` have
*steps*, after which averaging restarts; where the rate changes smoothly, restarts would undo all averaging.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from crossbow_lab.errors import ConfigurationError, nearest
from crossbow_lab.named import from_json, to_json
from crossbow_lab.session.checks import check_not_negative, check_positive

Unit: TypeAlias = Literal["epochs", "iterations"]

_LEAST = 1e-12


@dataclass(frozen=True)
class InverseDecay:
    """(1 + rate · x)^(−power): INV of the paper's code.

    Examples
    --------
    >>> InverseDecay(rate=1.0, power=0.5).factor(3.0)
    0.5
    """

    rate: float
    power: float = 0.75
    unit: Unit = "epochs"

    def __post_init__(self) -> None:
        _check(self, rate=check_positive, power=check_positive)

    def factor(self, x: float) -> float:
        """Return the factor at x."""
        return float((1.0 + self.rate * x) ** -self.power)


@dataclass(frozen=True)
class ExponentialDecay:
    """base^x, with 0 < base <= 1: EXP of the paper's code.

    Examples
    --------
    >>> ExponentialDecay(0.5).factor(3.0)
    0.125
    """

    base: float
    unit: Unit = "epochs"

    def __post_init__(self) -> None:
        _check(self, base=_share)

    def factor(self, x: float) -> float:
        """Return the factor at x."""
        return float(self.base**x)


@dataclass(frozen=True)
class StepDecay:
    """by^⌊x / every⌋: STEP of the paper's code. Averaging restarts after each step.

    Examples
    --------
    >>> StepDecay(every=30, by=0.5).factor(60.0)
    0.25
    """

    every: float
    by: float = 0.1
    unit: Unit = "epochs"

    def __post_init__(self) -> None:
        _check(self, every=check_positive, by=_share)

    def factor(self, x: float) -> float:
        """Return the factor at x."""
        return float(self.by ** self.steps(x))

    def steps(self, x: float) -> int:
        """Return how many steps have been taken at x."""
        return math.floor(x / self.every)


@dataclass(frozen=True)
class MultiStepDecay:
    """by^(steps at or before x): MULTISTEP of the paper's code, and LSR with a warm-up. Averaging restarts after each.

    During a warm-up, which must end before the first step, the factor grows linearly from ``warm_up_from`` to 1.

    Examples
    --------
    >>> policy = MultiStepDecay(at=(30, 60, 80), warm_up=5)
    >>> policy.factor(0.0), policy.factor(2.5), policy.factor(60.0)
    (0.1, 0.55, 0.010000000000000002)
    """

    at: tuple[float, ...]
    by: float = 0.1
    warm_up: float = 0.0
    warm_up_from: float = 0.1
    unit: Unit = "epochs"

    def __post_init__(self) -> None:
        _check(self, at=_ascending, by=_share, warm_up=check_not_negative, warm_up_from=_share)
        if self.warm_up > self.at[0]:
            raise ConfigurationError(
                f"the warm-up of MultiStepDecay takes {self.warm_up:g} {self.unit}, but its first step is at "
                f"{self.at[0]:g}; warm up for less, or step later"
            )

    def factor(self, x: float) -> float:
        """Return the factor at x."""
        return _warm_up(x, self.warm_up, self.warm_up_from) if x < self.warm_up else float(self.by ** self.steps(x))

    def steps(self, x: float) -> int:
        """Return how many steps have been taken at x."""
        return bisect.bisect_right(self.at, x)


@dataclass(frozen=True)
class Cyclic:
    """A triangle wave from 1 to ``peak`` and back in ``period``: CLR (Smith 2017), which the paper's code only parses.

    With ``decay`` below 1 the triangles' height shrinks by it each time.

    Examples
    --------
    >>> policy = Cyclic(period=4, peak=5.0, decay=0.5)
    >>> [policy.factor(x) for x in (0.0, 1.0, 2.0, 3.0, 4.0, 6.0)]
    [1.0, 3.0, 5.0, 3.0, 1.0, 3.0]
    """

    period: float
    peak: float = 10.0
    decay: float = 1.0
    unit: Unit = "epochs"

    def __post_init__(self) -> None:
        _check(self, period=check_positive, peak=check_positive, decay=_share)

    def factor(self, x: float) -> float:
        """Return the factor at x."""
        cycle, phase = divmod(x / self.period, 1.0)
        return 1.0 + (self.peak - 1.0) * float(self.decay**cycle) * (1.0 - abs(2.0 * phase - 1.0))


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 to ``final`` at ``length``, where it stays (Loshchilov and Hutter 2017, one cycle).

    Examples
    --------
    >>> policy = Cosine(length=10, final=0.2)
    >>> [round(policy.factor(x), 3) for x in (0.0, 5.0, 10.0, 11.0)]
    [1.0, 0.6, 0.2, 0.2]
    """

    length: float
    final: float = 0.01
    warm_up: float = 0.0
    warm_up_from: float = 0.1
    unit: Unit = "epochs"

    def __post_init__(self) -> None:
        _check(self, length=check_positive, final=_share, warm_up=check_not_negative, warm_up_from=_share)
        if self.warm_up >= self.length:
            raise ConfigurationError(
                f"the warm-up of Cosine takes {self.warm_up:g} {self.unit} of {self.length:g}; warm up for less"
            )

    def factor(self, x: float) -> float:
        """Return the factor at x."""
        if x < self.warm_up:
            return _warm_up(x, self.warm_up, self.warm_up_from)
        return _half_cosine(x - self.warm_up, self.length - self.warm_up, 1.0, self.final)


@dataclass(frozen=True)
class OneCycle:
    """From 1 up to ``peak`` in a straight line, then half a cosine down to ``final`` at ``length`` (Smith 2018).

    This is what its author calls super-convergence. ``rise`` is the share of the length that it goes up.

    Examples
    --------
    >>> policy = OneCycle(length=10, peak=5.0, rise=0.4)
    >>> [round(policy.factor(x), 3) for x in (0.0, 2.0, 4.0, 10.0)]
    [1.0, 3.0, 5.0, 0.01]
    """

    length: float
    peak: float = 10.0
    rise: float = 0.3
    final: float = 0.01
    unit: Unit = "epochs"

    def __post_init__(self) -> None:
        _check(self, length=check_positive, peak=check_positive, rise=_share, final=check_positive)
        if self.rise == 1.0:
            raise ConfigurationError("rise is 1, so that OneCycle would never come down; give less, such as 0.3")

    def factor(self, x: float) -> float:
        """Return the factor at x."""
        top = self.rise * self.length
        if x < top:
            return 1.0 + (self.peak - 1.0) * x / top
        return _half_cosine(x - top, self.length - top, self.peak, self.final)


Policy: TypeAlias = InverseDecay | ExponentialDecay | StepDecay | MultiStepDecay | Cyclic | Cosine | OneCycle

POLICIES: dict[str, type[Policy]] = {
    "InverseDecay": InverseDecay,
    "ExponentialDecay": ExponentialDecay,
    "StepDecay": StepDecay,
    "MultiStepDecay": MultiStepDecay,
    "Cyclic": Cyclic,
    "Cosine": Cosine,
    "OneCycle": OneCycle,
}


def factor_at(policy: Policy, iteration: int, epoch: float) -> float:
    """Return the factor of the iteration of this number, counted from 0, that begins at this epoch.

    At least 1e-12: long before a decay ends in 0, which is no learning rate, it has ended for all that is trained.

    Examples
    --------
    >>> factor_at(StepDecay(every=100, unit="iterations"), iteration=250, epoch=0.5)
    0.010000000000000002
    """
    return max(_LEAST, policy.factor(float(iteration) if policy.unit == "iterations" else epoch))


def steps_at(policy: Policy, iteration: int, epoch: float) -> int:
    """Return how many steps the rate has taken before this iteration; 0 where it changes smoothly.

    Examples
    --------
    >>> steps_at(StepDecay(every=2), iteration=700, epoch=5.0), steps_at(Cosine(length=9), iteration=700, epoch=5.0)
    (2, 0)
    """
    if isinstance(policy, StepDecay | MultiStepDecay):
        return policy.steps(float(iteration) if policy.unit == "iterations" else epoch)
    return 0


def policy_to_json(policy: Policy | None) -> dict[str, Any] | None:
    """Return a policy as JSON values; None for none, which is a fixed rate."""
    return None if policy is None else to_json(policy)


def policy_from_json(data: Any) -> Policy | None:
    """Return what `policy_to_json` wrote.

    Raises
    ------
    ConfigurationError
        If the name or a field is unknown, or a value is outside its legal range.
    """
    return None if data is None else from_json("policy", data, POLICIES)


def check_policy(value: Any) -> Policy:
    """Return a policy, or refuse what isn't one."""
    if not isinstance(value, Policy):
        raise ConfigurationError(
            f"learning_rate_policy is {value!r}; give one of {', '.join(POLICIES)}, such as cb.Cosine(length=10), or "
            "None for a fixed rate"
        )
    return value


def _check(policy: Any, **checks: Any) -> None:
    """Check the fields of a policy that is being made, and keep numbers as Python's own."""
    for name, check in checks.items():
        object.__setattr__(policy, name, check(f"{name} of {type(policy).__name__}", getattr(policy, name)))
    known = get_args(Unit)
    if policy.unit not in known:
        raise ConfigurationError(f"unit is {policy.unit!r}; {nearest(str(policy.unit), known)}")


def _share(name: str, value: object) -> float:
    """Return a number above 0, up to 1: a rate of 0 would train nothing."""
    number = check_positive(name, value)
    if number > 1.0:
        raise ConfigurationError(f"{name} is {value!r}; it must be greater than 0 and at most 1")
    return number


def _ascending(name: str, value: Any) -> tuple[float, ...]:
    """Return where steps are, each later than the one before."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ConfigurationError(f"{name} is {value!r}; give where the rate steps, such as (30, 60, 80)")
    places = tuple(check_positive(f"a place in {name}", place) for place in value)
    if list(places) != sorted(set(places)):
        raise ConfigurationError(f"{name} is {value!r}; each step must be later than the one before")
    return places


def _warm_up(x: float, length: float, start: float) -> float:
    """Return a straight line from ``start`` to 1 at ``length``."""
    return start + (1.0 - start) * x / length


def _half_cosine(x: float, length: float, first: float, last: float) -> float:
    """Return half a cosine from ``first`` to ``last`` at ``length``, where it stays."""
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, x / length)))
