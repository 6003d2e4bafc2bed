"""Statistical efficiency from the gradient noise scale, and goodput: throughput times that."""

import math

from crossbow_lab.errors import ConfigurationError


def statistical_efficiency(batch: float, noise_scale: float) -> float:
    """Return the share of a sample's worth that is left when ``batch`` samples make one step together.

    With the learning rate suited to each batch, training to a given loss takes E(B) = E_min (1 + B / B_noise)
    samples, so a sample of a batch of B is worth E_min / E(B) = 1 / (1 + B / B_noise) of one that steps alone:
    McCandlish et al., "An Empirical Model of Large-Batch Training" (2018), arXiv 1812.06162, section 2.3, with
    B_noise for the critical batch. Pollux (OSDI 2021) uses the same curve relative to a first batch.

    It is a model, not a law. Learners under SMA are taken as one batch of k·b samples, which they are while they stay
    close to z; learners that explore apart may do better.

    Parameters
    ----------
    batch : float
        B > 0, in samples; for learners the aggregate batch k·b.
    noise_scale : float
        B_noise > 0, in samples; infinity where only noise is seen. NaN, an unknown one, gives NaN.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ConfigurationError
        If one of them isn't positive.

    Examples
    --------
    >>> statistical_efficiency(64, noise_scale=64)
    0.5
    >>> statistical_efficiency(64, noise_scale=math.inf)
    1.0
    """
    if not batch > 0 or math.isinf(batch):
        raise ConfigurationError(f"batch is {batch!r}; it must be a finite number of samples > 0")
    if noise_scale <= 0:
        raise ConfigurationError(f"noise_scale is {noise_scale!r}; it must be > 0, in samples")
    return 1.0 / (1.0 + batch / noise_scale)


def goodput(samples_per_s: float, batch: float, noise_scale: float) -> float:
    """Return useful samples per second: throughput times statistical efficiency (Pollux, OSDI 2021).

    Parameters
    ----------
    samples_per_s : throughput > 0
    batch, noise_scale : as in `statistical_efficiency`

    Examples
    --------
    >>> goodput(1000.0, batch=64, noise_scale=192)
    750.0
    """
    return samples_per_s * statistical_efficiency(batch, noise_scale)
