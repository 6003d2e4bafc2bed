"""Update rules without a central model that everybody waits for, in place: peers, and staleness.

They keep what `rules` promises: exactly no correction where learners are equal, nothing allocated with `scratch`, no
waiting for the device, the same bits on every run. `family_reference` is their NumPy twin. Letters at the end of
names: k learners, n parameters. Inside: the papers' symbols.
"""

import torch
from torch import Tensor

from crossbow_lab.averaging import _checks as checks
from crossbow_lab.averaging._chunks import Scratch, scratch_for, walk
from crossbow_lab.averaging._parts import descend, look, mean_difference


@torch.no_grad()
def kungfu_sma_step(
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
    """Take one synchronising iteration of what KungFu calls SMA, in place (its optimizers/sma_sgd).

    With w_j on the right before its gradient step::

        w_j = w_j − α (w_j − 1/k Σ_i w_i) − γ (g_j + λ w_j)
        z   = 1/k Σ_j w_j                                      only to be looked at

    Parameters
    ----------
    alpha : float
        α ≥ 0; KungFu's is 0.1.
    weights_kn, gradients_kn, centre_n, local_velocity_kn, learning_rate, local_momentum, weight_decay, scratch
        As in `sma_step`.

    Raises
    ------
    ConfigurationError
        As in `sma_step`.

    Examples
    --------
    >>> w, z = torch.tensor([[1.0], [3.0]]), torch.tensor([0.0])
    >>> kungfu_sma_step(w, torch.tensor([[2.0], [0.0]]), z, learning_rate=0.5, alpha=0.5)
    >>> w.tolist(), z.tolist()
    ([[0.5], [2.5]], [1.5])
    """
    checks.bank(weights_kn)
    alpha = checks.rate("alpha", alpha)
    local = checks.local_sgd(learning_rate, local_momentum, weight_decay)
    scratch = scratch_for(weights_kn, scratch)
    for w, g, v, z, difference, total in walk(weights_kn, gradients_kn, local_velocity_kn, centre_n, local, scratch):
        mean_difference(w, w[0], difference, total)
        difference.sub_(total)
        descend(w, g, v, local)
        w.sub_(difference, alpha=alpha)
        look(w, z, difference, total)


@torch.no_grad()
def pair_averaging_step(
    weights_kn: Tensor,
    gradients_kn: Tensor,
    centre_n: Tensor,
    *,
    learning_rate: float,
    n_before: int,
    local_velocity_kn: Tensor | None = None,
    local_momentum: float = 0.0,
    weight_decay: float = 0.0,
    scratch: Scratch | None = None,
) -> None:
    """Take one synchronising iteration of pair averaging, in place (Lian et al., ICML 2018, in a fixed order).

    With t = n_before, learner j meets learner p = (t − j) mod k, if that is another one. With the weights on the
    right before the gradient step::

        w_j = (w_j + w_p) / 2 − γ (g_j + λ w_j)
        z   = 1/k Σ_j w_j                                      only to be looked at

    Parameters
    ----------
    n_before : int
        Synchronisations since the start or the last restart, at least 0.
    weights_kn, gradients_kn, centre_n, local_velocity_kn, learning_rate, local_momentum, weight_decay, scratch
        As in `sma_step`.

    Raises
    ------
    ConfigurationError
        As in `sma_step`.

    Examples
    --------
    >>> w, z = torch.tensor([[1.0], [3.0], [8.0]]), torch.tensor([0.0])
    >>> pair_averaging_step(w, torch.zeros(3, 1), z, learning_rate=0.5, n_before=1)
    >>> w.tolist(), z.tolist()
    ([[2.0], [2.0], [8.0]], [4.0])
    """
    checks.bank(weights_kn)
    t, k = checks.count("n_before", n_before), len(weights_kn)
    peers = [(t - j) % k for j in range(k)]
    local = checks.local_sgd(learning_rate, local_momentum, weight_decay)
    scratch = scratch_for(weights_kn, scratch)
    for w, g, v, z, difference, total in walk(weights_kn, gradients_kn, local_velocity_kn, centre_n, local, scratch):
        for j, peer in enumerate(peers):
            torch.sub(w[j], w[peer], out=difference[j])
        descend(w, g, v, local)
        w.sub_(difference, alpha=0.5)
        look(w, z, difference, total)


@torch.no_grad()
def downpour_step(
    weights_kn: Tensor,
    gradients_kn: Tensor,
    centre_n: Tensor,
    *,
    learning_rate: float,
    n_before: int,
    fetch_period: int = 1,
    weight_decay: float = 0.0,
    scratch: Scratch | None = None,
) -> None:
    """Take one iteration of Downpour SGD with simulated staleness, in place (Dean et al., NIPS 2012).

    With t = n_before, learners j = 0, 1, ... take turns::

        z   = z − γ (g_j + λ w_j)
        w_j = z                   if fetch_period divides t + j, else
        w_j = w_j − γ (g_j + λ w_j)

    A fetch_period of 1 is Hogwild with a staleness of k − 1 writes (Recht et al., NIPS 2011).

    Parameters
    ----------
    n_before : int
        Iterations since the start or the last restart, at least 0.
    fetch_period : int
        At least 1.
    weights_kn, gradients_kn, centre_n, learning_rate, weight_decay, scratch
        As in `sma_step`.

    Raises
    ------
    ConfigurationError
        As in `sma_step`.

    Examples
    --------
    >>> w, z = torch.tensor([[0.0], [0.0]]), torch.tensor([0.0])
    >>> downpour_step(w, torch.tensor([[1.0], [2.0]]), z, learning_rate=1.0, n_before=0)
    >>> w.tolist(), z.tolist()
    ([[-1.0], [-3.0]], [-3.0])
    """
    checks.bank(weights_kn)
    t, period = checks.count("n_before", n_before), checks.count("fetch_period", fetch_period, least=1)
    local = checks.local_sgd(learning_rate, 0.0, weight_decay)
    scratch = scratch_for(weights_kn, scratch)
    for w, g, _, z, _, _ in walk(weights_kn, gradients_kn, None, centre_n, local, scratch):
        for j in range(len(w)):
            if local.decay:
                z.add_(w[j], alpha=-local.decay)
            z.add_(g[j], alpha=-local.learning_rate)
            if (t + j) % period == 0:
                w[j].copy_(z)
            else:
                descend(w[j], g[j], None, local)
