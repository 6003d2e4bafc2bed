"""What the rules refuse, and that each message says what was given, what is needed and what to do."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from crossbow_lab.averaging import (
    easgd_step,
    local_step,
    make_scratch,
    restart,
    sma_step,
    squared_distances,
    ssgd_step,
)
from crossbow_lab.errors import ConfigurationError

RULES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "sma": lambda t: sma_step(t["w"], t["g"], t["z"], t["e"], learning_rate=0.1, alpha=0.1, momentum=0.9),
    "easgd": lambda t: easgd_step(t["w"], t["g"], t["z"], learning_rate=0.1, alpha=0.1),
    "local": lambda t: local_step(t["w"], t["g"], learning_rate=0.1),
    "ssgd": lambda t: ssgd_step(t["w"], t["g"], t["z"], t["e"], learning_rate=0.1, momentum=0.9),
    "restart": lambda t: restart(t["w"], t["z"], t["e"]),
    "squared_distances": lambda t: squared_distances(t["w"], t["z"]),
    "make_scratch": lambda t: make_scratch(t["w"]),
}


def arguments(k: int = 1, n: int = 3) -> dict[str, Any]:
    """Return tensors that every rule accepts."""
    return {"w": torch.ones(k, n), "g": torch.ones(k, n), "z": torch.ones(n), "e": torch.ones(n)}


@pytest.mark.parametrize("rule", RULES)
def test_it_accepts_what_the_other_tests_spoil(rule: str) -> None:
    """So that a refusal below is due to what it names."""
    RULES[rule](arguments())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.ones((1, 3)), r"weights are a ndarray; .* torch\.as_tensor"),
        (torch.ones(3), r"weights have shape \(3,\).* need \(k, n\), .* torch\.stack"),
        (torch.ones(0, 3), r"shape \(0, 3\).* neither of them 0"),
        (torch.ones(1, 0), r"shape \(1, 0\).* neither of them 0"),
        (torch.ones(1, 3, dtype=torch.int64), r"torch\.int64; .*floating-point.*weights\.float\(\)"),
        (torch.ones(3, 3).T, r"strides \(1, 3\).* contiguous \(stride 1\): lay the bank out as \(k, n\)"),
        (torch.ones(3).expand(2, 3), r"strides \(0, 1\).* rows overlap.* row stride must be at least 3; expand"),
    ],
)
def test_it_refuses_weights_that_are_no_bank(rule: str, weights: object, words: str) -> None:
    """Every rule says what is wrong with the weights before it touches anything."""
    with pytest.raises(ConfigurationError, match=words):
        RULES[rule]({**arguments(), "w": weights})


@pytest.mark.parametrize(
    ("rule", "argument", "name"),
    [
        ("sma", "g", "gradients"),
        ("sma", "z", "centre_n"),
        ("sma", "e", "centre_velocity_n"),
        ("easgd", "g", "gradients"),
        ("easgd", "z", "centre_n"),
        ("local", "g", "gradients"),
        ("ssgd", "g", "gradients"),
        ("ssgd", "z", "centre_n"),
        ("ssgd", "e", "centre_velocity_n"),
        ("restart", "z", "centre_n"),
        ("restart", "e", "centre_velocity_n"),
        ("squared_distances", "z", "centre_n"),
    ],
)
def test_it_refuses_tensors_that_do_not_fit(rule: str, argument: str, name: str) -> None:
    """A wrong shape, dtype, device or type is named, with the shape that fits."""
    right = arguments()[argument]
    wrong = [(right[..., :2], "shape"), (right.double(), "float64"), (right.to("meta"), "on meta")]
    for tensor, words in wrong:
        with pytest.raises(ConfigurationError, match=rf"^{name} has .*{words}.*must have .*new_zeros\("):
            RULES[rule]({**arguments(), argument: tensor})
    for thing in (None, right.numpy()):
        with pytest.raises(ConfigurationError, match=rf"^{name} is a .*; it must be a torch\.Tensor"):
            RULES[rule]({**arguments(), argument: thing})


@pytest.mark.parametrize("rule", [sma_step, easgd_step, local_step])
def test_it_refuses_local_momentum_without_velocities(rule: Callable[..., None]) -> None:
    """Momentum needs memory, which the caller keeps."""
    tensors = list(arguments().values())[: {sma_step: 4, easgd_step: 3, local_step: 2}[rule]]
    central = {sma_step: {"alpha": 0.1, "momentum": 0.9}, easgd_step: {"alpha": 0.1}, local_step: {}}[rule]
    options: dict[str, Any] = {"learning_rate": 0.1, "local_momentum": 0.9, **central}
    with pytest.raises(ConfigurationError, match=r"^local_momentum is 0\.9, but there is no .* torch\.zeros_like"):
        rule(*tensors, **options)
    with pytest.raises(ConfigurationError, match=r"^local_velocity has shape \(2, 3\).*\(1, 3\)"):
        rule(*tensors, **options, local_velocity_kn=torch.ones(2, 3))


def test_restart_refuses_velocities_that_do_not_fit() -> None:
    """A restart clears the velocities of the same bank."""
    given = arguments()
    with pytest.raises(ConfigurationError, match=r"^local_velocity_kn has shape \(2, 3\)"):
        restart(given["w"], given["z"], given["e"], torch.ones(2, 3))


@pytest.mark.parametrize(
    ("name", "values", "needed"),
    [
        ("learning_rate", [-0.1, float("nan"), float("inf"), "0.1", None], "a finite number of at least 0"),
        ("alpha", [-0.1, float("nan"), float("inf"), None], "a finite number of at least 0"),
        ("weight_decay", [-1e-4, float("nan"), float("inf"), None], "a finite number of at least 0"),
        ("momentum", [-0.1, 1, float("nan"), None], "a number from 0 up to, but not including, 1"),
        ("local_momentum", [-0.1, 1, float("nan"), None], "a number from 0 up to, but not including, 1"),
    ],
)
def test_it_refuses_scalars_outside_their_range(name: str, values: list[Any], needed: str) -> None:
    """Each scalar's message gives its value and legal range; a tensor's tells how to read it."""
    right = {"learning_rate": 0.1, "alpha": 0.1, "momentum": 0.9}
    for value in values:
        with pytest.raises(ConfigurationError, match=rf"^{name}.* is .*; it must be {needed}, as a Python number$"):
            sma_step(*arguments().values(), **{**right, name: value})
    with pytest.raises(ConfigurationError, match=rf"^{name}.* is tensor\(0\.5.*float\(value\) reads it, once"):
        sma_step(*arguments().values(), **{**right, name: torch.tensor(0.5)})  # type: ignore[arg-type]


def test_it_accepts_numpy_scalars() -> None:
    """A learning rate that a schedule computed with NumPy is a number like any other."""
    given = arguments()
    local_step(given["w"], given["g"], learning_rate=np.float32(0.5))  # type: ignore[arg-type]

    assert given["w"].tolist() == [[0.5] * 3]


def test_ssgd_refuses_more_than_one_replica() -> None:
    """S-SGD trains one replica; the message says which rows to pass."""
    with pytest.raises(ConfigurationError, match=r"one replica .* has 2 rows; pass one row, weights\[:1\]"):
        RULES["ssgd"](arguments(k=2))


@pytest.mark.parametrize("other", [torch.ones(2, 3), torch.ones(1, 3).double(), torch.ones(1, 3).to("meta")])
def test_it_refuses_the_scratch_of_another_bank(other: torch.Tensor) -> None:
    """Scratch fits one shape, dtype and device; the message says to make it anew."""
    scratch = make_scratch(other)
    given = arguments()
    words = r"^scratch was made for .* but the weights have shape \(1, 3\).* call make_scratch\(weights\) again"
    with pytest.raises(ConfigurationError, match=words):
        sma_step(*given.values(), learning_rate=0.1, alpha=0.1, momentum=0.9, scratch=scratch)
    with pytest.raises(ConfigurationError, match=words):
        local_step(given["w"], given["g"], learning_rate=0.1, scratch=scratch)
    with pytest.raises(ConfigurationError, match=words):
        squared_distances(given["w"], given["z"], scratch=scratch)


@pytest.mark.parametrize("columns", [0, -64, 1.5, True, "64"])
def test_scratch_refuses_chunks_that_are_no_whole_number(columns: Any) -> None:
    """A chunk has at least one column."""
    with pytest.raises(ConfigurationError, match=r"^chunk_columns is .* at least 1, or None for the measured"):
        make_scratch(torch.ones(1, 3), chunk_columns=columns)


def test_a_refusal_changes_nothing() -> None:
    """Everything is checked before the first write."""
    given = arguments()
    with pytest.raises(ConfigurationError):
        sma_step(*given.values(), learning_rate=0.1, alpha=0.1, momentum=float("nan"))

    assert all(tensor.eq(1).all() for tensor in given.values())
