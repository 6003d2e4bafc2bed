"""The family's settings: validation, contradictions, what they have in common, and JSON."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossbow_lab.averaging import (
    ALGORITHMS,
    EAMSGD,
    EASGD,
    SMA,
    SSGD,
    Algorithm,
    AsyncEAMSGD,
    DiLoCo,
    Downpour,
    HierarchicalSMA,
    Hogwild,
    KungFuSMA,
    LocalSGD,
    PairAveraging,
    PolyakRuppert,
    algorithm_from_json,
    algorithm_name,
    algorithm_to_json,
    alpha_bound,
    alpha_limit,
    check_fits,
    has_field,
    local_momentum,
    resolve_alpha,
    sma_as_coded,
    sync_period_at,
)
from crossbow_lab.errors import ConfigurationError

fractions = st.floats(0.0, 1.0, exclude_max=True)
alphas = st.none() | st.floats(0.0, 4.0, exclude_min=True)
shares = st.none() | st.floats(0.0, 1.0)
counts = st.integers(1, 1000)
positive = st.floats(0.0, 10.0, exclude_min=True)
restarts = st.sampled_from(["on_lr_change", "copy_on_lr_change", "never"])
algorithms = st.one_of(
    st.builds(HierarchicalSMA, counts, alphas, fractions, fractions, counts, restarts),
    st.builds(EAMSGD, alphas, fractions, counts),
    st.builds(AsyncEAMSGD, shares, fractions, counts),
    st.builds(LocalSGD, fractions, counts, st.floats(0.0, 100.0)),
    st.builds(DiLoCo, positive, fractions, fractions, counts),
    st.builds(PolyakRuppert, shares, fractions, counts, restarts),
    st.builds(KungFuSMA, shares, fractions, counts),
    st.builds(PairAveraging, fractions, counts),
    st.builds(Downpour, counts),
    st.builds(Hogwild),
)


@given(algorithms)
def test_json_brings_back_the_same_algorithm(algorithm: Algorithm) -> None:
    """Writing and reading gives an equal setting, through real JSON text."""
    assert algorithm == algorithm_from_json(json.loads(json.dumps(algorithm_to_json(algorithm))))


def test_every_algorithm_works_by_its_name_alone() -> None:
    """As the dashboard's choice makes them; and no two have the same name on plots."""
    made = [algorithm_from_json({"name": name}) for name in ALGORITHMS]

    assert [type(algorithm).__name__ for algorithm in made] == list(ALGORITHMS)
    assert len({algorithm_name(algorithm) for algorithm in made}) == len(ALGORITHMS) == 13


@pytest.mark.parametrize("algorithm", [HierarchicalSMA(), AsyncEAMSGD(), Downpour(), Hogwild()])
def test_what_is_simulated_says_so_in_its_name(algorithm: Algorithm) -> None:
    """Wherever a plot or table names it."""
    assert "simulated" in algorithm_name(algorithm)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sync_period": 2}, r"sync_period = 2 contradicts S-SGD, .*use LocalSGD\(sync_period=\.\.\.\)"),
        ({"alpha": 0.1}, r"alpha = 0\.1 contradicts S-SGD, .*use SMA\(alpha=\.\.\.\)"),
    ],
)
def test_ssgd_refuses_what_contradicts_it(options: dict[str, Any], words: str) -> None:
    """Neither corrections nor periods: the message names what has them."""
    with pytest.raises(ConfigurationError, match=words):
        SSGD(**options)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (HierarchicalSMA, {"devices": 0}, r"^devices is 0; .* at least 1: 2 halves"),
        (HierarchicalSMA, {"restart": "no"}, r"^restart is 'no'; .*Known: copy_on_lr_change, never, on_lr_change"),
        (EAMSGD, {"local_momentum": 1}, r"^local_momentum is 1; .* not including, 1"),
        (AsyncEAMSGD, {"alpha": 2}, r"^alpha is 2; .* from 0 to 1"),
        (AsyncEAMSGD, {"exchange_period": 0}, r"^exchange_period is 0; .* 1 exchanges at every iteration"),
        (LocalSGD, {"sync_period": 0}, r"^sync_period is 0; .* at least 1"),
        (LocalSGD, {"local_from_epoch": -1}, r"^local_from_epoch is -1; .* of at least 0, in epochs"),
        (LocalSGD, {"local_from_epoch": math.nan}, r"^local_from_epoch is nan"),
        (
            DiLoCo,
            {"outer_learning_rate": 0},
            r"^outer_learning_rate is 0; .* greater than 0; 1 takes the learners' mean",
        ),
        (DiLoCo, {"outer_learning_rate": True}, r"^outer_learning_rate is True"),
        (DiLoCo, {"momentum": 1.0}, r"^momentum \(central\) is 1\.0"),
        (PolyakRuppert, {"alpha": 1.1}, r"^alpha is 1\.1; .* from 0 to 1, or None for 1/k"),
        (PolyakRuppert, {"alpha": "1/k"}, r"^alpha is '1/k'"),
        (KungFuSMA, {"alpha": -0.1}, r"^alpha is -0\.1; .* from 0 to 1"),
        (PairAveraging, {"sync_period": 1.5}, r"^sync_period is 1\.5"),
        (Downpour, {"fetch_period": 0}, r"^fetch_period is 0; .* 1 fetches at every iteration"),
    ],
)
def test_it_refuses_values_outside_their_range(kind: Any, options: dict[str, Any], words: str) -> None:
    """The message says what was given and what is needed."""
    with pytest.raises(ConfigurationError, match=words):
        kind(**options)


@given(st.integers(2, 1000), fractions)
def test_alpha_is_that_of_its_kin(k: int, mu: float) -> None:
    """Hierarchical SMA has SMA's, EAMSGD has EA-SGD's; None means 1/k for all that have one."""
    for algorithm in (HierarchicalSMA(momentum=mu), EAMSGD(), AsyncEAMSGD(), PolyakRuppert(), KungFuSMA()):
        assert resolve_alpha(algorithm, k) == 1 / k
    assert alpha_limit(HierarchicalSMA(momentum=mu), k) == alpha_bound(k, mu) == alpha_limit(SMA(momentum=mu), k)
    assert alpha_limit(EAMSGD(), k) == alpha_bound(k, 0.0) == alpha_limit(EASGD(), k)


def test_alpha_of_one_learner() -> None:
    """1/2 where z is trained, no pull where z only watches, and the mean of one is itself."""
    several = (HierarchicalSMA(), EAMSGD(), AsyncEAMSGD(), PolyakRuppert(), KungFuSMA())

    assert [resolve_alpha(algorithm, 1) for algorithm in several] == [0.5, 0.5, 0.5, 0.0, 1.0]


@pytest.mark.parametrize("algorithm", [HierarchicalSMA(alpha=0.5), EAMSGD(alpha=0.3)])
def test_an_unstable_alpha_is_refused(algorithm: Algorithm) -> None:
    """By the algorithm's own name."""
    with pytest.raises(ConfigurationError, match=rf"makes {algorithm_name(algorithm)[:6]}.* diverge with k = 8"):
        resolve_alpha(algorithm, 8)


@pytest.mark.parametrize("algorithm", [LocalSGD(), DiLoCo(), PairAveraging(), Downpour(), Hogwild(), SSGD()])
def test_the_others_have_no_alpha(algorithm: Algorithm) -> None:
    """0, and no limit."""
    assert resolve_alpha(algorithm, 8) == 0.0
    assert alpha_limit(algorithm, 8) is None
    assert not has_field(algorithm, "alpha")


def test_more_devices_than_learners_are_refused() -> None:
    """As many are possible, and the message says how many are at most."""
    check_fits(HierarchicalSMA(devices=3), 3)
    with pytest.raises(ConfigurationError, match=r"4 simulated devices need at least 4 learners, but there are 3"):
        check_fits(HierarchicalSMA(devices=4), 3)


def test_post_local_sgd_synchronises_always_until_its_epoch() -> None:
    """And every sync_period-th iteration from then on."""
    algorithm = LocalSGD(sync_period=16, local_from_epoch=2.5)

    assert [sync_period_at(algorithm, epoch) for epoch in (0.0, 2.4999, 2.5, 7.0)] == [1, 1, 16, 16]
    assert {sync_period_at(kind(), 0.0) for kind in ALGORITHMS.values()} == {1, 8, 32}


def test_local_momentum_is_zero_where_there_is_none() -> None:
    """So that nothing keeps velocities for it."""
    found = {name: local_momentum(kind()) for name, kind in ALGORITHMS.items()}

    assert {name for name, value in found.items() if value} == {"EAMSGD", "AsyncEAMSGD"}


def test_code_mode_is_sma_with_local_momentum_and_restarts_that_keep_it() -> None:
    """The centre has momentum only if learners have; SMA by default is the paper's."""
    coded, bare = sma_as_coded(alpha=0.1, momentum=0.8, sync_period=2), sma_as_coded()

    assert coded == SMA(0.1, 0.9, 0.8, 2, "copy_on_lr_change")
    assert (bare.alpha, bare.momentum, bare.local_momentum) == (0.5, 0.0, 0.0)
    assert SMA() == SMA(None, 0.9, 0.0, 1, "on_lr_change")
