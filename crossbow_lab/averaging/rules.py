"""The update rules on a bank of learners: torch, in place, on any device; `reference` is their NumPy twin.

A bank holds learner j's n parameters in row j: shape (k, n), parameters contiguous, rows of a wider padded
array if you like (any row stride of at least n). Every rule

* computes c_j = α (w_j − z) from the difference itself, so learners that equal z are corrected by exactly
  zero: after a restart and without gradients nothing moves, to the bit (but for the sign of a zero);
* allocates nothing when it is given `scratch`, and never waits for the device: scalars are Python numbers,
  and only the metadata of tensors is checked;
* gives the same bits on every run. The sum over learners has a fixed order for a given shape, chunk and
  number of threads; chunks of any multiple of 64 columns give the same one.

Letters at the end of names: k learners, n parameters. Inside: the paper's symbols, as in `reference`.
"""

import torch
from torch import Tensor

from crossbow_lab.averaging import _checks as checks
from crossbow_lab.averaging._chunks import Scratch as Scratch
from crossbow_lab.averaging._chunks import default_columns, scratch_for, split, split_or_none
from crossbow_lab.averaging._chunks import make_scratch as make_scratch
from crossbow_lab.averaging._parts import descend, descend_ahead
from crossbow_lab.errors import ConfigurationError


@torch.no_grad()
def sma_step(
    weights_kn: Tensor,
    gradients_kn: Tensor,
    centre_n: Tensor,
    centre_velocity_n: Tensor,
    *,
    learning_rate: float,
    alpha: float,
    momentum: float,
    local_velocity_kn: Tensor | None = None,
    local_momentum: float = 0.0,
    weight_decay: float = 0.0,
    scratch: Scratch | None = None,
) -> None:
    """Take one synchronising iteration of SMA (Algorithm 1), in place.

    With w_j before its gradient step, z before this iteration's update and e = z − z_prev held in
    centre_velocity_n::

        c_j = α (w_j − z)
        w_j = w_j − γ (g_j + λ w_j) − c_j
        e   = μ e + Σ_j c_j
        z   = z + e

    With a local velocity, v_j = μ_l v_j − γ (g_j + λ w_j) and w_j = w_j + v_j − c_j. Between synchronisations
    (τ > 1) call `local_step` instead.

    Parameters
    ----------
    weights_kn : floating-point Tensor, shape (k, n), any device, parameters contiguous
        Weights w_j in rows; updated in place.
    gradients_kn : Tensor like weights_kn
        Gradients g_j at w_j; left as they are.
    centre_n : Tensor, shape (n,)
        Central average model z; updated in place.
    centre_velocity_n : Tensor, shape (n,)
        Last increment of z, z − z_prev; zero at the start. Updated in place.
    learning_rate : float
        γ ≥ 0.
    alpha : float
        α ≥ 0; 0 decouples the learners. `resolve_alpha` gives the default and refuses what diverges.
    momentum : float
        Central momentum μ, in [0, 1).
    local_velocity_kn : Tensor like weights_kn, optional
        Velocities v_j of the learners' own momentum; updated in place. Needed if local_momentum > 0.
    local_momentum : float
        μ_l, in [0, 1).
    weight_decay : float
        λ ≥ 0; part of the learner's gradient.
    scratch : Scratch, optional
        From ``make_scratch(weights_kn)``; without it the step allocates one.

    Raises
    ------
    ConfigurationError
        If shapes, dtypes or devices don't fit, a scalar is a tensor or outside its range, or scratch was made
        for another bank.

    Notes
    -----
    Reads w and g and writes w once each from memory, everything else from the cache: 12 k n bytes in float32.

    Examples
    --------
    >>> w = torch.tensor([[1.0], [3.0]])
    >>> z, e = torch.tensor([0.0]), torch.tensor([0.0])
    >>> sma_step(w, torch.zeros(2, 1), z, e, learning_rate=0.1, alpha=0.5, momentum=0.9)
    >>> w.tolist(), z.tolist(), e.tolist()
    ([[0.5], [1.5]], [2.0], [2.0])
    """
    checks.bank(weights_kn)
    checks.centre(weights_kn, centre_velocity_n=centre_velocity_n)
    _synchronise(
        weights_kn,
        gradients_kn,
        centre_n,
        centre_velocity_n,
        alpha=alpha,
        momentum=checks.fraction("momentum (central)", momentum),
        local=checks.local_sgd(learning_rate, local_momentum, weight_decay),
        local_velocity_kn=local_velocity_kn,
        scratch=scratch,
    )


@torch.no_grad()
def easgd_step(
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
    """Take one synchronising iteration of EA-SGD, in place: `sma_step` without central momentum.

    With w_j before its gradient step and z before this iteration's update (Zhang et al., NIPS 2015)::

        c_j = α (w_j − z)
        w_j = w_j − γ (g_j + λ w_j) − c_j
        z   = z + Σ_j c_j

    Parameters
    ----------
    weights_kn, gradients_kn, centre_n, local_velocity_kn, scratch
        As in `sma_step`.
    learning_rate, alpha, local_momentum, weight_decay : float
        As in `sma_step`.

    Raises
    ------
    ConfigurationError
        As in `sma_step`.

    Examples
    --------
    >>> w, z = torch.tensor([[1.0], [3.0]]), torch.tensor([0.0])
    >>> easgd_step(w, torch.zeros(2, 1), z, learning_rate=0.1, alpha=0.25)
    >>> w.tolist(), z.tolist()
    ([[0.75], [2.25]], [1.0])
    """
    checks.bank(weights_kn)
    _synchronise(
        weights_kn,
        gradients_kn,
        centre_n,
        None,
        alpha=alpha,
        momentum=0.0,
        local=checks.local_sgd(learning_rate, local_momentum, weight_decay),
        local_velocity_kn=local_velocity_kn,
        scratch=scratch,
    )


@torch.no_grad()
def local_step(
    weights_kn: Tensor,
    gradients_kn: Tensor,
    *,
    learning_rate: float,
    local_velocity_kn: Tensor | None = None,
    local_momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    scratch: Scratch | None = None,
) -> None:
    """Take one iteration between synchronisations (τ > 1), in place: every learner's own SGD step.

    w_j = w_j − γ (g_j + λ w_j), or with a local velocity v_j = μ_l v_j − γ (g_j + λ w_j) and w_j = w_j + v_j.
    With Nesterov's momentum w_j = w_j + μ_l v_j − γ (g_j + λ w_j) after that v_j. The central average model and
    its momentum rest.

    Parameters
    ----------
    weights_kn, gradients_kn, learning_rate, local_velocity_kn, local_momentum, weight_decay
        As in `sma_step`.
    nesterov : bool
        Whether local momentum is Nesterov's; w_j is then where the next gradient is taken, ahead of the learner.
    scratch : Scratch, optional
        Only its chunk size is used; nothing is allocated without it either.

    Raises
    ------
    ConfigurationError
        As in `sma_step`.

    Examples
    --------
    >>> w = torch.tensor([[1.0], [3.0]])
    >>> local_step(w, torch.ones(2, 1), learning_rate=0.5)
    >>> w.tolist()
    [[0.5], [2.5]]
    """
    checks.bank(weights_kn)
    local = checks.local_sgd(learning_rate, local_momentum, weight_decay)
    checks.learners(weights_kn, gradients_kn, local_velocity_kn, local.momentum)
    columns = default_columns(weights_kn) if scratch is None else scratch_for(weights_kn, scratch).chunk_columns
    weights, gradients = split(weights_kn, columns), split(gradients_kn, columns)
    velocities = split_or_none(local_velocity_kn, columns, len(weights))
    take_step = descend_ahead if nesterov else descend
    for w, g, v in zip(weights, gradients, velocities, strict=True):
        take_step(w, g, v, local)


@torch.no_grad()
def ssgd_step(
    weights_1n: Tensor,
    gradients_1n: Tensor,
    centre_n: Tensor,
    centre_velocity_n: Tensor,
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float = 0.0,
) -> None:
    """Take one iteration of S-SGD, in place, as one replica whose batch is the whole aggregate batch.

    With v held in centre_velocity_n: v = μ v − γ (g + λ w); w = w + v; z = w.

    Parameters
    ----------
    weights_1n : floating-point Tensor, shape (1, n), parameters contiguous
        The one replica; updated in place.
    gradients_1n : Tensor like weights_1n
        Gradient of the mean loss over the aggregate batch; left as it is.
    centre_n : Tensor, shape (n,)
        Central average model; afterwards a copy of the replica.
    centre_velocity_n : Tensor, shape (n,)
        Velocity v, zero at the start; updated in place.
    learning_rate, momentum, weight_decay : float
        γ ≥ 0, μ in [0, 1), λ ≥ 0.

    Raises
    ------
    ConfigurationError
        If there is more than one row; else as in `sma_step`.

    Examples
    --------
    >>> w, z, v = torch.tensor([[1.0]]), torch.tensor([1.0]), torch.tensor([0.0])
    >>> ssgd_step(w, torch.tensor([[2.0]]), z, v, learning_rate=0.25, momentum=0.5)
    >>> w.tolist(), z.tolist(), v.tolist()
    ([[0.5]], [0.5], [-0.5])
    """
    checks.bank(weights_1n)
    if len(weights_1n) != 1:
        raise ConfigurationError(
            f"S-SGD trains one replica on the aggregate batch, but the bank has {len(weights_1n)} rows; pass "
            "one row, weights[:1], and the gradient of the mean loss"
        )
    checks.centre(weights_1n, centre_n=centre_n, centre_velocity_n=centre_velocity_n)
    local = checks.local_sgd(learning_rate, checks.fraction("momentum", momentum), weight_decay)
    velocity_1n = centre_velocity_n.unsqueeze(0)
    checks.learners(weights_1n, gradients_1n, velocity_1n, local.momentum)
    descend(weights_1n, gradients_1n, velocity_1n, local)
    centre_n.copy_(weights_1n[0])


@torch.no_grad()
def restart(
    weights_kn: Tensor, centre_n: Tensor, centre_velocity_n: Tensor, local_velocity_kn: Tensor | None = None
) -> None:
    """Set all learners to the central average model and clear central and local momentum, in place.

    This is Algorithm 1 begun again with z as the initial model: w_j = z, z_prev = z. It follows the normal
    synchronisation of the iteration in which the learning rate steps.

    Parameters
    ----------
    weights_kn, centre_n, centre_velocity_n, local_velocity_kn
        As in `sma_step`; centre_n is left as it is.

    Raises
    ------
    ConfigurationError
        If shapes, dtypes or devices don't fit.

    Examples
    --------
    >>> w, z, e = torch.tensor([[1.0], [3.0]]), torch.tensor([2.5]), torch.tensor([0.5])
    >>> restart(w, z, e)
    >>> w.tolist(), z.tolist(), e.tolist()
    ([[2.5], [2.5]], [2.5], [0.0])
    """
    checks.bank(weights_kn)
    checks.centre(weights_kn, centre_n=centre_n, centre_velocity_n=centre_velocity_n)
    if local_velocity_kn is not None:
        checks.alike("local_velocity_kn", local_velocity_kn, weights_kn, weights_kn.shape)
        local_velocity_kn.zero_()
    weights_kn.copy_(centre_n.expand_as(weights_kn))
    centre_velocity_n.zero_()


@torch.no_grad()
def squared_distances(weights_kn: Tensor, centre_n: Tensor, *, scratch: Scratch | None = None) -> Tensor:
    """Return every learner's squared Euclidean distance to the central average model, ‖w_j − z‖².

    Parameters
    ----------
    weights_kn : floating-point Tensor, shape (k, n)
        Weights w_j in rows; left as they are.
    centre_n : Tensor, shape (n,)
        Central average model z; left as it is.
    scratch : Scratch, optional
        From ``make_scratch(weights_kn)``; without it one is allocated.

    Returns
    -------
    Tensor, shape (k,), dtype and device of weights_kn
        New; exactly zero for a learner that equals z.

    Raises
    ------
    ConfigurationError
        If shapes, dtypes or devices don't fit, or scratch was made for another bank.

    Examples
    --------
    >>> squared_distances(torch.tensor([[1.0, 1.0], [0.0, 3.0]]), torch.tensor([1.0, 1.0])).tolist()
    [0.0, 5.0]
    """
    checks.bank(weights_kn)
    checks.centre(weights_kn, centre_n=centre_n)
    scratch = scratch_for(weights_kn, scratch)
    weights, centres = split(weights_kn, scratch.chunk_columns), split(centre_n, scratch.chunk_columns)
    squared_k = torch.zeros(len(weights_kn), dtype=weights_kn.dtype, device=weights_kn.device)
    for w, z, (difference, _) in zip(weights, centres, scratch.chunks, strict=True):
        torch.sub(w, z, out=difference)
        squared_k += difference.square_().sum(1)
    return squared_k


def _synchronise(
    weights_kn: Tensor,
    gradients_kn: Tensor,
    centre_n: Tensor,
    centre_velocity_n: Tensor | None,
    *,
    alpha: float,
    momentum: float,
    local: checks.LocalSGD,
    local_velocity_kn: Tensor | None,
    scratch: Scratch | None,
) -> None:
    """Take one synchronising iteration, chunk by chunk; without a centre velocity z has no momentum."""
    checks.learners(weights_kn, gradients_kn, local_velocity_kn, local.momentum)
    checks.centre(weights_kn, centre_n=centre_n)
    alpha = checks.rate("alpha", alpha)
    scratch = scratch_for(weights_kn, scratch)
    columns, n_chunks = scratch.chunk_columns, len(scratch.chunks)
    banks = zip(
        split(weights_kn, columns),
        split(gradients_kn, columns),
        split_or_none(local_velocity_kn, columns, n_chunks),
        split(centre_n, columns),
        split_or_none(centre_velocity_n, columns, n_chunks),
        scratch.chunks,
        strict=True,
    )
    for w, g, v, z, e, (difference, total) in banks:
        torch.sub(w, z, out=difference)  # c_j / α: w_j before its gradient step, z before this iteration
        torch.sum(difference, 0, out=total)
        descend(w, g, v, local)
        w.sub_(difference, alpha=alpha)
        if e is None:
            z.add_(total, alpha=alpha)
        else:
            e.mul_(momentum).add_(total, alpha=alpha)
            z.add_(e)
