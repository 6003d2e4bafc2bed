"""Scaling on paper: how long an iteration takes on many devices, from what it takes on one. Simulated, not measured.

An all-reduce of n bytes over g devices is modelled with the latency of a message l and the bandwidth of a link B
(Thakur, Rabenseifner and Gropp, IJHPCA 19(1), 2005)::

    ring   2 (g − 1) l + 2 (g − 1) / g · n / B        every byte passes each link twice, in g parts
    tree   2 ⌈log₂ g⌉ (l + n / B)                     up to one device and down again

An iteration is what one device computes, its learners' passes and the sum of their corrections included, and the
all-reduce; beside the passes of the same iteration only what is longer counts. No two messages compete for a link, and
no device is slower than another: real machines scale worse.
"""

import math
import numbers
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from crossbow_lab.errors import ConfigurationError, nearest

Reduction: TypeAlias = Literal["ring", "tree"]


@dataclass(frozen=True)
class Link:
    """What joins two devices.

    Parameters
    ----------
    latency_s : float
        l, seconds that a message of nothing takes, and what is ordered and waited for beside it; at least 0.
    bytes_per_s : float
        B, greater than 0; infinity where bytes cost nothing that can be measured.

    Raises
    ------
    ConfigurationError
        If a number is outside its range.
    """

    latency_s: float
    bytes_per_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.latency_s < math.inf:
            raise ConfigurationError(f"latency_s is {self.latency_s!r}; it must be a finite number of seconds >= 0")
        if not self.bytes_per_s > 0:
            raise ConfigurationError(f"bytes_per_s is {self.bytes_per_s!r}; it must be greater than 0")

    def all_reduce_s(self, n_bytes: float, devices: int, reduction: Reduction = "ring") -> float:
        """Return the seconds that a sum of a vector of so many bytes takes over all devices.

        Examples
        --------
        >>> link = Link(latency_s=0.001, bytes_per_s=1e9)
        >>> [round(link.all_reduce_s(4e6, devices), 6) for devices in (1, 2, 8)]
        [0.0, 0.006, 0.021]
        >>> round(link.all_reduce_s(4e6, 8, "tree"), 6)
        0.03
        """
        if reduction not in get_args(Reduction):
            raise ConfigurationError(f"reduction is {reduction!r}; {nearest(str(reduction), get_args(Reduction))}")
        _check_devices(devices)
        if reduction == "tree":
            return 2 * math.ceil(math.log2(devices)) * (self.latency_s + n_bytes / self.bytes_per_s)
        return 2 * (devices - 1) * (self.latency_s + n_bytes / devices / self.bytes_per_s)


@dataclass(frozen=True)
class DeviceWork:
    """What one device does in an iteration.

    Parameters
    ----------
    compute_s : float
        Seconds that its own learners take, corrections and update included; greater than 0.
    samples : int
        m·b, at least 1.
    n_bytes : float
        Of the vector that is summed: the model's, however many learners there are; greater than 0.
    """

    compute_s: float
    samples: int
    n_bytes: float

    def __post_init__(self) -> None:
        for name in ("compute_s", "samples", "n_bytes"):
            value = getattr(self, name)
            if not (isinstance(value, numbers.Real) and 0 < float(value) < math.inf):
                raise ConfigurationError(f"{name} is {value!r}; it must be a finite number greater than 0")

    def iteration_s(
        self,
        link: Link,
        devices: int,
        *,
        reduction: Reduction = "ring",
        sync_period: int = 1,
        overlaps: bool = False,
    ) -> float:
        """Return the seconds of an iteration on so many devices, the mean over a synchronisation period.

        Parameters
        ----------
        sync_period : τ; only every τ-th iteration has a sum.
        overlaps : whether the sum runs beside the passes; then only what is longer counts.

        Examples
        --------
        >>> work = DeviceWork(compute_s=0.010, samples=64, n_bytes=4e6)
        >>> link = Link(latency_s=0.001, bytes_per_s=1e9)
        >>> work.iteration_s(link, 2), work.iteration_s(link, 2, overlaps=True)
        (0.016, 0.01)
        >>> work.iteration_s(link, 2, sync_period=3)
        0.012
        """
        if isinstance(sync_period, bool) or not isinstance(sync_period, int) or sync_period < 1:
            raise ConfigurationError(f"sync_period is {sync_period!r}; it must be a whole number of at least 1")
        sum_s = link.all_reduce_s(self.n_bytes, devices, reduction)
        extra_s = max(0.0, sum_s - self.compute_s) if overlaps else sum_s
        return self.compute_s + extra_s / sync_period

    def samples_per_s(self, link: Link, devices: int, **how: Any) -> float:
        """Return the throughput of all devices; ``how`` as in `iteration_s`."""
        return devices * self.samples / self.iteration_s(link, devices, **how)

    def speed_up(self, link: Link, devices: int, **how: Any) -> float:
        """Return throughput over that of one device; ``how`` as in `iteration_s`."""
        return devices * self.compute_s / self.iteration_s(link, devices, **how)


@dataclass(frozen=True)
class Observation:
    """An iteration that was measured on one device and on several, with as many learners on each.

    Parameters
    ----------
    name : str
        The model's.
    work : DeviceWork
        What one device does alone.
    devices : int
        How many the other measurement had, at least 2.
    several_s : float
        Seconds of an iteration on those, with the sum after the passes.
    """

    name: str
    work: DeviceWork
    devices: int
    several_s: float


def observations(measured: Mapping[str, Any], samples: int) -> list[Observation]:
    """Return what ``crossbow-lab bench devices`` has measured: the medians on one process and on two.

    Parameters
    ----------
    measured : the part ``results.devices`` of its JSON.
    samples : m·b of one process.
    """
    found = []
    for name, times in measured["iterations"].items():
        n_bytes = statistics.median(measured["bytes"][name]["payload"].values())
        work = DeviceWork(times["one_ms"]["median"] / 1e3, samples, n_bytes)
        found.append(Observation(name, work, 2, times["two_ms"]["median"] / 1e3))
    return found


def fit_link(observed: Sequence[Observation]) -> Link:
    """Return the link that explains what several devices took longer, by least squares; neither term is negative.

    Where devices are processes that share cores, what they take from each other is taken for latency.

    Raises
    ------
    ConfigurationError
        If models of one size only were measured: then latency and bandwidth can't be told apart.

    Examples
    --------
    >>> link = Link(latency_s=0.001, bytes_per_s=1e8)
    >>> made = [DeviceWork(0.01, 64, n_bytes) for n_bytes in (1e5, 1e6)]
    >>> seen = [Observation("", work, 2, work.iteration_s(link, 2)) for work in made]
    >>> found = fit_link(seen)
    >>> round(found.latency_s, 9), round(found.bytes_per_s)
    (0.001, 100000000)
    """
    if len({one.work.n_bytes for one in observed}) < 2:
        raise ConfigurationError(
            f"{len(observed)} observations of models of one size; measure models of two sizes at least, to tell "
            "latency from bandwidth"
        )
    terms = np.array([_terms(one) for one in observed])
    longer_s = np.array([one.several_s - one.work.compute_s for one in observed])
    best, best_error = np.zeros(2), math.inf
    for kept in ([0, 1], [0], [1]):
        values = np.zeros(2)
        values[kept] = np.linalg.lstsq(terms[:, kept], longer_s, rcond=None)[0]
        values = np.maximum(values, 0.0)
        error = float(((terms @ values - longer_s) ** 2).sum())
        if error < best_error:
            best, best_error = values, error
    return Link(float(best[0]), 1.0 / float(best[1]) if best[1] > 0 else math.inf)


def fit_errors(observed: Sequence[Observation]) -> dict[str, float]:
    """Return how far the model is off where it wasn't fitted, each observation left out in turn: 0.1 is 10 % too long.

    Raises
    ------
    ConfigurationError
        If fewer than three models were measured.
    """
    if len(observed) < 3:
        raise ConfigurationError(f"{len(observed)} observations; to leave each out in turn takes three at least")
    errors = {}
    for i, one in enumerate(observed):
        link = fit_link([*observed[:i], *observed[i + 1 :]])
        errors[one.name] = one.work.iteration_s(link, one.devices) / one.several_s - 1.0
    return errors


def _terms(one: Observation) -> tuple[float, float]:
    """Return what multiplies latency and seconds per byte in a ring."""
    steps = 2 * (one.devices - 1)
    return float(steps), steps * one.work.n_bytes / one.devices


def _check_devices(devices: object) -> None:
    """Refuse what is no number of devices."""
    if isinstance(devices, bool) or not isinstance(devices, int) or devices < 1:
        raise ConfigurationError(f"devices is {devices!r}; it must be a whole number of at least 1")
