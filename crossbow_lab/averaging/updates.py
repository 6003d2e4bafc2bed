"""What follows the learners' passes in an iteration, by algorithm: the one place that knows which rule is whose."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from crossbow_lab.averaging._chunks import Scratch
from crossbow_lab.averaging.algorithms import EASGD, SMA, SSGD
from crossbow_lab.averaging.catalogue import Algorithm, local_momentum, resolve_alpha
from crossbow_lab.averaging.elastic_rules import async_eamsgd_step, eamsgd_step, hierarchical_sma_step
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
from crossbow_lab.averaging.mean_rules import diloco_step, local_sgd_step, polyak_ruppert_step
from crossbow_lab.averaging.peer_rules import downpour_step, kungfu_sma_step, pair_averaging_step
from crossbow_lab.averaging.rules import easgd_step, local_step, sma_step, ssgd_step


@dataclass(frozen=True)
class Rows:
    """What an iteration updates, in place.

    Attributes
    ----------
    weights, gradients : (k, n), the learners' rows of a bank; one row for S-SGD.
    centre, centre_velocity : (n,), z, and what its momentum needs.
    local_velocity : (k, n), the learners' own; read only where the algorithm has local momentum.
    scratch : from ``make_scratch(weights)``.
    """

    weights: Tensor
    gradients: Tensor
    centre: Tensor
    centre_velocity: Tensor
    local_velocity: Tensor
    scratch: Scratch


def synchronise(algorithm: Algorithm, rows: Rows, *, learning_rate: float, weight_decay: float, n_before: int) -> None:
    """Take an algorithm's synchronising iteration, in place, given the learners' gradients.

    Parameters
    ----------
    learning_rate, weight_decay : float
        γ > 0 and λ ≥ 0.
    n_before : int
        Synchronisations since the start or the last restart, at least 0.

    Raises
    ------
    ConfigurationError
        If parts of ``rows`` don't fit together, or the algorithm can't run with so many learners.

    Examples
    --------
    >>> import torch
    >>> from crossbow_lab.averaging import make_scratch
    >>> w, z = torch.tensor([[1.0], [3.0]]), torch.tensor([2.0])
    >>> rows = Rows(w, torch.ones(2, 1), z, torch.zeros(1), torch.zeros(2, 1), make_scratch(w))
    >>> synchronise(LocalSGD(), rows, learning_rate=0.5, weight_decay=0.0, n_before=0)
    >>> w.tolist(), z.tolist()
    ([[1.5], [1.5]], [1.5])
    """
    w, g, z, e = rows.weights, rows.gradients, rows.centre, rows.centre_velocity
    own: dict[str, Any] = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    if isinstance(algorithm, SSGD):
        ssgd_step(w, g, z, e, momentum=algorithm.momentum, **own)
        return
    own["scratch"] = rows.scratch
    if isinstance(algorithm, Downpour | Hogwild):
        period = algorithm.fetch_period if isinstance(algorithm, Downpour) else 1
        downpour_step(w, g, z, n_before=n_before, fetch_period=period, **own)
        return
    own |= _momentum(algorithm, rows)
    alpha = resolve_alpha(algorithm, len(w))
    match algorithm:
        case SMA():
            sma_step(w, g, z, e, alpha=alpha, momentum=algorithm.momentum, **own)
        case HierarchicalSMA():
            constants: dict[str, Any] = {"alpha": alpha, "momentum": algorithm.momentum}
            hierarchical_sma_step(w, g, z, e, devices=algorithm.devices, **constants, **own)
        case EASGD():
            easgd_step(w, g, z, alpha=alpha, **own)
        case EAMSGD():
            eamsgd_step(w, g, z, alpha=alpha, **own)
        case AsyncEAMSGD():
            turn: dict[str, Any] = {"n_before": n_before, "exchange_period": algorithm.exchange_period}
            async_eamsgd_step(w, g, z, alpha=alpha, **turn, **own)
        case LocalSGD():
            local_sgd_step(w, g, z, **own)
        case DiLoCo():
            eta, mu = algorithm.outer_learning_rate, algorithm.momentum
            diloco_step(w, g, z, e, outer_learning_rate=eta, momentum=mu, **own)
        case PolyakRuppert():
            polyak_ruppert_step(w, g, z, alpha=alpha, n_before=n_before, **own)
        case KungFuSMA():
            kungfu_sma_step(w, g, z, alpha=alpha, **own)
        case PairAveraging():
            pair_averaging_step(w, g, z, n_before=n_before, **own)


def explore(algorithm: Algorithm, rows: Rows, *, learning_rate: float, weight_decay: float) -> None:
    """Take an iteration between an algorithm's synchronisations, in place: local steps alone.

    Examples
    --------
    >>> import torch
    >>> from crossbow_lab.averaging import make_scratch
    >>> w, z = torch.tensor([[1.0], [3.0]]), torch.tensor([2.0])
    >>> rows = Rows(w, torch.ones(2, 1), z, torch.zeros(1), torch.zeros(2, 1), make_scratch(w))
    >>> explore(LocalSGD(), rows, learning_rate=0.5, weight_decay=0.0)
    >>> w.tolist(), z.tolist()
    ([[0.5], [2.5]], [2.0])
    """
    local_step(
        rows.weights,
        rows.gradients,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        nesterov=isinstance(algorithm, EAMSGD),
        **_momentum(algorithm, rows),
    )


def _momentum(algorithm: Algorithm, rows: Rows) -> dict[str, Any]:
    """Return the learners' own momentum, and its velocity where there is any."""
    mu_l = local_momentum(algorithm)
    return {"local_momentum": mu_l, "local_velocity_kn": rows.local_velocity if mu_l > 0 else None}
