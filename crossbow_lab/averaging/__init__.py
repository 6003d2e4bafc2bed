"""The averaging algorithms: SMA, EA-SGD and S-SGD as settings (`algorithms`) and as exact update rules.

The rules exist twice, held equal by tests: `rules` works in place on torch tensors of any device, `reference`
is NumPy in float64 and reads like the paper.
"""

from crossbow_lab.averaging.algorithms import (
    ALGORITHMS,
    EASGD,
    SMA,
    SSGD,
    Algorithm,
    algorithm_from_json,
    algorithm_name,
    algorithm_to_json,
    alpha_bound,
    resolve_alpha,
)
from crossbow_lab.averaging.rules import (
    Scratch,
    easgd_step,
    local_step,
    make_scratch,
    restart,
    sma_step,
    squared_distances,
    ssgd_step,
)

__all__ = [
    "ALGORITHMS",
    "EASGD",
    "SMA",
    "SSGD",
    "Algorithm",
    "Scratch",
    "algorithm_from_json",
    "algorithm_name",
    "algorithm_to_json",
    "alpha_bound",
    "easgd_step",
    "local_step",
    "make_scratch",
    "resolve_alpha",
    "restart",
    "sma_step",
    "squared_distances",
    "ssgd_step",
]
