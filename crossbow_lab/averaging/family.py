"""The rest of the family as settings: SMA's kin, its ancestors, and what it is compared with.

Symbols as in `algorithms`: learner j of k has replica w_j and gradient g_j; z is the central average model; γ the
learning rate, α the correction's strength, μ the central momentum, μ_l the local one, τ the synchronisation period,
λ the weight decay. "Local step" is each learner's own: w_j = w_j − γ (g_j + λ w_j), or with local momentum
v_j = μ_l v_j − γ (g_j + λ w_j); w_j = w_j + v_j.
"""

from dataclasses import dataclass

from crossbow_lab.averaging._fields import Restart, check_fields, share


@dataclass(frozen=True)
class HierarchicalSMA:
    """SMA in two levels, as on several devices: local sums, then one reduction over devices (after the paper).

    The k learners lie on g devices, as evenly as can be. Corrections as in `SMA`, but summed on each device first::

        s_d = Σ_j on d c_j
        z', z, z_prev = z, z + Σ_d s_d + μ (z − z_prev), z

    On g devices, that is one message of one model from each, however many learners it has. Corrections are linear,
    and every device's reference model equals z, so this equals `SMA` to rounding. The devices are *simulated*:
    groups of learners on one, and no message is sent, so throughput says nothing about a machine with g devices.

    Parameters
    ----------
    devices : int
        g, simulated, from 1 to k.
    alpha, momentum, local_momentum, sync_period, restart
        As in `SMA`.

    Raises
    ------
    ConfigurationError
        If a value is outside its legal range.

    Examples
    --------
    >>> HierarchicalSMA(devices=2, sync_period=4).devices
    2
    """

    devices: int = 2
    alpha: float | None = None
    momentum: float = 0.9
    local_momentum: float = 0.0
    sync_period: int = 1
    restart: Restart = "on_lr_change"

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class EAMSGD:
    """Elastic averaging SGD with Nesterov momentum of the learners (Zhang et al., NIPS 2015, Algorithm 2).

    With δ the local momentum and x_j = w_j − δ v_j, every sync_period-th iteration, synchronously ::

        c_j = α (x_j − z)
        v_j = δ v_j − γ (g_j + λ w_j)
        x_j = x_j + v_j − c_j
        z   = z + Σ_j c_j

    and w_j = x_j + δ v_j is where the next gradient is taken: the paper's look-ahead, which the bank holds in place
    of x_j. In between, the same without c_j. The paper's learners are asynchronous; these synchronise together.

    Parameters
    ----------
    alpha : float or None
        As in `EASGD`: below 2/(1+k), None means 1/k.
    local_momentum : float
        δ, in [0, 1); with 0 this is `EASGD`.
    sync_period : int
        τ in iterations, at least 1.

    Raises
    ------
    ConfigurationError
        If a value is outside its legal range.

    Examples
    --------
    >>> EAMSGD()
    EAMSGD(alpha=None, local_momentum=0.9, sync_period=1)
    """

    alpha: float | None = None
    local_momentum: float = 0.9
    sync_period: int = 1

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class AsyncEAMSGD:
    """EAMSGD with *simulated* asynchrony: learners exchange with z one after the other (Zhang et al., NIPS 2015).

    As in `EAMSGD`, but in every iteration, the t-th since the start or restart (t = 0, 1, ...), only those learners
    j = 0, 1, ... exchange for which exchange_period divides t + j, each with z as the one before left it::

        c_j = α (x_j − z);  z = z + c_j

    The paper's learners do so when they happen to be there; here the order is fixed, so runs repeat.

    Parameters
    ----------
    alpha : float or None
        α, from 0 to 1: each exchange is one learner's alone. None means 1/k, and 1/2 for k = 1. The paper's is 0.9/k.
    local_momentum : float
        δ, in [0, 1); with 0 this is asynchronous EA-SGD.
    exchange_period : int
        τ in iterations, at least 1.

    Raises
    ------
    ConfigurationError
        If a value is outside its legal range.

    Examples
    --------
    >>> AsyncEAMSGD()
    AsyncEAMSGD(alpha=None, local_momentum=0.9, exchange_period=4)
    """

    alpha: float | None = None
    local_momentum: float = 0.9
    exchange_period: int = 4

    def __post_init__(self) -> None:
        check_fields(self, alpha=share)


@dataclass(frozen=True)
class LocalSGD:
    """Local SGD (Stich, ICLR 2019), and post-local SGD (Lin et al., ICLR 2020).

    Every iteration a local step; after that of every sync_period-th iteration ::

        z   = 1/k Σ_j w_j
        w_j = z

    With a period of 1 and no momentum this is S-SGD on the aggregate batch. Post-local SGD is that until
    ``local_from_epoch``, and has the period from then on. Local momentum stays each learner's own.

    Parameters
    ----------
    local_momentum : float
        μ_l of each learner's own SGD, in [0, 1).
    sync_period : int
        τ (H in those papers) in iterations, at least 1.
    local_from_epoch : float
        Epoch from which on the period holds; before it, learners synchronise at every iteration.

    Raises
    ------
    ConfigurationError
        If a value is outside its legal range.

    Examples
    --------
    >>> LocalSGD()
    LocalSGD(local_momentum=0.0, sync_period=8, local_from_epoch=0.0)
    """

    local_momentum: float = 0.0
    sync_period: int = 8
    local_from_epoch: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class DiLoCo:
    """Local SGD whose mean progress is the gradient of an outer optimiser (Douillard et al., arXiv 2311.08105).

    Every iteration a local step; after that of every sync_period-th, with Nesterov momentum as torch's SGD has it ::

        d   = 1/k Σ_j w_j − z          the outer gradient, with the sign of progress
        e   = μ e + d
        z   = z + η (d + μ e)
        w_j = z

    With η = 1 and μ = 0 this is `LocalSGD`. The paper's inner optimiser is AdamW; here it is SGD.

    Parameters
    ----------
    outer_learning_rate : float
        η, greater than 0; the paper's is 0.7.
    momentum : float
        Momentum μ of z, in [0, 1).
    local_momentum : float
        μ_l of each learner's own SGD, in [0, 1).
    sync_period : int
        τ (H in the paper, 500 there) in iterations, at least 1.

    Raises
    ------
    ConfigurationError
        If a value is outside its legal range.

    Examples
    --------
    >>> DiLoCo()
    DiLoCo(outer_learning_rate=0.7, momentum=0.9, local_momentum=0.0, sync_period=32)
    """

    outer_learning_rate: float = 0.7
    momentum: float = 0.9
    local_momentum: float = 0.0
    sync_period: int = 32

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class PolyakRuppert:
    """z as the mean of all that learners have been (Polyak and Juditsky 1992), as the original's code has it.

    Every iteration a local step; after that of every sync_period-th, the t-th since the start or restart ::

        z   = z + (1/k Σ_j w_j − z) / (t + 1)
        w_j = w_j − α (w_j − z)

    So z is the mean over w_0 and the learners' means since then. With one learner and α = 0 this is SGD that z
    only watches: the classical averaging.

    Parameters
    ----------
    alpha : float or None
        Share of its difference from z that a learner gives up, from 0 to 1. None means 1/k, and 0 for k = 1.
    local_momentum : float
        μ_l of each learner's own SGD, in [0, 1).
    sync_period : int
        τ in iterations, at least 1.
    restart : {"on_lr_change", "copy_on_lr_change", "never"}
        As in `SMA`; the mean begins anew, too.

    Raises
    ------
    ConfigurationError
        If a value is outside its legal range.

    Examples
    --------
    >>> PolyakRuppert(alpha=0.1)
    PolyakRuppert(alpha=0.1, local_momentum=0.0, sync_period=1, restart='on_lr_change')
    """

    alpha: float | None = None
    local_momentum: float = 0.0
    sync_period: int = 1
    restart: Restart = "on_lr_change"

    def __post_init__(self) -> None:
        check_fields(self, alpha=share)


@dataclass(frozen=True)
class KungFuSMA:
    """What KungFu (Mai et al., OSDI 2020) calls SMA: learners drawn to their mean, without a central model.

    Every sync_period-th iteration, with w_j before its gradient step::

        w_j = w_j − α (w_j − 1/k Σ_i w_i) − γ (g_j + λ w_j)

    In between, local steps. There is no z to train: what is evaluated is the learners' mean, taken after each
    synchronisation. So this isn't SMA; KungFu's source notes momentum of the average as still to be done.

    Parameters
    ----------
    alpha : float or None
        α, from 0 to 1. None means 1/k, as in KungFu's first tuned version; now it has 0.1.
    local_momentum : float
        μ_l of each learner's own SGD, in [0, 1).
    sync_period : int
        τ in iterations, at least 1.

    Raises
    ------
    ConfigurationError
        If a value is outside its legal range.

    Examples
    --------
    >>> KungFuSMA(alpha=0.1)
    KungFuSMA(alpha=0.1, local_momentum=0.0, sync_period=1)
    """

    alpha: float | None = None
    local_momentum: float = 0.0
    sync_period: int = 1

    def __post_init__(self) -> None:
        check_fields(self, alpha=share)


@dataclass(frozen=True)
class PairAveraging:
    """Learners that average with one peer at a time (Lian et al., AD-PSGD, ICML 2018; KungFu's pair averaging).

    Every sync_period-th iteration, the t-th since the start or restart (t = 0, 1, ...), learner j meets learner
    p = (t − j) mod k, so that both directions agree and all have met after k rounds::

        w_j = (w_j + w_p) / 2 − γ (g_j + λ w_j)          weights on the right before the gradient step

    A learner that would meet itself takes its local step alone. The papers' learners choose peers at random and
    don't wait; here the order is fixed and everyone is ready, so that runs repeat. What is evaluated is the
    learners' mean, taken after each synchronisation.

    Parameters
    ----------
    local_momentum : float
        μ_l of each learner's own SGD, in [0, 1).
    sync_period : int
        τ in iterations, at least 1.

    Raises
    ------
    ConfigurationError
        If a value is outside its legal range.

    Examples
    --------
    >>> PairAveraging()
    PairAveraging(local_momentum=0.0, sync_period=1)
    """

    local_momentum: float = 0.0
    sync_period: int = 1

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Downpour:
    """Downpour SGD (Dean et al., NIPS 2012) with *simulated* staleness: z is the parameter server's model.

    In every iteration, the t-th since the start or restart (t = 0, 1, ...), learners j = 0, 1, ... take turns::

        z   = z − γ (g_j + λ w_j)                        push
        w_j = z                   if fetch_period divides t + j, else
        w_j = w_j − γ (g_j + λ w_j)

    So a gradient was taken where z was up to fetch_period iterations ago, plus the learner's own steps since, and
    each moves z by the whole of γ: k learners move it k times as far as S-SGD does. The order is fixed, so runs
    repeat; a real server's would not. Pushes are not collected (n_push = 1 in the paper), and the server's
    optimiser is SGD, not Adagrad.

    Parameters
    ----------
    fetch_period : int
        n_fetch in iterations, at least 1; with 1 this is `Hogwild`.

    Raises
    ------
    ConfigurationError
        If the value is outside its legal range.

    Examples
    --------
    >>> Downpour()
    Downpour(fetch_period=4)
    """

    fetch_period: int = 4

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Hogwild:
    """Hogwild-style asynchronous SGD on one model (Recht et al., NIPS 2011) with *simulated* staleness.

    k learners of equal speed take turns at z, in a fixed order; each reads it right after its own write::

        z   = z − γ (g_j + λ w_j)
        w_j = z

    So every gradient was taken at z as it was k − 1 writes ago, exactly. Real learners overwrite each other at
    times; these don't. As in `Downpour`, each of the k writes is a whole step.

    Examples
    --------
    >>> Hogwild()
    Hogwild()
    """
