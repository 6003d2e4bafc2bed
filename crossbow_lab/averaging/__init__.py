"""The averaging algorithms: as settings (`algorithms`, `family`, by name in `catalogue`) and as exact update rules.

The rules exist twice, held equal by tests: `rules`, `elastic_rules`, `mean_rules` and `peer_rules` work in place on
torch tensors of any device; `reference` and `family_reference` are NumPy in float64 and read like the papers. A new
algorithm is a frozen dataclass, a rule, its twin, and a line each in `catalogue` and in `updates`.
"""

from crossbow_lab.averaging.algorithms import EASGD, SMA, SSGD, sma_as_coded
from crossbow_lab.averaging.catalogue import (
    ALGORITHMS,
    Algorithm,
    algorithm_from_json,
    algorithm_name,
    algorithm_to_json,
    alpha_bound,
    alpha_limit,
    check_fits,
    has_field,
    local_momentum,
    resolve_alpha,
    sync_period_at,
)
from crossbow_lab.averaging.device_rules import sma_step_with_sum, sum_differences
from crossbow_lab.averaging.elastic_rules import async_eamsgd_step, eamsgd_step, hierarchical_sma_step
from crossbow_lab.averaging.family import (
    EAMSGD,
    AsyncEAMSGD,
    DiLoCo,
    Downpour,
    HierarchicalSMA,
    Hogwild,
    KungFuSMA,
    LocalSGD,
    PairAveraging,
    PolyakRuppert,
)
from crossbow_lab.averaging.mean_rules import diloco_step, local_sgd_step, polyak_ruppert_step
from crossbow_lab.averaging.peer_rules import downpour_step, kungfu_sma_step, pair_averaging_step
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
from crossbow_lab.averaging.updates import Rows, explore, synchronise

__all__ = [
    "ALGORITHMS",
    "EAMSGD",
    "EASGD",
    "SMA",
    "SSGD",
    "Algorithm",
    "AsyncEAMSGD",
    "DiLoCo",
    "Downpour",
    "HierarchicalSMA",
    "Hogwild",
    "KungFuSMA",
    "LocalSGD",
    "PairAveraging",
    "PolyakRuppert",
    "Rows",
    "Scratch",
    "algorithm_from_json",
    "algorithm_name",
    "algorithm_to_json",
    "alpha_bound",
    "alpha_limit",
    "async_eamsgd_step",
    "check_fits",
    "diloco_step",
    "downpour_step",
    "eamsgd_step",
    "easgd_step",
    "explore",
    "has_field",
    "hierarchical_sma_step",
    "kungfu_sma_step",
    "local_momentum",
    "local_sgd_step",
    "local_step",
    "make_scratch",
    "pair_averaging_step",
    "polyak_ruppert_step",
    "resolve_alpha",
    "restart",
    "sma_as_coded",
    "sma_step",
    "sma_step_with_sum",
    "squared_distances",
    "ssgd_step",
    "sum_differences",
    "sync_period_at",
    "synchronise",
]
