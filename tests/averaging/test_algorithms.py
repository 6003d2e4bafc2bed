"""The algorithms' settings: validation, the α rule and JSON."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossbow_lab.averaging import (
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
from crossbow_lab.errors import ConfigurationError

fractions = st.floats(0.0, 1.0, exclude_max=True)
alphas = st.none() | st.floats(0.0, 4.0, exclude_min=True)
periods = st.integers(1, 1000)
algorithms = st.one_of(
    st.builds(SMA, alphas, fractions, fractions, periods, st.sampled_from(["on_lr_change", "never"])),
    st.builds(EASGD, alphas, fractions, periods),
    st.builds(SSGD, fractions),
)


def test_sma_defaults_are_those_of_the_paper() -> None:
    """SMA has central momentum 0.9, no local momentum, synchronises always and restarts on a step of the rate."""
    assert SMA(None, 0.9, 0.0, 1, "on_lr_change") == SMA()


def test_it_is_frozen() -> None:
    """A setting can't change under a recipe that holds it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMA().alpha = 0.1  # type: ignore[misc]


@pytest.mark.parametrize("algorithm", ALGORITHMS.values())
@pytest.mark.parametrize("field", ["momentum", "local_momentum"])
@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan"), float("inf"), "0.9", None, True, torch.tensor(0.5)])
def test_it_refuses_a_momentum_outside_its_range(algorithm: Any, field: str, value: object) -> None:
    """Every momentum lies in [0, 1), and the message says so with what was given."""
    if field not in [one.name for one in dataclasses.fields(algorithm)]:
        return
    with pytest.raises(ConfigurationError, match=rf"^{field}.* is .*from 0 up to, but not including, 1; use 0"):
        algorithm(**{field: value})


@pytest.mark.parametrize("algorithm", [SMA, EASGD])
@pytest.mark.parametrize("alpha", [0, -0.5, float("nan"), float("inf"), "1/k", False])
def test_it_refuses_an_alpha_that_is_not_positive(algorithm: Any, alpha: object) -> None:
    """Alpha is greater than 0, and the message names None as the way to 1/k."""
    with pytest.raises(ConfigurationError, match=r"^alpha is .* greater than 0, or None for 1/k"):
        algorithm(alpha=alpha)


@pytest.mark.parametrize("algorithm", [SMA, EASGD])
@pytest.mark.parametrize("period", [0, -1, 1.5, 2.0, "2", None, True, float("inf")])
def test_it_refuses_a_period_that_is_not_a_whole_number(algorithm: Any, period: object) -> None:
    """The synchronisation period is a whole number of at least 1, and the message says what 1 and 2 mean."""
    with pytest.raises(ConfigurationError, match=r"^sync_period is .* whole number of at least 1: 1 synchronises"):
        algorithm(sync_period=period)


@pytest.mark.parametrize("restart", ["on-lr-change", "", None, 1, []])
def test_it_refuses_an_unknown_restart(restart: Any) -> None:
    """The message lists the known words."""
    with pytest.raises(ConfigurationError, match=r"^restart is .*Known: copy_on_lr_change, never, on_lr_change"):
        SMA(restart=restart)


def test_it_suggests_the_nearest_restart() -> None:
    """A misspelt restart is answered with the nearest word."""
    with pytest.raises(ConfigurationError, match=r"'on_lr_chnge'; did you mean 'on_lr_change'\?"):
        SMA(restart="on_lr_chnge")  # type: ignore[arg-type]


def test_it_turns_numpy_numbers_into_python_ones() -> None:
    """Settings swept by NumPy are written as JSON like any other."""
    swept = SMA(alpha=np.float32(0.5), momentum=0, sync_period=np.int64(2))  # type: ignore[arg-type]

    assert json.loads(json.dumps(algorithm_to_json(swept)))["alpha"] == 0.5
    assert (type(swept.momentum), type(swept.sync_period)) == (float, int)


@pytest.mark.parametrize(("algorithm", "name"), [(SMA(), "SMA"), (EASGD(), "EA-SGD"), (SSGD(), "S-SGD")])
def test_its_name_is_that_of_plots(algorithm: Algorithm, name: str) -> None:
    """Plots write the names with hyphens."""
    assert name == algorithm_name(algorithm)


@pytest.mark.parametrize(
    ("k", "at_0", "at_09"),
    [
        (2, 0.667, 0.974),
        (4, 0.400, 0.644),
        (8, 0.222, 0.384),
        (16, 0.118, 0.212),
        (32, 0.061, 0.112),
        (64, 0.031, 0.058),
    ],
)
def test_alpha_bound_is_that_of_the_table(k: int, at_0: float, at_09: float) -> None:
    """The bound agrees with the numbers that were checked when the rule was derived."""
    assert at_0 == pytest.approx(alpha_bound(k, 0.0), abs=6e-4)
    assert at_09 == pytest.approx(alpha_bound(k, 0.9), abs=6e-4)


@pytest.mark.parametrize("n_learners", [0, -3, 2.0, True, "4", None])
def test_alpha_bound_refuses_learners_that_are_not_counted(n_learners: Any) -> None:
    """The number of learners is a whole number of at least 1."""
    with pytest.raises(ConfigurationError, match=r"^n_learners is .* at least 1: every run needs at least one"):
        alpha_bound(n_learners, 0.9)


def test_alpha_bound_refuses_a_momentum_of_1() -> None:
    """A central momentum of 1 never forgets, so there is no bound."""
    with pytest.raises(ConfigurationError, match=r"^momentum \(central\) is 1"):
        alpha_bound(4, 1.0)


@given(st.integers(2, 1000), fractions)
def test_alpha_defaults_to_one_over_k(k: int, mu: float) -> None:
    """None means 1/k for every k of two or more, and that is always stable."""
    assert 1 / k == resolve_alpha(SMA(momentum=mu), k) == resolve_alpha(EASGD(), k)
    assert alpha_bound(k, mu) > 1 / k


def test_alpha_defaults_to_one_half_for_one_learner() -> None:
    """One learner's 1/k would be 1, so None means 1/2 there."""
    assert resolve_alpha(SMA(), 1) == resolve_alpha(SMA(momentum=0), 1) == resolve_alpha(EASGD(), 1) == 0.5


def test_ssgd_has_an_alpha_of_zero() -> None:
    """S-SGD corrects nothing, with however many learners, but these are still counted."""
    assert resolve_alpha(SSGD(), 64) == 0.0
    with pytest.raises(ConfigurationError, match="n_learners is 0"):
        resolve_alpha(SSGD(), 0)


@pytest.mark.parametrize("algorithm", [SMA(alpha=1.0), SMA(alpha=1, momentum=0), EASGD(alpha=1)])
def test_it_refuses_one_learner_with_alpha_one_by_name(algorithm: SMA | EASGD) -> None:
    """Alpha = 1 with one learner swaps replica and centre, and the message says that and the way out."""
    with pytest.raises(ConfigurationError, match=r"alpha = 1 with k = 1 .* swap .* alpha=None \(1/2"):
        resolve_alpha(algorithm, 1)


@given(st.integers(1, 200), fractions, st.floats(0.01, 1.99))
def test_it_refuses_exactly_the_alphas_that_reach_the_bound(k: int, mu: float, share: float) -> None:
    """Any alpha below its bound is kept as it is, any other refused."""
    alpha = share * alpha_bound(k, mu)
    if k == 1 and alpha == 1.0:
        return
    algorithm = SMA(alpha=alpha, momentum=mu)
    if alpha < alpha_bound(k, mu):
        assert resolve_alpha(algorithm, k) == alpha
    else:
        with pytest.raises(ConfigurationError, match="diverge"):
            resolve_alpha(algorithm, k)


def test_its_refusal_names_alpha_k_mu_the_bound_and_the_ways_out() -> None:
    """The message of an unstable alpha can be acted on without the code."""
    words = (
        r"alpha = 0\.1 makes SMA diverge with k = 37 learners and central momentum mu = 0\.9: alpha must be below "
        r"2\(1\+mu\)/\(1\+k\+mu\) = 0\.0976864\. Use alpha=None \(1/k = 0\.027027\), a smaller alpha, or at most 36 "
        r"learners$"
    )
    with pytest.raises(ConfigurationError, match=words):
        resolve_alpha(SMA(alpha=0.1), 37)


def test_its_refusal_offers_no_number_of_learners_where_there_is_none() -> None:
    """With an alpha that no number of learners above one survives, only alpha is to blame."""
    with pytest.raises(ConfigurationError, match=r"makes EA-SGD diverge .* 0\.5\), or a smaller alpha$"):
        resolve_alpha(EASGD(alpha=1.5), 2)


@given(st.floats(0.001, 0.999), fractions)
@settings(max_examples=50)
def test_the_number_of_learners_it_offers_is_the_largest_that_works(alpha: float, mu: float) -> None:
    """What the message advises is accepted, and one learner more is not."""
    with pytest.raises(ConfigurationError) as refusal:
        resolve_alpha(SMA(alpha=alpha, momentum=mu), 100_000)
    advice = str(refusal.value).rpartition("at most ")[2]
    if advice.endswith(" learners"):
        most = int(advice.removesuffix(" learners"))
        assert alpha < alpha_bound(most, mu) * (1 + 1e-12)
        assert alpha >= alpha_bound(most + 1, mu) * (1 - 1e-12)


@given(algorithms)
def test_json_brings_back_the_same_algorithm(algorithm: Algorithm) -> None:
    """Writing and reading gives an equal setting, through real JSON text."""
    assert algorithm == algorithm_from_json(json.loads(json.dumps(algorithm_to_json(algorithm))))


def test_json_is_what_recipes_hold() -> None:
    """The form is part of the recipe's schema, so it is pinned."""
    written = {
        "name": "SMA",
        "alpha": None,
        "momentum": 0.9,
        "local_momentum": 0.0,
        "sync_period": 1,
        "restart": "on_lr_change",
    }

    assert written == algorithm_to_json(SMA())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("SMA", r"an algorithm is written as \{'name': 'SMA', \.\.\.\}, not 'SMA'; names: SMA, EASGD, SSGD"),
        ({"alpha": 0.1}, r"written as .* not \{'alpha': 0\.1\}"),
        ({"name": "EA-SGD"}, r"no algorithm 'EA-SGD'; did you mean 'EASGD'\?"),
        ({"name": ["SMA"]}, r"no algorithm \['SMA'\]"),
        ({"name": "SMA", "aplha": 0.1}, r"SMA has no field 'aplha'; did you mean 'alpha'\?"),
        ({"name": "SSGD", "alpha": 0.1}, r"SSGD has no field 'alpha'; .*Known: momentum"),
        ({"name": "SMA", "sync_period": 0}, r"sync_period is 0"),
    ],
)
def test_json_that_it_cannot_read_is_refused(data: Any, words: str) -> None:
    """A wrong form, name, field or value each has its own message."""
    with pytest.raises(ConfigurationError, match=words):
        algorithm_from_json(data)


def test_json_may_leave_out_fields() -> None:
    """A recipe of an earlier version, with fewer fields, reads with defaults."""
    assert EASGD(sync_period=3) == algorithm_from_json({"name": "EASGD", "sync_period": 3})
