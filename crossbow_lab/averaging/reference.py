"""The algorithms in NumPy, float64, to be read beside the paper; `rules` does the same in place, and fast.

Algorithm 1 is given after the paper (Koliousis et al., PVLDB 12(11), 2019), from secondary sources. Every
function takes a state and returns a new one; nothing is changed in place.

=========  ===========================================================  =========
symbol     meaning                                                      shape
=========  ===========================================================  =========
w          weights of the learners, one row each; j = 1..k              (k, n)
z, z_prev  central average model, and what it was one                   (n,)
           synchronisation ago
g          gradients of the learners' losses, each at its own w_j       (k, n)
c          corrections                                                  (k, n)
v          velocities: of the learners' own momentum, or of S-SGD's     (k, n), (n,)
t          iterations since the start or restart
gamma      learning rate γ
alpha      strength of the correction α
mu         central momentum μ; S-SGD's momentum
mu_l       local momentum; 0 is the paper's algorithm
lam        weight decay λ
tau        synchronisation period τ
=========  ===========================================================  =========
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class State:
    """State of SMA and EA-SGD between two iterations."""

    w: Array
    z: Array
    z_prev: Array
    v: Array
    t: int = 0


@dataclass(frozen=True)
class SSGDState:
    """State of S-SGD between two iterations: all k learners hold the weights z."""

    z: Array
    v: Array


def start(w_0: Array, k: int) -> State:
    """Return the state in which k learners begin: w_1..w_k = w_0, z = w_0, z_prev = z.

    Examples
    --------
    >>> start(np.array([1.0, 2.0]), k=2).w
    array([[1., 2.],
           [1., 2.]])
    """
    w_0 = np.array(w_0, dtype=np.float64)
    return State(w=np.tile(w_0, (k, 1)), z=w_0, z_prev=w_0, v=np.zeros((k, w_0.size)))


def sma(
    state: State,
    g: Array,
    *,
    gamma: float,
    alpha: float,
    mu: float,
    tau: int = 1,
    mu_l: float = 0.0,
    lam: float = 0.0,
) -> State:
    """Return the state after one iteration of SMA (Algorithm 1), given the gradients at the weights w.

    Every tau-th iteration synchronises; central momentum acts in those only. g is not yet multiplied by γ.

    Examples
    --------
    >>> state = sma(start(np.zeros(1), k=2), np.array([[1.0], [3.0]]), gamma=0.5, alpha=0.5, mu=0.9)
    >>> state.w.tolist(), state.z.tolist()
    ([[-0.5], [-1.5]], [0.0])
    >>> state = sma(state, np.zeros((2, 1)), gamma=0.5, alpha=0.5, mu=0.9)
    >>> state.w.tolist(), state.z.tolist()
    ([[-0.25], [-0.75]], [-1.0])
    """
    w, z, z_prev = state.w, state.z, state.z_prev
    v = mu_l * state.v - gamma * (g + lam * w)  # mu_l = lam = 0: −γ ∇ℓ(w_j; B_j)
    if (state.t + 1) % tau:
        return State(w=w + v, z=z, z_prev=z_prev, v=v, t=state.t + 1)
    c = alpha * (w - z)  # w before the gradient step, z before the update
    w = w + v - c
    z, z_prev = z + c.sum(axis=0) + mu * (z - z_prev), z
    return State(w=w, z=z, z_prev=z_prev, v=v, t=state.t + 1)


def easgd(
    state: State, g: Array, *, gamma: float, alpha: float, tau: int = 1, mu_l: float = 0.0, lam: float = 0.0
) -> State:
    """Return the state after one iteration of synchronous EA-SGD (Zhang et al., NIPS 2015).

    Examples
    --------
    >>> state = easgd(start(np.zeros(1), k=1), np.array([[2.0]]), gamma=0.5, alpha=0.25)
    >>> easgd(state, np.array([[0.0]]), gamma=0.5, alpha=0.25).z.tolist()
    [-0.25]
    """
    w, z = state.w, state.z
    v = mu_l * state.v - gamma * (g + lam * w)
    if (state.t + 1) % tau:
        return State(w=w + v, z=z, z_prev=state.z_prev, v=v, t=state.t + 1)
    c = alpha * (w - z)
    return State(w=w + v - c, z=z + c.sum(axis=0), z_prev=z, v=v, t=state.t + 1)


def restart(state: State) -> State:
    """Return the state in which Algorithm 1 begins again with z as the initial model.

    Examples
    --------
    >>> restart(sma(start(np.zeros(1), k=1), np.ones((1, 1)), gamma=0.5, alpha=0.5, mu=0.9)).w.tolist()
    [[0.0]]
    """
    return start(state.z, k=len(state.w))


def add_learner(state: State) -> State:
    """Return the state with one learner more, which starts at z.

    Examples
    --------
    >>> add_learner(start(np.array([1.0]), k=1)).w.tolist()
    [[1.0], [1.0]]
    """
    w, v = np.vstack([state.w, state.z]), np.vstack([state.v, np.zeros_like(state.z)])
    return State(w=w, z=state.z, z_prev=state.z_prev, v=v, t=state.t)


def remove_learner(state: State, j: int) -> State:
    """Return the state without learner j (counted from 0), which takes nothing with it: z stays.

    Examples
    --------
    >>> remove_learner(start(np.array([1.0]), k=2), 0).w.tolist()
    [[1.0]]
    """
    w, v = np.delete(state.w, j, axis=0), np.delete(state.v, j, axis=0)
    return State(w=w, z=state.z, z_prev=state.z_prev, v=v, t=state.t)


def ssgd_start(w_0: Array) -> SSGDState:
    """Return the state in which S-SGD begins.

    Examples
    --------
    >>> ssgd_start(np.array([1.0])).v
    array([0.])
    """
    z = np.array(w_0, dtype=np.float64)
    return SSGDState(z=z, v=np.zeros_like(z))


def ssgd(state: SSGDState, g: Array, *, gamma: float, mu: float, lam: float = 0.0) -> SSGDState:
    """Return the state after one iteration of S-SGD, g (n,) being the gradient over the aggregate batch.

    Examples
    --------
    >>> ssgd(ssgd_start(np.array([1.0])), np.array([2.0]), gamma=0.25, mu=0.9).z
    array([0.5])
    """
    v = mu * state.v - gamma * (g + lam * state.z)
    return SSGDState(z=state.z + v, v=v)


def ssgd_of_k_gradients(state: SSGDState, g: Array, *, gamma: float, mu: float, lam: float = 0.0) -> SSGDState:
    """Return the state after one iteration of S-SGD from k gradients (k, n), as k learners would compute it.

    Every learner j starts at z and contributes −γ (g_j + λ z); their sum is divided by k.

    Examples
    --------
    >>> ssgd_of_k_gradients(ssgd_start(np.array([1.0])), np.array([[1.0], [3.0]]), gamma=0.25, mu=0.9).z
    array([0.5])
    """
    k = len(g)
    w = np.tile(state.z, (k, 1))
    steps = -gamma * (g + lam * w)
    v = mu * state.v + steps.sum(axis=0) / k
    return SSGDState(z=state.z + v, v=v)
