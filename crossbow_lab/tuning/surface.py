"""Throughput as a surface over learners k and batch size b, and what it and the noise scale predict.

The time of an iteration is taken as t(k, b) = t_0 + t_k k + t_kb k b: launches and dispatch, averaging and everything
else that each learner costs, and arithmetic by the sample; none of them negative.
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.tuning.efficiency import statistical_efficiency
from crossbow_lab.tuning.measurements import Measurement

_TERMS = 3


@dataclass(frozen=True)
class IterationTime:
    """The model t(k, b) = t_0 + t_k k + t_kb k b of an iteration's seconds.

    Attributes
    ----------
    fixed_s, per_learner_s, per_sample_s : its terms.
    """

    fixed_s: float
    per_learner_s: float
    per_sample_s: float

    def samples_per_s(self, learners: int, batch_size: int) -> float:
        """Return the throughput k b / t(k, b).

        Examples
        --------
        >>> IterationTime(0.5, 0.1, 0.01).samples_per_s(learners=2, batch_size=15)
        30.0
        """
        samples = learners * batch_size
        return samples / (self.fixed_s + self.per_learner_s * learners + self.per_sample_s * samples)


def fit_iteration_time(measured: Sequence[Measurement]) -> IterationTime:
    """Return the model with the least squared relative errors in the measured iterations' times.

    Every set of terms is fitted, and of those without a negative one the best is taken: there are seven.

    Raises
    ------
    ConfigurationError
        If there are fewer than three measurements, or all have the same number of learners or the same batch size.
    """
    settings = {(one.learners, one.batch_size) for one in measured}
    ks, bs = {k for k, _ in settings}, {b for _, b in settings}
    if len(settings) < _TERMS or len(ks) < 2 or len(bs) < 2:
        raise ConfigurationError(
            f"{len(settings)} settings with {len(ks)} numbers of learners and {len(bs)} batch sizes were measured; to "
            "tell what lies between takes three settings or more, with two numbers of learners and two batch sizes"
        )
    k, b, rate = np.array([(one.learners, one.batch_size, one.samples_per_s) for one in measured], np.float64).T
    # Each row divided by the measured time k b / rate: so the target is 1, and errors are relative.
    columns = np.stack([np.ones_like(k), k, k * b], axis=1) * (rate / (k * b))[:, None]
    best, best_error = np.zeros(_TERMS), math.inf
    for count in range(1, _TERMS + 1):
        for chosen in itertools.combinations(range(_TERMS), count):
            terms = np.zeros(_TERMS)
            terms[list(chosen)] = np.linalg.lstsq(columns[:, chosen], np.ones(len(k)), rcond=None)[0]
            error = float(((columns @ terms - 1.0) ** 2).sum())
            if (terms >= 0).all() and error < best_error:
                best, best_error = terms, error
    return IterationTime(*map(float, best))


def fit_error(measured: Sequence[Measurement]) -> float:
    """Return how far the model is off where it wasn't fitted: the median over settings, each left out in turn.

    As a share of what was measured; NaN where too few are left to fit.
    """
    errors = []
    for i, one in enumerate(measured):
        try:
            model = fit_iteration_time([*measured[:i], *measured[i + 1 :]])
        except ConfigurationError:
            return math.nan
        errors.append(abs(model.samples_per_s(one.learners, one.batch_size) / one.samples_per_s - 1.0))
    return statistics.median(errors)


def samples_to_accuracy(reference_samples: float, reference_batch: float, batch: float, noise_scale: float) -> float:
    """Return the samples that another aggregate batch takes to the same accuracy, from those that one batch took.

    E(B) / E(B_0) = (1 + B / B_noise) / (1 + B_0 / B_noise): McCandlish et al. (2018), section 2.3, with B_noise for the
    critical batch, and so with the learning rate suited to each batch.

    Raises
    ------
    ConfigurationError
        As `crossbow_lab.tuning.statistical_efficiency`.

    Examples
    --------
    >>> samples_to_accuracy(10_000, reference_batch=32, batch=96, noise_scale=32)
    20000.0
    """
    before, after = (statistical_efficiency(size, noise_scale) for size in (reference_batch, batch))
    return reference_samples * before / after
