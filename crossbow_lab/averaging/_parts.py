"""What rules share, on one chunk of columns: the learners' own gradient step, and their mean."""

import torch
from torch import Tensor

from crossbow_lab.averaging import _checks as checks


def descend(w: Tensor, g: Tensor, v: Tensor | None, local: checks.LocalSGD) -> None:
    """Take the step: v = μ_l v − γ (g + λ w); w = w + v."""
    # λ enters as w + (−γλ) w, never as w (1 − γλ): float32 would round that factor, which changes the decay
    # itself by up to 3 % where γλ = 1e-6.
    if v is None:
        if local.decay:
            w.add_(w, alpha=-local.decay)
        w.add_(g, alpha=-local.learning_rate)
        return
    _accelerate(w, g, v, local)
    w.add_(v)


def descend_ahead(w: Tensor, g: Tensor, v: Tensor | None, local: checks.LocalSGD) -> None:
    """Take the step with Nesterov's momentum: v = μ_l v − γ (g + λ w); w = w + μ_l v − γ (g + λ w)."""
    if v is not None:
        _accelerate(w, g, v, local)
    descend(w, g, None, local)
    if v is not None:
        w.add_(v, alpha=local.momentum)


def _accelerate(w: Tensor, g: Tensor, v: Tensor, local: checks.LocalSGD) -> None:
    """Bring the velocities up to date."""
    v.mul_(local.momentum).add_(g, alpha=-local.learning_rate)
    if local.decay:
        v.add_(w, alpha=-local.decay)


def mean_difference(w: Tensor, origin: Tensor, difference: Tensor, total: Tensor) -> None:
    """Put w_j − origin into ``difference``, and its mean over learners into ``total``; zero where all are equal."""
    torch.sub(w, origin, out=difference)
    torch.sum(difference, 0, out=total)
    total.div_(len(w))


def look(w: Tensor, z: Tensor, difference: Tensor, total: Tensor) -> None:
    """Set z to the learners' mean, exactly theirs where all are equal."""
    mean_difference(w, w[0], difference, total)
    torch.add(w[0], total, out=z)
