"""The gradient noise scale from squared norms of gradients on a small and on a large batch.

McCandlish et al., "An Empirical Model of Large-Batch Training" (2018), arXiv 1812.06162, section 2.2 and appendix A.1.
The gradient of a batch of B samples is G + noise with covariance Σ / B, so

    E‖G_B‖² = ‖G‖² + tr(Σ) / B

and two batch sizes give both unknowns without bias. Their ratio B_noise = tr(Σ) / ‖G‖², the "simple" noise scale, is
the batch size at which a larger batch begins to save few steps. A ratio of unbiased estimates isn't unbiased: average
both first (`NoiseAverage`), as the paper does.

`crossbow_lab.tuning.reference` says the same in NumPy, from the gradients themselves.
"""

import math
from dataclasses import dataclass

from crossbow_lab.errors import ConfigurationError


@dataclass(frozen=True)
class NoiseEstimate:
    """What one measurement, or several averaged, say.

    Attributes
    ----------
    gradient_sq : estimate of ‖G‖², the squared norm of the gradient of the whole loss; chance can make it negative.
    variance : estimate of S = tr(Σ), the summed variance of the gradients of single samples.
    """

    gradient_sq: float
    variance: float

    @property
    def scale(self) -> float:
        """B_noise = S / ‖G‖², in samples: infinite where nothing but noise is seen, NaN where nothing is known.

        Examples
        --------
        >>> NoiseEstimate(gradient_sq=0.5, variance=8.0).scale
        16.0
        >>> NoiseEstimate(gradient_sq=-0.1, variance=8.0).scale
        inf
        """
        if math.isnan(self.gradient_sq) or not self.variance > 0:
            return math.nan
        return self.variance / self.gradient_sq if self.gradient_sq > 0 else math.inf


UNKNOWN = NoiseEstimate(math.nan, math.nan)


def estimate_noise(small_sq: float, large_sq: float, *, small: float, large: float) -> NoiseEstimate:
    """Return unbiased estimates of ‖G‖² and S from squared norms at two batch sizes.

    Appendix A.1::

        ‖G‖² ≈ (B_large ‖G_large‖² − B_small ‖G_small‖²) / (B_large − B_small)
        S    ≈ (‖G_small‖² − ‖G_large‖²) / (1 / B_small − 1 / B_large)

    With k learners at the same weights: small_sq the mean of ‖g_j‖² with B_small = b, large_sq = ‖(1/k) Σ_j g_j‖² with
    B_large = k b. Learners at different weights have different true gradients G_j, whose variance over the learners,
    V = Σ_j ‖G_j − mean G‖² / (k − 1), is taken for noise: S comes out b V too large, and ‖G‖² is that of the mean
    gradient less V / k. So the noise scale is too large.

    Parameters
    ----------
    small_sq, large_sq : squared norms of the mean gradient of a batch; the first may be a mean over several batches.
    small, large : how many samples these batches have; 0 < small < large.

    Raises
    ------
    ConfigurationError
        If the batches aren't of two sizes.

    Examples
    --------
    >>> estimate_noise(small_sq=5.0, large_sq=2.0, small=8, large=32)
    NoiseEstimate(gradient_sq=1.0, variance=32.0)
    """
    if not 0 < small < large < math.inf:
        raise ConfigurationError(
            f"gradient norms at batch sizes {small} and {large}; the first must be > 0 and the second larger: take the "
            "gradients of two learners or more, or of a probe"
        )
    return NoiseEstimate(
        gradient_sq=(large * large_sq - small * small_sq) / (large - small),
        variance=(small_sq - large_sq) / (1 / small - 1 / large),
    )


@dataclass(frozen=True)
class NoiseAverage:
    """An average that forgets: of ‖G‖² and of S, each by itself; the ratio is formed last.

    Attributes
    ----------
    decay : what a new measurement leaves of the weight of the older ones; 0 <= decay < 1.
    weight : of all measurements so far.
    gradient_sq, variance : weighted sums.

    Examples
    --------
    >>> average = NoiseAverage(decay=0.5).after(NoiseEstimate(1.0, 4.0)).after(NoiseEstimate(4.0, 10.0))
    >>> average.estimate
    NoiseEstimate(gradient_sq=3.0, variance=8.0)
    """

    decay: float = 0.95
    weight: float = 0.0
    gradient_sq: float = 0.0
    variance: float = 0.0

    def after(self, new: NoiseEstimate) -> "NoiseAverage":
        """Return the average with one more measurement in it."""
        return NoiseAverage(
            self.decay,
            self.decay * self.weight + 1.0,
            self.decay * self.gradient_sq + new.gradient_sq,
            self.decay * self.variance + new.variance,
        )

    @property
    def estimate(self) -> NoiseEstimate:
        """The average; unknown before the first measurement."""
        if not self.weight:
            return UNKNOWN
        return NoiseEstimate(self.gradient_sq / self.weight, self.variance / self.weight)
