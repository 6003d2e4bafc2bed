"""The rest of the family in NumPy, float64, to be read beside the papers.

`elastic_rules`, `mean_rules` and `peer_rules` do the same in place.

Symbols and `State` as in `reference`. `State.z_prev` and `State.v` hold what an algorithm's own momentum needs:
DiLoCo's outer velocity e is a state of its own. t counts iterations since the start or restart, so that with
period tau this is synchronisation number (t + 1) / tau, counted from 1.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crossbow_lab.averaging.algorithms import EASGD, SMA, SSGD
from crossbow_lab.averaging.catalogue import Algorithm, local_momentum, resolve_alpha, sync_period_at
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
from crossbow_lab.averaging.reference import Array, SSGDState, State, easgd, sma, ssgd, start


@dataclass(frozen=True)
class OuterState:
    """State of DiLoCo between two iterations: that of its learners and z, and the outer velocity.

    `iterate` takes any algorithm's state in this form: S-SGD's velocity is e, others leave it as it is.
    """

    inner: State
    e: Array


def _local(state: State, g: Array, gamma: float, mu_l: float, lam: float) -> State:
    """Return the state after every learner's own step."""
    v = mu_l * state.v - gamma * (g + lam * state.w)
    return replace(state, w=state.w + v, v=v, t=state.t + 1)


def hierarchical_sma(
    state: State,
    g: Array,
    *,
    devices: int,
    gamma: float,
    alpha: float,
    mu: float,
    tau: int = 1,
    mu_l: float = 0.0,
    lam: float = 0.0,
) -> State:
    """Return the state after one iteration of SMA with learners on several devices (after the paper).

    Examples
    --------
    >>> state = State(w=np.array([[1.0], [2.0], [3.0]]), z=np.zeros(1), z_prev=np.zeros(1), v=np.zeros((3, 1)))
    >>> hierarchical_sma(state, np.zeros((3, 1)), devices=2, gamma=0.1, alpha=0.5, mu=0.9).z
    array([3.])
    """
    new = _local(state, g, gamma, mu_l, lam)
    if new.t % tau:
        return new
    c = alpha * (state.w - state.z)
    sums = [c_of_device.sum(axis=0) for c_of_device in np.array_split(c, devices)]  # level 1
    z = state.z + np.sum(sums, axis=0) + mu * (state.z - state.z_prev)  # level 2
    return replace(new, w=new.w - c, z=z, z_prev=state.z)


def eamsgd(
    state: State, g: Array, *, gamma: float, alpha: float, delta: float, tau: int = 1, lam: float = 0.0
) -> State:
    """Return the state after one iteration of EAMSGD (Zhang et al., NIPS 2015, Algorithm 2, all learners at once).

    Here w is where gradients are taken, x + delta v; the learners themselves are x.

    Examples
    --------
    >>> state = State(w=np.array([[1.0]]), z=np.zeros(1), z_prev=np.zeros(1), v=np.array([[2.0]]))
    >>> new = eamsgd(state, np.zeros((1, 1)), gamma=0.1, alpha=0.5, delta=0.25)
    >>> new.w.tolist(), new.v.tolist(), new.z.tolist()
    ([[0.875]], [[0.5]], [0.25])
    """
    x, z, t = state.w - delta * state.v, state.z, state.t + 1
    c = alpha * (x - z) if t % tau == 0 else np.zeros_like(x)
    v = delta * state.v - gamma * (g + lam * state.w)
    x = x + v - c
    return State(w=x + delta * v, z=z + c.sum(axis=0), z_prev=z, v=v, t=t)


def async_eamsgd(
    state: State, g: Array, *, gamma: float, alpha: float, delta: float, period: int, lam: float = 0.0
) -> State:
    """Return the state after one iteration of EAMSGD with learners in turn (Zhang et al., NIPS 2015, Algorithm 2).

    Examples
    --------
    >>> state = State(w=np.array([[2.0], [4.0]]), z=np.zeros(1), z_prev=np.zeros(1), v=np.zeros((2, 1)))
    >>> async_eamsgd(state, np.zeros((2, 1)), gamma=0.1, alpha=0.5, delta=0.9, period=1).z
    array([2.5])
    """
    x, z = state.w - delta * state.v, state.z
    v = delta * state.v - gamma * (g + lam * state.w)
    new_x = x + v
    for j in range(len(g)):
        if (state.t + j) % period == 0:
            c = alpha * (x[j] - z)
            new_x[j] -= c
            z = z + c
    return State(w=new_x + delta * v, z=z, z_prev=state.z, v=v, t=state.t + 1)


def local_sgd(state: State, g: Array, *, gamma: float, tau: int = 1, mu_l: float = 0.0, lam: float = 0.0) -> State:
    """Return the state after one iteration of local SGD (Stich, ICLR 2019).

    Examples
    --------
    >>> state = State(w=np.array([[1.0], [3.0]]), z=np.zeros(1), z_prev=np.zeros(1), v=np.zeros((2, 1)))
    >>> local_sgd(state, np.ones((2, 1)), gamma=0.5).w.tolist()
    [[1.5], [1.5]]
    """
    new = _local(state, g, gamma, mu_l, lam)
    if new.t % tau:
        return new
    z = new.w.mean(axis=0)
    return replace(new, w=np.tile(z, (len(g), 1)), z=z)


def diloco(
    state: OuterState,
    g: Array,
    *,
    gamma: float,
    eta: float,
    mu: float,
    tau: int = 1,
    mu_l: float = 0.0,
    lam: float = 0.0,
) -> OuterState:
    """Return the state after one iteration of DiLoCo (Douillard et al., 2023, Algorithm 1, with SGD inside).

    Examples
    --------
    >>> inner = State(w=np.array([[1.0], [3.0]]), z=np.zeros(1), z_prev=np.zeros(1), v=np.zeros((2, 1)))
    >>> diloco(OuterState(inner, np.zeros(1)), np.zeros((2, 1)), gamma=0.1, eta=0.5, mu=0.5).inner.z
    array([1.5])
    """
    new = _local(state.inner, g, gamma, mu_l, lam)
    if new.t % tau:
        return OuterState(new, state.e)
    gradient = new.z - new.w.mean(axis=0)
    e = mu * state.e - gradient
    z = new.z + eta * (mu * e - gradient)
    return OuterState(replace(new, w=np.tile(z, (len(g), 1)), z=z), e)


def polyak_ruppert(
    state: State, g: Array, *, gamma: float, alpha: float, tau: int = 1, mu_l: float = 0.0, lam: float = 0.0
) -> State:
    """Return the state after one iteration of Polyak-Ruppert averaging (after lsds/Crossbow).

    Examples
    --------
    >>> state = State(w=np.array([[1.0], [3.0]]), z=np.zeros(1), z_prev=np.zeros(1), v=np.zeros((2, 1)))
    >>> new = polyak_ruppert(state, np.zeros((2, 1)), gamma=0.1, alpha=0.5)
    >>> new.w.tolist(), new.z.tolist()
    ([[1.0], [2.0]], [1.0])
    """
    new = _local(state, g, gamma, mu_l, lam)
    if new.t % tau:
        return new
    t = new.t // tau
    z = new.z + (new.w.mean(axis=0) - new.z) / (t + 1)
    return replace(new, w=new.w - alpha * (new.w - z), z=z)


def kungfu_sma(
    state: State, g: Array, *, gamma: float, alpha: float, tau: int = 1, mu_l: float = 0.0, lam: float = 0.0
) -> State:
    """Return the state after one iteration of KungFu's SMA (lsds/KungFu, optimizers/sma_sgd).

    Examples
    --------
    >>> state = State(w=np.array([[1.0], [3.0]]), z=np.zeros(1), z_prev=np.zeros(1), v=np.zeros((2, 1)))
    >>> kungfu_sma(state, np.array([[2.0], [0.0]]), gamma=0.5, alpha=0.5).w.tolist()
    [[0.5], [2.5]]
    """
    new = _local(state, g, gamma, mu_l, lam)
    if new.t % tau:
        return new
    w = (1 - alpha) * state.w + alpha * state.w.mean(axis=0) + new.v
    return replace(new, w=w, z=w.mean(axis=0))


def pair_averaging(state: State, g: Array, *, gamma: float, tau: int = 1, mu_l: float = 0.0, lam: float = 0.0) -> State:
    """Return the state after one iteration of pair averaging (Lian et al., ICML 2018), peers in a fixed order.

    Examples
    --------
    >>> state = State(w=np.array([[1.0], [3.0]]), z=np.zeros(1), z_prev=np.zeros(1), v=np.zeros((2, 1)), t=1)
    >>> pair_averaging(state, np.zeros((2, 1)), gamma=0.5).w.tolist()
    [[2.0], [2.0]]
    """
    new, k = _local(state, g, gamma, mu_l, lam), len(g)
    if new.t % tau:
        return new
    peers = [(new.t // tau - 1 - j) % k for j in range(k)]
    w = (state.w + state.w[peers]) / 2 + new.v
    return replace(new, w=w, z=w.mean(axis=0))


def downpour(state: State, g: Array, *, gamma: float, period: int = 1, lam: float = 0.0) -> State:
    """Return the state after one iteration of Downpour SGD with learners in turn; with period 1, of Hogwild.

    Examples
    --------
    >>> state = State(w=np.zeros((2, 1)), z=np.zeros(1), z_prev=np.zeros(1), v=np.zeros((2, 1)))
    >>> downpour(state, np.array([[1.0], [2.0]]), gamma=1.0).w.tolist()
    [[-1.0], [-3.0]]
    """
    w, z = state.w.copy(), state.z
    for j in range(len(g)):
        step = -gamma * (g[j] + lam * w[j])
        z = z + step
        w[j] = z if (state.t + j) % period == 0 else w[j] + step
    return replace(state, w=w, z=z, t=state.t + 1)


def begin(w_0: Array, k: int) -> OuterState:
    """Return the state in which k learners begin, by whatever algorithm; one row for S-SGD.

    Examples
    --------
    >>> begin(np.array([1.0]), k=2).inner.w.tolist()
    [[1.0], [1.0]]
    """
    return OuterState(start(w_0, k), np.zeros_like(w_0, dtype=np.float64))


def iterate(
    algorithm: Algorithm, state: OuterState, g: Array, *, gamma: float, lam: float = 0.0, epoch: float = 0.0
) -> OuterState:
    """Return the state after one iteration of any algorithm: what `crossbow_lab.averaging.updates` does in place.

    Examples
    --------
    >>> iterate(LocalSGD(sync_period=1), begin(np.zeros(1), k=2), np.array([[1.0], [3.0]]), gamma=0.5).inner.z
    array([-1.])
    """
    inner, k = state.inner, len(g)
    own: dict[str, Any] = {"gamma": gamma, "lam": lam}
    if isinstance(algorithm, SSGD):
        one = ssgd(SSGDState(inner.z, state.e), g[0], mu=algorithm.momentum, **own)
        return OuterState(replace(inner, w=one.z[None], z=one.z, t=inner.t + 1), one.v)
    if isinstance(algorithm, Downpour | Hogwild):
        period = algorithm.fetch_period if isinstance(algorithm, Downpour) else 1
        return replace(state, inner=downpour(inner, g, period=period, **own))
    alpha, mu_l = resolve_alpha(algorithm, k), local_momentum(algorithm)
    if isinstance(algorithm, AsyncEAMSGD):
        turn: dict[str, Any] = {"period": algorithm.exchange_period, **own}
        return replace(state, inner=async_eamsgd(inner, g, alpha=alpha, delta=mu_l, **turn))
    own |= {"tau": sync_period_at(algorithm, epoch)}
    if isinstance(algorithm, EAMSGD):
        return replace(state, inner=eamsgd(inner, g, alpha=alpha, delta=mu_l, **own))
    own |= {"mu_l": mu_l}
    match algorithm:
        case SMA(momentum=mu):
            inner = sma(inner, g, alpha=alpha, mu=mu, **own)
        case HierarchicalSMA(devices=devices, momentum=mu):
            inner = hierarchical_sma(inner, g, devices=devices, alpha=alpha, mu=mu, **own)
        case EASGD():
            inner = easgd(inner, g, alpha=alpha, **own)
        case LocalSGD():
            inner = local_sgd(inner, g, **own)
        case DiLoCo(outer_learning_rate=eta, momentum=mu):
            return diloco(state, g, eta=eta, mu=mu, **own)
        case PolyakRuppert():
            inner = polyak_ruppert(inner, g, alpha=alpha, **own)
        case KungFuSMA():
            inner = kungfu_sma(inner, g, alpha=alpha, **own)
        case PairAveraging():
            inner = pair_averaging(inner, g, **own)
    return replace(state, inner=inner)
