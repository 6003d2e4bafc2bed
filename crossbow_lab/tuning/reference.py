"""The gradient noise scale in NumPy, float64, from gradients themselves; to be read beside the paper.

McCandlish et al. (2018), arXiv 1812.06162, appendix A.1; `crossbow_lab.tuning.noise` does the same from norms.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def squares(g_kn: Array) -> Array:
    """Return ‖g_j‖² of every row and ‖Σ_j g_j‖² behind them: (k + 1,).

    Examples
    --------
    >>> squares(np.array([[3.0, 4.0], [1.0, 0.0]]))
    array([25.,  1., 32.])
    """
    g = np.asarray(g_kn, np.float64)
    total = g.sum(axis=0)
    return np.array([*(g * g).sum(axis=1), (total * total).sum()])


def noise_of_gradients(g_kn: Array, b: int) -> tuple[float, float]:
    """Return the estimates of ‖G‖² and S = tr(Σ) from the mean gradients of k batches of b samples at one point.

    Examples
    --------
    >>> noise_of_gradients(np.array([[3.0, 0.0], [1.0, 0.0]]), b=2)
    (3.0, 4.0)
    """
    g = np.asarray(g_kn, np.float64)
    k = len(g)
    small_sq = np.mean([np.dot(g_j, g_j) for g_j in g])  # |G_B_small|², B_small = b
    g_mean = g.mean(axis=0)
    large_sq = np.dot(g_mean, g_mean)  # |G_B_big|², B_big = k b
    gradient_sq = (k * b * large_sq - b * small_sq) / (k * b - b)
    variance = (small_sq - large_sq) / (1 / b - 1 / (k * b))
    return float(gradient_sq), float(variance)
