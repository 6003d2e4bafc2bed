"""Update rules that set z by the learners' mean after their gradient step, in place.

They keep what `rules` promises: exactly no correction where learners are equal, nothing allocated with `scratch`, no
waiting for the device, the same bits on every run. `family_reference` is their NumPy twin. Letters at the end of
names: k learners, n parameters. Inside: the papers' symbols.
"""

import torch
from torch import Tensor

from crossbow_lab.averaging import _checks as checks
from crossbow_lab.averaging._chunks import Scratch, scratch_for, split, walk
from crossbow_lab.averaging._parts import descend, mean_difference


@torch.no_grad()
def local_sgd_step(
    weights_kn: Tensor,
    gradients_kn: Tensor,
    centre_n: Tensor,
    *,
    learning_rate: float,
    local_velocity_kn: Tensor | None = None,
    local_momentum: float = 0.0,
    weight_decay: float = 0.0,
    scratch: Scratch | None = None,
) -> None:
    """Take one synchronising iteration of local SGD, in place: a local step, then z = 1/k Σ_j w_j and w_j = z.

    Between synchronisations call `local_step`. (Stich, ICLR 2019; post-local SGD: Lin et al., ICLR 2020.)

    Parameters
    ----------
    weights_kn, gradients_kn, centre_n, local_velocity_kn, learning_rate, local_momentum, weight_decay, scratch
        As in `sma_step`.

    Raises
    ------
    ConfigurationError
        As in `sma_step`.

    Examples
    --------
    >>> w, z = torch.tensor([[1.0], [3.0]]), torch.tensor([0.0])
    >>> local_sgd_step(w, torch.ones(2, 1), z, learning_rate=0.5)
    >>> w.tolist(), z.tolist()
    ([[1.5], [1.5]], [1.5])
    """
    checks.bank(weights_kn)
    local = checks.local_sgd(learning_rate, local_momentum, weight_decay)
    scratch = scratch_for(weights_kn, scratch)
    for w, g, v, z, difference, total in walk(weights_kn, gradients_kn, local_velocity_kn, centre_n, local, scratch):
        descend(w, g, v, local)
        mean_difference(w, z, difference, total)
        z.add_(total)
        w.copy_(z.expand_as(w))


@torch.no_grad()
def diloco_step(
    weights_kn: Tensor,
    gradients_kn: Tensor,
    centre_n: Tensor,
    centre_velocity_n: Tensor,
    *,
    learning_rate: float,
    outer_learning_rate: float,
    momentum: float,
    local_velocity_kn: Tensor | None = None,
    local_momentum: float = 0.0,
    weight_decay: float = 0.0,
    scratch: Scratch | None = None,
) -> None:
    """Take one synchronising iteration of DiLoCo, in place (Douillard et al., arXiv 2311.08105, Algorithm 1).

    A local step, then with Nesterov's momentum as torch.optim.SGD has it, e being held in centre_velocity_n::

        d   = 1/k Σ_j w_j − z
        e   = μ e + d
        z   = z + η (d + μ e)
        w_j = z

    Parameters
    ----------
    centre_velocity_n : Tensor, shape (n,)
        Velocity e of the outer optimiser; zero at the start. Updated in place.
    outer_learning_rate : float
        η ≥ 0.
    momentum : float
        μ, in [0, 1).
    weights_kn, gradients_kn, centre_n, local_velocity_kn, learning_rate, local_momentum, weight_decay, scratch
        As in `sma_step`.

    Raises
    ------
    ConfigurationError
        As in `sma_step`.

    Examples
    --------
    >>> w, z, e = torch.tensor([[1.0], [3.0]]), torch.tensor([0.0]), torch.tensor([0.0])
    >>> diloco_step(w, torch.zeros(2, 1), z, e, learning_rate=0.1, outer_learning_rate=0.5, momentum=0.5)
    >>> w.tolist(), z.tolist(), e.tolist()
    ([[1.5], [1.5]], [1.5], [2.0])
    """
    checks.bank(weights_kn)
    checks.centre(weights_kn, centre_velocity_n=centre_velocity_n)
    eta, mu = checks.rate("outer_learning_rate", outer_learning_rate), checks.fraction("momentum (central)", momentum)
    local = checks.local_sgd(learning_rate, local_momentum, weight_decay)
    scratch = scratch_for(weights_kn, scratch)
    chunks = walk(weights_kn, gradients_kn, local_velocity_kn, centre_n, local, scratch)
    for (w, g, v, z, difference, total), e in zip(chunks, split(centre_velocity_n, scratch.chunk_columns), strict=True):
        descend(w, g, v, local)
        mean_difference(w, z, difference, total)
        e.mul_(mu).add_(total)
        z.add_(total, alpha=eta).add_(e, alpha=eta * mu)
        w.copy_(z.expand_as(w))


@torch.no_grad()
def polyak_ruppert_step(
    weights_kn: Tensor,
    gradients_kn: Tensor,
    centre_n: Tensor,
    *,
    learning_rate: float,
    alpha: float,
    n_before: int,
    local_velocity_kn: Tensor | None = None,
    local_momentum: float = 0.0,
    weight_decay: float = 0.0,
    scratch: Scratch | None = None,
) -> None:
    """Take one synchronising iteration of Polyak-Ruppert averaging, in place, as lsds/Crossbow has it.

    A local step, then with t = n_before + 1 ::

        z   = z + (1/k Σ_j w_j − z) / (t + 1)
        w_j = w_j − α (w_j − z)

    Parameters
    ----------
    alpha : float
        Share of its difference from z that a learner gives up, α ≥ 0.
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
    >>> w, z = torch.tensor([[1.0], [3.0]]), torch.tensor([0.0])
    >>> polyak_ruppert_step(w, torch.zeros(2, 1), z, learning_rate=0.1, alpha=0.5, n_before=0)
    >>> w.tolist(), z.tolist()
    ([[1.0], [2.0]], [1.0])
    """
    checks.bank(weights_kn)
    alpha = checks.rate("alpha", alpha)
    part = 1.0 / (checks.count("n_before", n_before) + 2)
    local = checks.local_sgd(learning_rate, local_momentum, weight_decay)
    scratch = scratch_for(weights_kn, scratch)
    for w, g, v, z, difference, total in walk(weights_kn, gradients_kn, local_velocity_kn, centre_n, local, scratch):
        descend(w, g, v, local)
        mean_difference(w, z, difference, total)
        z.add_(total, alpha=part)
        torch.sub(w, z, out=difference)
        w.sub_(difference, alpha=alpha)
