"""SMA and EA-SGD over several devices: each device's sum of differences, and the update given the sum over all.

Corrections are linear in w_j − z and every device holds the same z, so a device need only send Σ_j (w_j − z) of its own
learners: one model-sized vector however many they are. Given the sum over all devices each of them makes the same step
of its own copy of z: no copy is sent, and all stay equal to the bit where the sum is.
"""

import torch
from torch import Tensor

from crossbow_lab.averaging import _checks as checks
from crossbow_lab.averaging._chunks import Scratch, scratch_for, split, split_or_none
from crossbow_lab.averaging._parts import descend


@torch.no_grad()
def sum_differences(weights_kn: Tensor, centre_n: Tensor, *, out: Tensor, scratch: Scratch | None = None) -> None:
    """Put Σ_j (w_j − z) of one device's learners into ``out``.

    Parameters
    ----------
    weights_kn : floating-point Tensor, shape (m, n), any device, parameters contiguous
        The device's own learners w_j, before their gradient step; left as they are.
    centre_n : Tensor, shape (n,)
        z before this iteration's update; left as it is.
    out : Tensor, shape (n,)
        Overwritten.
    scratch : Scratch, optional
        From ``make_scratch(weights_kn)``; without it one is allocated.

    Raises
    ------
    ConfigurationError
        If shapes, dtypes or devices don't fit.

    Examples
    --------
    >>> total = torch.zeros(1)
    >>> sum_differences(torch.tensor([[1.0], [3.0]]), torch.tensor([0.5]), out=total)
    >>> total.tolist()
    [3.0]
    """
    checks.bank(weights_kn)
    checks.centre(weights_kn, centre_n=centre_n, out=out)
    scratch = scratch_for(weights_kn, scratch)
    columns = scratch.chunk_columns
    chunks = zip(split(weights_kn, columns), split(centre_n, columns), split(out, columns), scratch.chunks, strict=True)
    for w, z, total, (difference, _) in chunks:
        torch.sub(w, z, out=difference)
        torch.sum(difference, 0, out=total)


@torch.no_grad()
def sma_step_with_sum(
    weights_kn: Tensor,
    gradients_kn: Tensor,
    centre_n: Tensor,
    centre_velocity_n: Tensor | None,
    total_n: Tensor,
    *,
    learning_rate: float,
    alpha: float,
    momentum: float,
    local_velocity_kn: Tensor | None = None,
    local_momentum: float = 0.0,
    weight_decay: float = 0.0,
    scratch: Scratch | None = None,
) -> None:
    """Take one device's part of a synchronising iteration of SMA or EA-SGD, in place.

    With s = Σ_j (w_j − z) over the learners of all devices, w_j before its gradient step::

        c_j = α (w_j − z)
        w_j = w_j − γ (g_j + λ w_j) − c_j
        e   = μ e + α s
        z   = z + e

    which is `sma_step` over all learners, to rounding.

    Parameters
    ----------
    weights_kn, gradients_kn, centre_n, local_velocity_kn, scratch
        As in `sma_step`; the learners are the device's own.
    centre_velocity_n : Tensor, shape (n,), or None
        As in `sma_step`; None for EA-SGD, whose z has no momentum.
    total_n : Tensor, shape (n,)
        s; left as it is.
    learning_rate, alpha, momentum, local_momentum, weight_decay : float
        As in `sma_step`; α is for the learners of all devices.

    Raises
    ------
    ConfigurationError
        As in `sma_step`.

    Examples
    --------
    >>> w, z, e = torch.tensor([[1.0], [3.0]]), torch.tensor([0.0]), torch.tensor([0.0])
    >>> elsewhere = torch.tensor([8.0])  # of two learners of another device
    >>> sum_here = torch.zeros(1)
    >>> sum_differences(w, z, out=sum_here)
    >>> s = sum_here + elsewhere
    >>> sma_step_with_sum(w, torch.zeros(2, 1), z, e, s, learning_rate=0.1, alpha=0.25, momentum=0.9)
    >>> w.tolist(), z.tolist()
    ([[0.75], [2.25]], [3.0])
    """
    checks.bank(weights_kn)
    local = checks.local_sgd(learning_rate, local_momentum, weight_decay)
    checks.learners(weights_kn, gradients_kn, local_velocity_kn, local.momentum)
    checks.centre(weights_kn, centre_n=centre_n, total_n=total_n)
    if centre_velocity_n is not None:
        checks.centre(weights_kn, centre_velocity_n=centre_velocity_n)
    alpha, momentum = checks.rate("alpha", alpha), checks.fraction("momentum (central)", momentum)
    scratch = scratch_for(weights_kn, scratch)
    columns, n_chunks = scratch.chunk_columns, len(scratch.chunks)
    banks = zip(
        split(weights_kn, columns),
        split(gradients_kn, columns),
        split_or_none(local_velocity_kn, columns, n_chunks),
        split(centre_n, columns),
        split_or_none(centre_velocity_n, columns, n_chunks),
        split(total_n, columns),
        scratch.chunks,
        strict=True,
    )
    for w, g, v, z, e, total, (difference, _) in banks:
        torch.sub(w, z, out=difference)
        descend(w, g, v, local)
        w.sub_(difference, alpha=alpha)
        if e is None:
            z.add_(total, alpha=alpha)
        else:
            e.mul_(momentum).add_(total, alpha=alpha)
            z.add_(e)
