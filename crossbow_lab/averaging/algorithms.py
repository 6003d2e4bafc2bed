"""The averaging algorithms of the paper's comparison as settings: validated, and what each means in equations.

Symbols: learner j of k has replica w_j and gradient g_j; z is the central average model; γ the learning rate,
α the correction's strength, μ the central momentum, τ the synchronisation period, λ the weight decay.
Algorithm 1 is given after the paper (Koliousis et al., CROSSBOW, PVLDB 12(11), 2019), from secondary sources.
"""

from dataclasses import InitVar, dataclass

from crossbow_lab.averaging._fields import Restart, check_fields, momentum
from crossbow_lab.errors import ConfigurationError


@dataclass(frozen=True)
class SMA:
    """Synchronous model averaging (Algorithm 1 after the paper, from secondary sources).

    Every sync_period-th iteration, with w_j before its gradient step and z before this iteration's update::

        c_j = α (w_j − z)
        w_j = w_j − γ (g_j + λ w_j) − c_j
        z', z, z_prev = z, z + Σ_j c_j + μ (z − z_prev), z'

    In between, learners take the gradient step alone, and z rests. With ``local_momentum`` > 0 the gradient
    step is v_j = μ_l v_j − γ (g_j + λ w_j); w_j = w_j + v_j: this is what the original's code does, 0 is the
    paper's algorithm. With one learner this is plain SGD with a running average of its weights as z.

    Parameters
    ----------
    alpha : float or None
        Strength of the correction, α > 0. None means 1/k, recomputed when k changes (1/2 for k = 1). It must
        stay below 2(1+μ)/(1+k+μ), which `resolve_alpha` checks.
    momentum : float
        Central momentum μ, in [0, 1). It acts once per synchronisation.
    local_momentum : float
        Momentum μ_l of each learner's own SGD, in [0, 1).
    sync_period : int
        Synchronisation period τ in iterations, at least 1.
    restart : {"on_lr_change", "copy_on_lr_change", "never"}
        Whether a step of the learning rate is followed by a restart: after that iteration's synchronisation
        all learners are set to z. "on_lr_change" then clears central and local momentum, for a literal restart
        has z_prev = z; "copy_on_lr_change" keeps both, as the original's code does (see `sma_as_coded`).

    Raises
    ------
    ConfigurationError
        If a value is outside its legal range.

    Examples
    --------
    >>> SMA()
    SMA(alpha=None, momentum=0.9, local_momentum=0.0, sync_period=1, restart='on_lr_change')
    """

    alpha: float | None = None
    momentum: float = 0.9
    local_momentum: float = 0.0
    sync_period: int = 1
    restart: Restart = "on_lr_change"

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class EASGD:
    """Elastic averaging SGD in its synchronous form (Zhang, Choromanska and LeCun, NIPS 2015).

    SMA without central momentum and without restart: every sync_period-th iteration ::

        c_j = α (w_j − z)
        w_j = w_j − γ (g_j + λ w_j) − c_j
        z   = z + Σ_j c_j

    In that paper's letters α = ηρ and β = kα. In between, learners take the gradient step alone.

    Parameters
    ----------
    alpha : float or None
        Strength of the correction, α > 0. None means 1/k, recomputed when k changes (1/2 for k = 1). It must
        stay below 2/(1+k), which `resolve_alpha` checks.
    local_momentum : float
        Momentum of each learner's own SGD, in [0, 1).
    sync_period : int
        Synchronisation period τ in iterations, at least 1.

    Raises
    ------
    ConfigurationError
        If a value is outside its legal range.

    Examples
    --------
    >>> EASGD(sync_period=4)
    EASGD(alpha=None, local_momentum=0.0, sync_period=4)
    """

    alpha: float | None = None
    local_momentum: float = 0.0
    sync_period: int = 1

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class SSGD:
    """Synchronous SGD, the baseline: one model and the mean gradient over the aggregate batch of k·b samples.

    With g the mean of the k gradients, which is the gradient of the mean loss over the aggregate batch::

        v = μ v − γ (g + λ z)
        z = z + v

    The learning rate enters before the momentum, as in the original's code. All learners equal z, so one
    replica on the whole aggregate batch computes the same.

    Parameters
    ----------
    momentum : float
        Momentum μ of the one model, in [0, 1).

    Raises
    ------
    ConfigurationError
        If momentum is outside [0, 1), or an alpha or a sync_period is given: S-SGD has neither.

    Examples
    --------
    >>> SSGD()
    SSGD(momentum=0.9)
    >>> SSGD(sync_period=4)
    Traceback (most recent call last):
    crossbow_lab.errors.ConfigurationError: sync_period = 4 contradicts S-SGD, whose learners share every gradient; \
leave it out, or use LocalSGD(sync_period=...), which averages models instead
    """

    momentum: float = 0.9
    alpha: InitVar[float | None] = None
    sync_period: InitVar[int] = 1

    def __post_init__(self, alpha: float | None, sync_period: int) -> None:
        check_fields(self, momentum=lambda value: momentum("momentum", value))
        if alpha is not None:
            raise ConfigurationError(
                f"alpha = {alpha!r} contradicts S-SGD, which has one model and corrects nothing; leave it out, or use "
                "SMA(alpha=...) or EASGD(alpha=...)"
            )
        if sync_period != 1:
            raise ConfigurationError(
                f"sync_period = {sync_period!r} contradicts S-SGD, whose learners share every gradient; leave it out, "
                "or use LocalSGD(sync_period=...), which averages models instead"
            )


def sma_as_coded(alpha: float | None = 0.5, momentum: float = 0.0, sync_period: int = 1) -> SMA:
    """Return SMA in "code mode": as the original's code has it, where that differs from the paper.

    `SMA` itself is the paper's: no momentum of the learners' own, and a restart that begins Algorithm 1 anew. In
    the code (lsds/Crossbow, d4441b3) each learner has the momentum that is asked for; z has one of 0.9, but only if
    learners have some; and the learners that are overwritten with z after a step of the rate keep all momentum.

    Parameters
    ----------
    alpha : float or None
        α; the code's default is 0.5, its scripts' 0.1. It must be below 2(1+μ)/(1+k+μ) here, too.
    momentum : float
        The code's ``--momentum``, in [0, 1); its default is 0, its scripts' 0.9.
    sync_period : int
        τ, the code's work per clock as a multiple of its learners (``wpcscale`` in its scripts).

    Raises
    ------
    ConfigurationError
        If a value is outside its legal range.

    Examples
    --------
    >>> sma_as_coded(alpha=0.1, momentum=0.9)
    SMA(alpha=0.1, momentum=0.9, local_momentum=0.9, sync_period=1, restart='copy_on_lr_change')
    >>> sma_as_coded().momentum
    0.0
    """
    central = 0.9 if momentum > 0 else 0.0
    return SMA(alpha, central, momentum, sync_period, restart="copy_on_lr_change")
