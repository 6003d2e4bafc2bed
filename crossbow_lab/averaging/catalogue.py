"""All algorithms by name: how plots write them, what they have in common, and JSON."""

import dataclasses
import math
from typing import Any, TypeAlias

from crossbow_lab.averaging import _fields as fields
from crossbow_lab.averaging.algorithms import EASGD, SMA, SSGD
from crossbow_lab.averaging.family import (
    EAMSGD,
    AsyncEAMSGD,
    DiLoCo,
    Downpour,
    HierarchicalSMA,
    Hogwild,
    KungFuSMA,
    LocalSGD,
    PairAveraging,
    PolyakRuppert,
)
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.named import from_json, to_json

Algorithm: TypeAlias = (
    SMA
    | EASGD
    | SSGD
    | HierarchicalSMA
    | EAMSGD
    | AsyncEAMSGD
    | LocalSGD
    | DiLoCo
    | PolyakRuppert
    | KungFuSMA
    | PairAveraging
    | Downpour
    | Hogwild
)

# Names as plots and prose write them. What is simulated says so wherever the name is shown.
_NAMES: dict[type[Algorithm], str] = {
    SMA: "SMA",
    EASGD: "EA-SGD",
    SSGD: "S-SGD",
    HierarchicalSMA: "hierarchical SMA (simulated devices)",
    EAMSGD: "EAMSGD",
    AsyncEAMSGD: "asynchronous EAMSGD (simulated)",
    LocalSGD: "local SGD",
    DiLoCo: "DiLoCo",
    PolyakRuppert: "Polyak-Ruppert",
    KungFuSMA: "KungFu SMA",
    PairAveraging: "pair averaging",
    Downpour: "Downpour (simulated)",
    Hogwild: "Hogwild (simulated)",
}

ALGORITHMS: dict[str, type[Algorithm]] = {kind.__name__: kind for kind in _NAMES}


def algorithm_name(algorithm: Algorithm) -> str:
    """Return the algorithm's name as plots and prose write it.

    Examples
    --------
    >>> algorithm_name(EASGD()), algorithm_name(Hogwild())
    ('EA-SGD', 'Hogwild (simulated)')
    """
    return _NAMES[type(algorithm)]


def sync_period_at(algorithm: Algorithm, epoch: float) -> int:
    """Return the iterations between synchronisations in this epoch; 1 for algorithms that have no such period.

    Examples
    --------
    >>> post_local = LocalSGD(sync_period=8, local_from_epoch=10)
    >>> sync_period_at(post_local, 9.9), sync_period_at(post_local, 10.0), sync_period_at(SSGD(), 0.0)
    (1, 8, 1)
    """
    if isinstance(algorithm, LocalSGD) and epoch < algorithm.local_from_epoch:
        return 1
    return int(getattr(algorithm, "sync_period", 1))


def local_momentum(algorithm: Algorithm) -> float:
    """Return the momentum of the learners' own SGD; 0 for algorithms that have none.

    Examples
    --------
    >>> local_momentum(EAMSGD()), local_momentum(SSGD())
    (0.9, 0.0)
    """
    return float(getattr(algorithm, "local_momentum", 0.0))


def has_field(algorithm: Algorithm, name: str) -> bool:
    """Tell whether an algorithm has a setting of this name.

    Examples
    --------
    >>> has_field(SMA(), "alpha"), has_field(SSGD(), "alpha")
    (True, False)
    """
    return any(field.name == name for field in dataclasses.fields(algorithm))


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
    k = fields.whole("n_learners", n_learners, "every run needs at least one learner")
    mu = fields.momentum("momentum (central)", momentum)
    return 2.0 * (1.0 + mu) / (1.0 + k + mu)


def alpha_limit(algorithm: Algorithm, n_learners: int) -> float | None:
    """Return the α below which (from 0 to 1: up to which) an algorithm may go; None where it has no α.

    Examples
    --------
    >>> alpha_limit(EASGD(), 4), alpha_limit(KungFuSMA(), 4), alpha_limit(LocalSGD(), 4)
    (0.4, 1.0, None)
    """
    match algorithm:
        case SMA() | HierarchicalSMA():
            return alpha_bound(n_learners, algorithm.momentum)
        case EASGD() | EAMSGD():
            return alpha_bound(n_learners, 0.0)
        case KungFuSMA() | PolyakRuppert() | AsyncEAMSGD():
            return 1.0
        case _:
            return None


def resolve_alpha(algorithm: Algorithm, n_learners: int) -> float:
    """Return the α that this algorithm uses with k learners, checked against its stability bound.

    ``alpha=None`` means 1/k. For k = 1 that would be α = 1, with which replica and centre swap for ever, so
    it means 1/2 there: plain SGD with a running average of its weights as z. For one learner of Polyak-Ruppert
    averaging it means 0: SGD that z only watches.

    Parameters
    ----------
    algorithm : any of `ALGORITHMS`
        Its alpha and central momentum (0 where it has none) are read.
    n_learners : int
        k, at least 1.

    Returns
    -------
    float
        α; 0 for algorithms without, such as S-SGD, which corrects nothing.

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
    k = fields.whole("n_learners", n_learners, "every run needs at least one learner")
    match algorithm:
        case SMA() | HierarchicalSMA() | EASGD() | EAMSGD():
            return _stable_alpha(algorithm, k)
        case PolyakRuppert(alpha=None):
            return 0.0 if k == 1 else 1.0 / k
        case AsyncEAMSGD(alpha=None):
            return 0.5 if k == 1 else 1.0 / k
        case KungFuSMA() | PolyakRuppert() | AsyncEAMSGD():
            return 1.0 / k if algorithm.alpha is None else algorithm.alpha
        case _:
            return 0.0


def check_fits(algorithm: Algorithm, n_learners: int) -> None:
    """Refuse an algorithm that can't run with k learners.

    Raises
    ------
    ConfigurationError
        If alpha is outside its bound (`resolve_alpha`), or there are more devices than learners.

    Examples
    --------
    >>> check_fits(HierarchicalSMA(devices=4), 2)
    Traceback (most recent call last):
    crossbow_lab.errors.ConfigurationError: 4 simulated devices need at least 4 learners, but there are 2; use at \
most devices=2, or more learners
    """
    resolve_alpha(algorithm, n_learners)
    if isinstance(algorithm, HierarchicalSMA) and algorithm.devices > n_learners:
        raise ConfigurationError(
            f"{algorithm.devices} simulated devices need at least {algorithm.devices} learners, but there are "
            f"{n_learners}; use at most devices={n_learners}, or more learners"
        )


def _stable_alpha(algorithm: SMA | HierarchicalSMA | EASGD | EAMSGD, n_learners: int) -> float:
    """Return the α of an elastic algorithm, or refuse one with which replicas and z drive each other away."""
    mu = algorithm.momentum if isinstance(algorithm, SMA | HierarchicalSMA) else 0.0
    bound = alpha_bound(n_learners, mu)
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
    return to_json(algorithm)


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
    return from_json("algorithm", data, ALGORITHMS)
