"""Update rules of SMA's next of kin, in place: a difference from z is given back to z.

They keep what `rules` promises: exactly no correction where learners are equal, nothing allocated with `scratch`, no
waiting for the device, the same bits on every run. `family_reference` is their NumPy twin. Letters at the end of
names: k learners, n parameters. Inside: the papers' symbols.
"""

import itertools

import torch
from torch import Tensor

from crossbow_lab.averaging import _checks as checks
from crossbow_lab.averaging._chunks import Scratch, scratch_for, split, walk
from crossbow_lab.averaging._parts import descend, descend_ahead
from crossbow_lab.errors import ConfigurationError


@torch.no_grad()
def hierarchical_sma_step(
    weights_kn: Tensor,
    gradients_kn: Tensor,
    centre_n: Tensor,
    centre_velocity_n: Tensor,
    *,
    devices: int,
    learning_rate: float,
    alpha: float,
    momentum: float,
    local_velocity_kn: Tensor | None = None,
    local_momentum: float = 0.0,
    weight_decay: float = 0.0,
    scratch: Scratch | None = None,
) -> None:
    """Take one synchronising iteration of SMA in two levels, in place: sums on each device, then over devices.

    As `sma_step`, with e = μ e + Σ_d (Σ_j on d c_j). Device d has learners in a row, as many as any other or one
    more; the first devices have those.

    Parameters
    ----------
    devices : int
        From 1 to k.
    weights_kn, gradients_kn, centre_n, centre_velocity_n, learning_rate, alpha, momentum
        As in `sma_step`.
    local_velocity_kn, local_momentum, weight_decay, scratch
        As in `sma_step`.

    Raises
    ------
    ConfigurationError
        If there are more devices than learners; else as in `sma_step`.

    Examples
    --------
    >>> w, z, e = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0.0]), torch.tensor([0.0])
    >>> hierarchical_sma_step(w, torch.zeros(3, 1), z, e, devices=2, learning_rate=0.1, alpha=0.5, momentum=0.9)
    >>> z.tolist()
    [3.0]
    """
    checks.bank(weights_kn)
    checks.centre(weights_kn, centre_velocity_n=centre_velocity_n)
    k = len(weights_kn)
    if not 1 <= devices <= k:
        raise ConfigurationError(f"devices is {devices!r}; with {k} learners it must be from 1 to {k}")
    bounds = [d * (k // devices) + min(d, k % devices) for d in range(devices + 1)]
    alpha, momentum = checks.rate("alpha", alpha), checks.fraction("momentum (central)", momentum)
    local = checks.local_sgd(learning_rate, local_momentum, weight_decay)
    scratch = scratch_for(weights_kn, scratch)
    chunks = walk(weights_kn, gradients_kn, local_velocity_kn, centre_n, local, scratch)
    for (w, g, v, z, difference, total), e in zip(chunks, split(centre_velocity_n, scratch.chunk_columns), strict=True):
        torch.sub(w, z, out=difference)
        descend(w, g, v, local)
        w.sub_(difference, alpha=alpha)
        e.mul_(momentum)
        for first, last in itertools.pairwise(bounds):
            torch.sum(difference[first:last], 0, out=total)
            e.add_(total, alpha=alpha)
        z.add_(e)


@torch.no_grad()
def eamsgd_step(
    weights_kn: Tensor,
    gradients_kn: Tensor,
    centre_n: Tensor,
    *,
    learning_rate: float,
    alpha: float,
    local_velocity_kn: Tensor | None = None,
    local_momentum: float = 0.0,
    weight_decay: float = 0.0,
    scratch: Scratch | None = None,
) -> None:
    """Take one synchronising iteration of EAMSGD, in place (Zhang et al., NIPS 2015, Algorithm 2).

    With δ the local momentum, w_j the look-ahead point of learner j, at which g_j was taken, and v_j and z before
    this iteration::

        c_j = α (w_j − δ v_j − z)
        v_j = δ v_j − γ (g_j + λ w_j)
        w_j = w_j + δ v_j − γ (g_j + λ w_j) − c_j
        z   = z + Σ_j c_j

    Parameters
    ----------
    weights_kn, gradients_kn, centre_n, local_velocity_kn, learning_rate, local_momentum, weight_decay, scratch
        As in `sma_step`.
    alpha : float
        α ≥ 0.

    Raises
    ------
    ConfigurationError
        As in `sma_step`.

    Examples
    --------
    >>> w, z = torch.tensor([[1.0]]), torch.tensor([0.0])
    >>> v = torch.tensor([[2.0]])
    >>> eamsgd_step(
    ...     w, torch.zeros(1, 1), z, learning_rate=0.1, alpha=0.5, local_velocity_kn=v, local_momentum=0.25
    ... )
    >>> w.tolist(), v.tolist(), z.tolist()
    ([[0.875]], [[0.5]], [0.25])
    """
    checks.bank(weights_kn)
    alpha = checks.rate("alpha", alpha)
    local = checks.local_sgd(learning_rate, local_momentum, weight_decay)
    scratch = scratch_for(weights_kn, scratch)
    for w, g, v, z, difference, total in walk(weights_kn, gradients_kn, local_velocity_kn, centre_n, local, scratch):
        torch.sub(w, z, out=difference)
        if v is not None:
            difference.sub_(v, alpha=local.momentum)
        torch.sum(difference, 0, out=total)
        descend_ahead(w, g, v, local)
        w.sub_(difference, alpha=alpha)
        z.add_(total, alpha=alpha)


@torch.no_grad()
def async_eamsgd_step(
    weights_kn: Tensor,
    gradients_kn: Tensor,
    centre_n: Tensor,
    *,
    learning_rate: float,
    alpha: float,
    n_before: int,
    exchange_period: int,
    local_velocity_kn: Tensor | None = None,
    local_momentum: float = 0.0,
    weight_decay: float = 0.0,
    scratch: Scratch | None = None,
) -> None:
    """Take one iteration of EAMSGD with simulated asynchrony, in place (Zhang et al., NIPS 2015, Algorithm 2).

    As `eamsgd_step`, but with t = n_before only those learners j = 0, 1, ... exchange for which exchange_period
    divides t + j, one after the other: c_j = α (w_j − δ v_j − z), and z = z + c_j before the next one.

    Parameters
    ----------
    n_before : int
        Iterations since the start or the last restart, at least 0.
    exchange_period : int
        At least 1.
    alpha : float
        α ≥ 0.
    weights_kn, gradients_kn, centre_n, local_velocity_kn, learning_rate, local_momentum, weight_decay, scratch
        As in `sma_step`.

    Raises
    ------
    ConfigurationError
        As in `sma_step`.

    Examples
    --------
    >>> w, z = torch.tensor([[2.0], [4.0]]), torch.tensor([0.0])
    >>> async_eamsgd_step(w, 0 * w, z, learning_rate=0.1, alpha=0.5, n_before=0, exchange_period=1)
    >>> w.tolist(), z.tolist()
    ([[1.0], [2.5]], [2.5])
    """
    checks.bank(weights_kn)
    alpha = checks.rate("alpha", alpha)
    t, period = checks.count("n_before", n_before), checks.count("exchange_period", exchange_period, least=1)
    local = checks.local_sgd(learning_rate, local_momentum, weight_decay)
    scratch = scratch_for(weights_kn, scratch)
    for w, g, v, z, difference, _ in walk(weights_kn, gradients_kn, local_velocity_kn, centre_n, local, scratch):
        difference.zero_()
        for j in range(-t % period, len(w), period):
            torch.sub(w[j], z, out=difference[j])
            if v is not None:
                difference[j].sub_(v[j], alpha=local.momentum)
            z.add_(difference[j], alpha=alpha)
        descend_ahead(w, g, v, local)
        w.sub_(difference, alpha=alpha)
