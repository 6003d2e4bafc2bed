"""The averaging kernels on the CPU: equal to the reference, to the bit where it can be, and within their bounds."""

import numpy as np
import pytest
import torch
from averaging_cases import (
    STATE,
    Case,
    bits,
    by_reference,
    exact,
    fma,
    iterate,
    last_columns,
    make_case,
    make_far_case,
    square_tiles,
    update,
)
from emulated import BLOCK_ORDERS, THREAD_ORDERS, Emulator, Schedule, guarded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossbow_lab.kernels import averaging

SIZES = (1, 31, 32, 33, 255, 256, 257, 1023, 1025)
NARROW = (torch.float32, torch.float16, torch.bfloat16)
RULES = ("sma", "easgd", "sgd", "split sma", "split easgd")

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
both_ways = pytest.mark.parametrize("local", [False, True], ids=["plain", "local momentum"])


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Check that two states are the same to the bit."""
    for name in STATE:
        torch.testing.assert_close(actual[name], expected[name], rtol=0, atol=0)  # says where they differ
        assert bits(actual[name]) == bits(expected[name]), name  # zeros have signs


def assert_iterates(rule: str, case: Case, *, local: bool, norms: bool = False) -> None:
    """Check one iteration against the measure of its dtype, and that nothing else was written."""
    before, gradients = case.state(), case.gradients.clone()
    after = iterate(rule, case, local=local, norms=norms)
    rule = rule.removeprefix("split ")
    if case.weights.dtype == torch.float64:
        expected = by_reference(rule, before, case, local=local)
        for name in STATE:
            torch.testing.assert_close(after[name], expected[name], rtol=1e-12, atol=1e-12)
    else:
        assert_same(after, exact(rule, before, case, local=local))
    assert bits(case.gradients) == bits(gradients)
    assert case.gaps().isnan().all()


@both_ways
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", [torch.float64, *NARROW], ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_every_size_and_dtype_equals_the_reference(
    emulated: Emulator, rule: str, dtype: torch.dtype, n: int, local: bool
) -> None:
    """In float64 to 1e-12; else to the bit what the sources say, operation by operation."""
    emulated.schedule = Schedule(THREAD_ORDERS[n % 5], BLOCK_ORDERS[n % 3], seed=n, block=256 if n > 256 else None)
    case = make_case(3, n, dtype, seed=n, padding=8 * (n % 3), at_end=n % 2 == 0 or dtype == torch.float64)
    norms = rule in ("sma", "easgd") and n % 2 == 1

    assert_iterates(rule, case, local=local, norms=norms)


@pytest.mark.parametrize("dtype", [torch.float64, *NARROW], ids=str)
@pytest.mark.parametrize("n", SIZES)
def test_ssgd_equals_the_reference(emulated: Emulator, n: int, dtype: torch.dtype) -> None:
    """The central average model is the replica before it is rounded to the weights' dtype."""
    assert_iterates("ssgd", make_case(1, n, dtype, seed=n), local=False)


@pytest.mark.parametrize("k", range(1, 34))
def test_any_number_of_learners_equals_the_reference(emulated: Emulator, k: int) -> None:
    """From 1 to 33, in float64 and in bfloat16."""
    for rule in RULES:
        assert_iterates(rule, make_case(k, 33, torch.float64, seed=k, padding=8), local=k % 2 == 0, norms=k % 3 == 0)
        assert_iterates(rule, make_case(k, 265, torch.bfloat16, seed=k), local=k % 2 == 1, norms=k % 3 == 1)


@pytest.mark.parametrize("rule", ["sma", "easgd", "sgd"])
def test_float32_equals_the_reference_to_rounding(emulated: Emulator, rule: str) -> None:
    """The bitwise measure of float32 is itself near the reference."""
    case = make_case(8, 1025, seed=5)
    expected = by_reference(rule, case.state(), case, local=True)
    after = iterate(rule, case, local=True)

    for name in STATE:
        torch.testing.assert_close(after[name].double(), expected[name], rtol=2e-6, atol=2e-6)


@quick
@given(
    rule=st.sampled_from(RULES),
    k=st.integers(1, 9),
    n=st.integers(1, 1100),
    dtype=st.sampled_from([torch.float64, *NARROW]),
    seed=st.integers(0, 2**31),
    padding=st.sampled_from([0, 8, 56]),
    local=st.booleans(),
    norms=st.booleans(),
    mu=st.sampled_from([0.0, 0.9]),
    lam=st.sampled_from([0.0, 0.01]),
    grid=st.integers(1, 6),
)
def test_anything_equals_the_reference(
    emulated: Emulator,
    rule: str,
    k: int,
    n: int,
    dtype: torch.dtype,
    seed: int,
    padding: int,
    local: bool,
    norms: bool,
    mu: float,
    lam: float,
    grid: int,
) -> None:
    """Whatever the shape, the settings, the grid and the order of threads."""
    emulated.schedule = Schedule(THREAD_ORDERS[seed % 5], BLOCK_ORDERS[seed % 3], seed=seed, grid=grid, block=64)
    case = make_case(k, n, dtype, seed=seed, padding=padding, momentum=mu, weight_decay=lam)

    assert_iterates(rule, case, local=local, norms=norms)


@pytest.mark.parametrize("dtype", [torch.float64, *NARROW], ids=str)
@pytest.mark.parametrize("rule", ["sma", "easgd"])
def test_split_equals_fused_to_the_bit(emulated: Emulator, rule: str, dtype: torch.dtype) -> None:
    """Learners on streams of their own go exactly where those of one launch go, over several iterations."""
    together, apart = make_case(5, 775, dtype), make_case(5, 775, dtype)
    for _ in range(3):
        expected = iterate(rule, together, local=True, norms=True)
        assert_same(iterate(f"split {rule}", apart, local=True), expected)


@pytest.mark.parametrize("dtype", [torch.float64, *NARROW], ids=str)
@both_ways
def test_results_depend_on_no_grid_and_no_order(emulated: Emulator, dtype: torch.dtype, local: bool) -> None:
    """Neither weights nor partial sums, whatever runs first."""
    grids = [(1, 32), (1, 256), (2, 64), (5, 96), (7, 256), (40, 32)]
    orders = [(threads, blocks) for threads in THREAD_ORDERS for blocks in BLOCK_ORDERS]
    seen = set()
    for number, (threads, blocks) in enumerate(orders):
        grid, block = grids[number % len(grids)]
        emulated.schedule = Schedule(threads, blocks, seed=number, grid=grid, block=block)
        case = make_case(2, 1801, dtype)
        after = iterate("sma", case, local=local, norms=True)
        iterate("easgd", case, local=local, norms=False)
        iterate("sgd", case, local=local)
        seen.add(b"".join(bits(tensor) for tensor in (*after.values(), *case.state().values(), case.partials)))

    assert len(seen) == 1


@pytest.mark.parametrize("dtype", [torch.float64, *NARROW], ids=str)
@pytest.mark.parametrize("rule", ["sma", "easgd"])
@pytest.mark.parametrize("n", [1, 33, 256, 257, 1025])
def test_partial_sums_add_up_to_the_norms(emulated: Emulator, n: int, rule: str, dtype: torch.dtype) -> None:
    """‖w_j − z‖² of before the update, ‖g_j‖² without weight decay, ‖Σ_j g_j‖², each tile on its own."""
    case = make_case(4, n, dtype, seed=n)
    tiles = square_tiles(case)
    iterate(rule, case, norms=True)

    near = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 2e-6, "atol": 2e-6}
    torch.testing.assert_close(case.partials.double(), tiles, **near)
    torch.testing.assert_close(averaging.square_sums(case.partials), tiles.sum(1), **near)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("tiles", [1, 31, 255, 256, 257, 1025])
def test_square_sums_add_in_double_and_in_a_fixed_order(emulated: Emulator, tiles: int, dtype: torch.dtype) -> None:
    """Whichever thread comes first, and only within a row."""
    partials = guarded(5, tiles, dtype=dtype).copy_(
        torch.rand(5, tiles, generator=torch.Generator().manual_seed(tiles))
    )
    sums = []
    for threads in THREAD_ORDERS:
        emulated.schedule = Schedule(threads, "descending", seed=tiles)
        sums.append(averaging.square_sums(partials, out=guarded(5, dtype=torch.float64)))

    torch.testing.assert_close(sums[0], partials.double().sum(1), rtol=1e-14, atol=0)
    assert len({bits(one) for one in sums}) == 1


@pytest.mark.parametrize("dtype", NARROW, ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_learners_at_the_centre_stay_there(emulated: Emulator, rule: str, dtype: torch.dtype) -> None:
    """After a restart and without gradients nothing moves, to the bit."""
    case = make_case(7, 300, dtype, weight_decay=0.0)
    for still in (case.gradients, case.velocities, case.centre_velocity):
        still.zero_()
    case.centre.copy_(case.weights[0].clone())
    case.weights.copy_(case.centre.expand_as(case.weights))
    before = case.state()

    assert_same(iterate(rule, case, local=True), before)


@quick
@given(k=st.integers(1, 33), seed=st.integers(0, 2**31), alpha=st.floats(0.0, 1.0), mu=st.floats(0.0, 0.99))
def test_sum_of_all_models_changes_by_gradients_and_momentum_alone(
    emulated: Emulator, k: int, seed: int, alpha: float, mu: float
) -> None:
    """Elastic symmetry: what corrections take from learners they give to z, whatever alpha."""
    case = make_case(k, 41, torch.float64, seed=seed, alpha=alpha, momentum=mu, weight_decay=0.0)
    before = case.state()
    after = iterate("sma", case)

    sums = [state["weights"].sum(0) + state["centre"] for state in (before, after)]
    expected = sums[0] - 0.1 * case.gradients.sum(0) + mu * before["centre_velocity"]
    torch.testing.assert_close(sums[1], expected, rtol=1e-12, atol=1e-12)


@quick
@given(k=st.integers(1, 33), seed=st.integers(0, 2**31), alpha=st.floats(0.0, 1.0), mu=st.floats(0.0, 0.99))
def test_mean_mode_and_differences_contract_as_the_closed_form_says(
    emulated: Emulator, k: int, seed: int, alpha: float, mu: float
) -> None:
    """Without gradients Σ_j (w_j − z) follows its 2 by 2 matrix with z's velocity, and differences shrink by 1 − α."""
    case = make_case(k, 41, torch.float64, seed=seed, alpha=alpha, momentum=mu, weight_decay=0.0)
    case.gradients.zero_()
    before = case.state()
    after = iterate("sma", case)

    def mode(state: dict[str, Tensor]) -> Tensor:
        return torch.stack([(state["weights"] - state["centre"]).mean(0), state["centre_velocity"]])

    matrix = torch.tensor([[1 - alpha - k * alpha, -mu], [k * alpha, mu]], dtype=torch.float64)
    torch.testing.assert_close(mode(after), matrix @ mode(before), rtol=1e-11, atol=1e-11)
    apart = [state["weights"] - state["weights"][0] for state in (after, before)]
    torch.testing.assert_close(apart[0], (1 - alpha) * apart[1], rtol=1e-12, atol=1e-12)


def test_denormals_are_flushed_as_on_the_gpu(emulated: Emulator) -> None:
    """In float32, where CuPy compiles with -ftz=true; not in float64, which has no such mode."""
    left = {}
    for dtype in (torch.float32, torch.float64):
        case = make_case(1, 8, dtype, learning_rate=0.0, alpha=0.0, weight_decay=0.0)
        case.weights.fill_(1e-39)
        case.centre.zero_()
        left[dtype] = iterate("sma", case)["weights"]

    assert not left[torch.float32].any()
    assert (left[torch.float64] == 1e-39).all()


@pytest.mark.parametrize(("k", "n", "ld"), [(3, 300, 2**30 + 8), (1, 2**31 + 300, 2**31 + 304)])
@pytest.mark.parametrize("rule", ["sma", "easgd", "sgd", "ssgd"])
def test_indices_reach_beyond_two_to_the_31(emulated: Emulator, rule: str, k: int, n: int, ld: int) -> None:
    """Rows that begin there, and elements that lie there."""
    if rule == "ssgd" and k > 1:
        return  # it has one row
    blocks = -(-n // 2048)
    emulated.schedule = Schedule(grid=blocks, block=256, only_blocks=(blocks - 1, blocks))
    case = make_far_case(k, n, ld)
    before = last_columns(case)
    update(rule, case)
    expected, after = exact(rule, before.state(), before), last_columns(case)

    assert_same(after.state(), expected)


def test_one_rounding_differs_from_two() -> None:
    """The measure of fused multiply-adds tells them from a product and a sum: else it would prove nothing."""
    random = np.random.default_rng(0)
    a, b, c = random.standard_normal((3, 10_000)).astype(np.float32)
    once, twice = fma(a, b, c), a * b + c
    assert (once != twice).mean() > 0.05
    np.testing.assert_allclose(once, np.longdouble(a) * b + c, rtol=6.0e-8, atol=1e-20)
