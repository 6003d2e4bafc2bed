"""The averaging algorithms as settings: what a person chooses, validated, and what it means in equations.

Symbols: learner j of k has replica w_j and gradient g_j; z is the central average model; γ the learning rate,
α the correction's strength, μ the central momentum, τ the synchronisation period, λ the weight decay.
Algorithm 1 is given after the paper (Koliousis et al., CROSSBOW, PVLDB 12(11), 2019), from secondary sources.
"""

import dataclasses
import math
import numbers
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from crossbow_lab.errors import ConfigurationError, nearest

Restart: TypeAlias = Literal["on_lr_change", "never"]


def _real(name: str, value: object, needed: str) -> float:
    """Return a finite number as a float, refusing everything else (bool too) with what is needed."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ConfigurationError(f"{name} is {value!r}; it must be a finite number {needed}")
    return float(value)


def _momentum(name: str, value: object) -> float:
    """Return a momentum, which must lie in [0, 1)."""
    needed = "from 0 up to, but not including, 1; use 0 for none, 0.9 as a start"
    momentum = _real(name, value, needed)
    if not 0.0 <= momentum < 1.0:
        raise ConfigurationError(f"{name} is {value!r}; it must be a finite number {needed}")
    return momentum


def _alpha(value: object) -> float | None:
    """Return alpha, which must be None or greater than 0; its upper bound depends on k (`resolve_alpha`)."""
    if value is None:
        return None
    needed = "greater than 0, or None for 1/k; to train without any coupling, use one learner or S-SGD"
    alpha = _real("alpha", value, needed)
    if alpha <= 0.0:
        raise ConfigurationError(f"alpha is {value!r}; it must be a finite number {needed}")
    return alpha


def _whole(name: str, value: object, advice: str) -> int:
    """Return a whole number of at least 1; True and 2.0 are refused, for they are seldom meant."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ConfigurationError(f"{name} is {value!r}; it must be a whole number of at least 1: {advice}")
    return int(value)


def _sync_period(value: object) -> int:
    """Return a synchronisation period."""
    return _whole("sync_period", value, "1 synchronises at every iteration, 2 at every other one")


@dataclass(frozen=True)
class SMA:
    """Synchronous model averaging (Algorithm 1 after the paper, from secondary sources).

    Every sync_period-th iteration, with w_j before its gradient step and z before this iteration's update::

        c_j = α (w_j − z)
        w_j = w_j − γ (g_j + λ w_j) − c_j
        z', z, z_prev = z, z + Σ_j c_j + μ (z − z_prev), z'

    In between, learners take the gradient step alone, and z rests. With ``local_momentum`` > 0 the gradient
    step is v_j = μ_l v_j − γ (g_j + λ w_j); w_j = w_j + v_j: this is what the original's code does, 0 is the
    paper's algorithm. With one learner this is plain SGD with a running average of its weights as z.

    Parameters
    ----------
    alpha : float or None
        Strength of the correction, α > 0. None means 1/k, recomputed when k changes (1/2 for k = 1). It must
        stay below 2(1+μ)/(1+k+μ), which `resolve_alpha` checks.
    momentum : float
        Central momentum μ, in [0, 1). It acts once per synchronisation.
    local_momentum : float
        Momentum μ_l of each learner's own SGD, in [0, 1).
    sync_period : int
        Synchronisation period τ in iterations, at least 1.
    restart : {"on_lr_change", "never"}
        Whether a step of the learning rate is followed by a restart: after that iteration's synchronisation
        all learners are set to z, and central and local momentum are cleared.

    Raises
    ------
    ConfigurationError
        If a value is outside its legal range.

    Examples
    --------
    >>> SMA()
    SMA(alpha=None, momentum=0.9, local_momentum=0.0, sync_period=1, restart='on_lr_change')
    >>> resolve_alpha(SMA(), n_learners=8)
    0.125
    """

    alpha: float | None = None
    momentum: float = 0.9
    local_momentum: float = 0.0
    sync_period: int = 1
    restart: Restart = "on_lr_change"

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", _alpha(self.alpha))
        object.__setattr__(self, "momentum", _momentum("momentum (central)", self.momentum))
        object.__setattr__(self, "local_momentum", _momentum("local_momentum", self.local_momentum))
        object.__setattr__(self, "sync_period", _sync_period(self.sync_period))
        known = get_args(Restart)
        if self.restart not in known:
            raise ConfigurationError(f"restart is {self.restart!r}; {nearest(str(self.restart), known)}")


@dataclass(frozen=True)
class EASGD:
    """Elastic averaging SGD in its synchronous form (Zhang, Choromanska and LeCun, NIPS 2015).

    SMA without central momentum and without restart: every sync_period-th iteration ::

        c_j = α (w_j − z)
        w_j = w_j − γ (g_j + λ w_j) − c_j
        z   = z + Σ_j c_j

    In that paper's letters α = ηρ and β = kα. In between, learners take the gradient step alone.

    Parameters
    ----------
    alpha : float or None
        Strength of the correction, α > 0. None means 1/k, recomputed when k changes (1/2 for k = 1). It must
        stay below 2/(1+k), which `resolve_alpha` checks.
    local_momentum : float
        Momentum of each learner's own SGD, in [0, 1).
    sync_period : int
        Synchronisation period τ in iterations, at least 1.

    Raises
    ------
    ConfigurationError
        If a value is outside its legal range.

    Examples
    --------
    >>> EASGD(sync_period=4)
    EASGD(alpha=None, local_momentum=0.0, sync_period=4)
    """

    alpha: float | None = None
    local_momentum: float = 0.0
    sync_period: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", _alpha(self.alpha))
        object.__setattr__(self, "local_momentum", _momentum("local_momentum", self.local_momentum))
        object.__setattr__(self, "sync_period", _sync_period(self.sync_period))


@dataclass(frozen=True)
class SSGD:
    """Synchronous SGD, the baseline: one model and the mean gradient over the aggregate batch of k·b samples.

    With g the mean of the k gradients, which is the gradient of the mean loss over the aggregate batch::

        v = μ v − γ (g + λ z)
        z = z + v

    The learning rate enters before the momentum, as in the original's code. All learners equal z, so one
    replica on the whole aggregate batch computes the same.

    Parameters
    ----------
    momentum : float
        Momentum μ of the one model, in [0, 1).

    Raises
    ------
    ConfigurationError
        If momentum is outside [0, 1).

    Examples
    --------
    >>> SSGD()
    SSGD(momentum=0.9)
    """

    momentum: float = 0.9

    def __post_init__(self) -> None:
        object.__setattr__(self, "momentum", _momentum("momentum", self.momentum))


Algorithm: TypeAlias = SMA | EASGD | SSGD

ALGORITHMS: dict[str, type[SMA] | type[EASGD] | type[SSGD]] = {"SMA": SMA, "EASGD": EASGD, "SSGD": SSGD}


def algorithm_name(algorithm: Algorithm) -> Literal["SMA", "EA-SGD", "S-SGD"]:
    """Return the algorithm's name as plots and prose write it.

    Examples
    --------
    >>> algorithm_name(EASGD())
    'EA-SGD'
    """
    match algorithm:
        case SMA():
            return "SMA"
        case EASGD():
            return "EA-SGD"
        case SSGD():
            return "S-SGD"


def alpha_bound(n_learners: int, momentum: float) -> float:
    """Return the α below which averaging is stable without gradients: 2(1+μ)/(1+k+μ).

    The mean deviation d = mean_j(w_j) − z and the centre's last increment e follow
    d' = (1 − α − kα) d − μ e, e' = kα d + μ e, whose spectral radius is below 1 exactly for 0 < α < this
    bound. Curvature of the loss narrows the margin.

    Parameters
    ----------
    n_learners : int
        k, at least 1.
    momentum : float
        Central momentum μ, in [0, 1); 0 for EA-SGD.

    Raises
    ------
    ConfigurationError
        If n_learners or momentum is outside its range.

    Examples
    --------
    >>> round(alpha_bound(8, 0.9), 3), round(alpha_bound(8, 0.0), 3)
    (0.384, 0.222)
    """
    k = _whole("n_learners", n_learners, "every run needs at least one learner")
    mu = _momentum("momentum (central)", momentum)
    return 2.0 * (1.0 + mu) / (1.0 + k + mu)


def resolve_alpha(algorithm: Algorithm, n_learners: int) -> float:
    """Return the α that this algorithm uses with k learners, checked against its stability bound.

    ``alpha=None`` means 1/k. For k = 1 that would be α = 1, with which replica and centre swap for ever, so
    it means 1/2 there: plain SGD with a running average of its weights as z.

    Parameters
    ----------
    algorithm : SMA, EASGD or SSGD
        Its alpha and central momentum (0 for EA-SGD) are read.
    n_learners : int
        k, at least 1.

    Returns
    -------
    float
        α; 0 for S-SGD, which corrects nothing.

    Raises
    ------
    ConfigurationError
        If n_learners is not a whole number of at least 1, if alpha is not below `alpha_bound`, or if k = 1 and
        alpha = 1.

    Examples
    --------
    >>> resolve_alpha(SMA(), 4), resolve_alpha(SMA(), 1), resolve_alpha(EASGD(alpha=0.1), 4)
    (0.25, 0.5, 0.1)
    >>> resolve_alpha(SMA(alpha=0.5), 8)
    Traceback (most recent call last):
    crossbow_lab.errors.ConfigurationError: alpha = 0.5 makes SMA diverge with k = 8 learners and central \
momentum mu = 0.9: alpha must be below 2(1+mu)/(1+k+mu) = 0.383838. Use alpha=None (1/k = 0.125), a smaller \
alpha, or at most 5 learners
    """
    mu = algorithm.momentum if isinstance(algorithm, SMA) else 0.0
    bound = alpha_bound(n_learners, mu)
    if isinstance(algorithm, SSGD):
        return 0.0
    alpha = algorithm.alpha
    if alpha is None:
        return 0.5 if n_learners == 1 else 1.0 / n_learners
    if n_learners == 1 and alpha == 1.0:
        raise ConfigurationError(
            "alpha = 1 with k = 1 learner makes the learner and the central average model swap weights at "
            "every iteration; use alpha=None (1/2 for one learner) or an alpha below 1"
        )
    if alpha >= bound:
        remedies = [f"alpha=None (1/k = {1.0 / n_learners:.6g})", "a smaller alpha"]
        most = _most_learners(alpha, mu)
        if most:
            remedies.append(f"at most {most} learners")
        raise ConfigurationError(
            f"alpha = {alpha:.6g} makes {algorithm_name(algorithm)} diverge with k = {n_learners} learners "
            f"and central momentum mu = {mu:.6g}: alpha must be below 2(1+mu)/(1+k+mu) = {bound:.6g}. "
            f"Use {', '.join(remedies[:-1])}, or {remedies[-1]}"
        )
    return alpha


def _most_learners(alpha: float, mu: float) -> int:
    """Return the largest k > 1 for which alpha is below its bound, or 0 if there is none."""
    k = math.ceil((1.0 + mu) * (2.0 / alpha - 1.0)) - 1
    return k if k > 1 else 0


def algorithm_to_json(algorithm: Algorithm) -> dict[str, Any]:
    """Return an algorithm as a dictionary that JSON can hold; `algorithm_from_json` reads it back.

    Examples
    --------
    >>> algorithm_to_json(EASGD())
    {'name': 'EASGD', 'alpha': None, 'local_momentum': 0.0, 'sync_period': 1}
    """
    return {"name": type(algorithm).__name__, **dataclasses.asdict(algorithm)}


def algorithm_from_json(data: dict[str, Any]) -> Algorithm:
    """Return the algorithm that `algorithm_to_json` wrote; fields that are left out take their defaults.

    Raises
    ------
    ConfigurationError
        If there is no name, if the name or a field is unknown, or if a value is outside its legal range.

    Examples
    --------
    >>> algorithm_from_json({"name": "SMA", "alpha": 0.1})
    SMA(alpha=0.1, momentum=0.9, local_momentum=0.0, sync_period=1, restart='on_lr_change')
    """
    if not isinstance(data, dict) or "name" not in data:
        raise ConfigurationError(
            f"an algorithm is written as {{'name': 'SMA', ...}}, not {data!r}; names: {', '.join(ALGORITHMS)}"
        )
    name = data["name"]
    if not isinstance(name, str) or name not in ALGORITHMS:
        raise ConfigurationError(f"there is no algorithm {name!r}; {nearest(str(name), ALGORITHMS)}")
    algorithm = ALGORITHMS[name]
    options = {key: value for key, value in data.items() if key != "name"}
    known = [field.name for field in dataclasses.fields(algorithm)]
    for key in options:
        if key not in known:
            raise ConfigurationError(f"{name} has no field {key!r}; {nearest(str(key), known)}")
    return algorithm(**options)
