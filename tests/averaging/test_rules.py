"""The torch rules equal `reference`, to the bit where that is promised, and allocate nothing."""

from typing import Any

import numpy as np
import pytest
import torch
from averaging_banks import Allocations, padded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossbow_lab.averaging import (
    Scratch,
    easgd_step,
    local_step,
    make_scratch,
    reference,
    restart,
    sma_step,
    squared_distances,
    ssgd_step,
)

SIZES = [1, 31, 32, 33, 1023, 1025]
CHUNKS = [None, 31, 32, 64, 1000, 1024]
SHAPES = [(n, chunk) for n in SIZES for chunk in CHUNKS] + [(33, 1), (2, 1)]
FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]

quick = settings(max_examples=60, deadline=None)
learners = st.integers(1, 33)
seeds = st.integers(0, 2**32 - 1)


def bank(k: int, n: int, seed: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return random weights, gradients, centre and its last increment."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(k, n), (k, n), (n,), (n,)]
    w, g, z, e = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
    return w, g, z, e


def scratch_of(w: Tensor, chunk: int | None) -> Scratch | None:
    """Return a scratch that cuts into chunks this wide, or none."""
    return None if chunk is None else make_scratch(w, chunk_columns=chunk)


@given(
    k=learners,
    shape=st.sampled_from(SHAPES),
    seed=seeds,
    padding=st.sampled_from([0, 1, 31]),
    rule=st.sampled_from(["sma", "easgd"]),
    tau=st.integers(1, 3),
    mu=st.sampled_from([0.0, 0.5, 0.9]),
    mu_l=st.sampled_from([None, 0.0, 0.9]),
    lam=st.sampled_from([0.0, 0.01]),
    share=st.floats(0.0, 0.9),
)
@settings(max_examples=100, deadline=None)
def test_it_equals_the_reference(
    k: int,
    shape: tuple[int, int | None],
    seed: int,
    padding: int,
    rule: str,
    tau: int,
    mu: float,
    mu_l: float | None,
    lam: float,
    share: float,
) -> None:
    """In float64, seven iterations with a restart after the fourth agree to 1e-12, whatever the options."""
    n, chunk = shape
    random = np.random.default_rng(seed)
    state = reference.start(random.standard_normal(n), k)
    w, z, e = padded(state.w, padding), torch.tensor(state.z), torch.zeros(n, dtype=torch.float64)
    v = None if mu_l is None else padded(state.v, padding)
    alpha = share / k
    local: dict[str, Any] = {
        "learning_rate": 0.1,
        "weight_decay": lam,
        "local_velocity_kn": v,
        "local_momentum": mu_l or 0.0,
        "scratch": scratch_of(w, chunk),
    }
    symbols: dict[str, Any] = {"gamma": 0.1, "alpha": alpha, "tau": tau, "mu_l": mu_l or 0.0, "lam": lam}
    since = 0
    for iteration in range(1, 8):
        g = random.standard_normal((k, n))
        gradients = padded(g, padding)
        state = reference.sma(state, g, mu=mu, **symbols) if rule == "sma" else reference.easgd(state, g, **symbols)
        since += 1
        if since % tau:
            local_step(w, gradients, **local)
        elif rule == "sma":
            sma_step(w, gradients, z, e, alpha=alpha, momentum=mu, **local)
        else:
            easgd_step(w, gradients, z, alpha=alpha, **local)
        assert np.array_equal(gradients, g)
        if iteration == 4:
            state, since = reference.restart(state), 0
            restart(w, z, e, v)
        np.testing.assert_allclose(w, state.w, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(z, state.z, rtol=1e-12, atol=1e-12)
        if rule == "sma":
            np.testing.assert_allclose(e, state.z - state.z_prev, rtol=1e-12, atol=1e-12)
        if v is not None:
            np.testing.assert_allclose(v, state.v, rtol=1e-12, atol=1e-12)


@given(n=st.sampled_from(SIZES), seed=seeds, mu=st.floats(0.0, 0.99), lam=st.sampled_from([0.0, 0.01]))
@quick
def test_ssgd_equals_the_reference(n: int, seed: int, mu: float, lam: float) -> None:
    """In float64, five iterations agree to 1e-12, and z is a copy of the replica after each."""
    random = np.random.default_rng(seed)
    state = reference.ssgd_start(random.standard_normal(n))
    w, z, v = torch.tensor(state.z[None]), torch.tensor(state.z), torch.zeros(n, dtype=torch.float64)
    for _ in range(5):
        g = random.standard_normal((1, n))
        state = reference.ssgd(state, g[0], gamma=0.1, mu=mu, lam=lam)
        ssgd_step(w, torch.tensor(g), z, v, learning_rate=0.1, momentum=mu, weight_decay=lam)
        assert torch.equal(w[0], z)
    np.testing.assert_allclose(z, state.z, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(v, state.v, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_is_close_to_the_reference_in_fewer_bits(dtype: torch.dtype) -> None:
    """Ten iterations in a smaller dtype stay within a few units of its rounding."""
    k, n = 16, 1025
    random = np.random.default_rng(0)
    w = padded(random.standard_normal((k, n)), 7, dtype)
    z, e = w[0].clone(), torch.zeros(n, dtype=dtype)
    state = reference.State(w=w.double().numpy(), z=z.double().numpy(), z_prev=z.double().numpy(), v=np.zeros((k, n)))
    options = {"weight_decay": 1e-4, "scratch": make_scratch(w, chunk_columns=100)}
    for _ in range(10):
        g = torch.tensor(random.standard_normal((k, n))).to(dtype)
        state = reference.sma(state, g.double().numpy(), gamma=0.01, alpha=1 / k, mu=0.9, lam=1e-4)
        sma_step(w, g, z, e, learning_rate=0.01, alpha=1 / k, momentum=0.9, **options)  # type: ignore[arg-type]
    tolerance = 40 * torch.finfo(dtype).eps

    np.testing.assert_allclose(w.double(), state.w, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(z.double(), state.z, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("k", [1, 3, 7, 16, 33])
@pytest.mark.parametrize("chunk", [None, 31])
def test_nothing_moves_after_a_restart_without_gradients(dtype: torch.dtype, k: int, chunk: int | None) -> None:
    """Corrections are exactly zero then: weights, z and velocities keep their bits over several iterations."""
    w, g, z, e = bank(k, 1025, k, dtype)
    v = torch.ones_like(w)
    before = z.clone()
    restart(w, z, e, v)
    assert not e.any()
    assert not v.any()
    for _ in range(3):
        sma_step(w, 0 * g, z, e, learning_rate=0.1, alpha=1 / (k + 1), momentum=0.9, scratch=scratch_of(w, chunk))
        easgd_step(w, 0 * g, z, learning_rate=0.1, alpha=1 / (k + 1), scratch=scratch_of(w, chunk))

    assert torch.equal(z, before)
    assert torch.equal(w, before.expand(k, -1))
    assert not e.any()


@pytest.mark.parametrize("k", [1, 5, 16, 33])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_chunks_do_not_change_a_bit(k: int, n_threads: int) -> None:
    """In float32, chunks of any multiple of 64 columns give the weights and z that one chunk gives."""
    results = []
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        for chunk in (64, 192, 1024, 10_000):
            w, g, z, e = bank(k, 9_999, seed=k)
            options: dict[str, Any] = {"learning_rate": 0.1, "alpha": 1 / (k + 1), "momentum": 0.9}
            sma_step(w, g, z, e, **options, scratch=make_scratch(w, chunk_columns=chunk))
            results.append((w, z))
    finally:
        torch.set_num_threads(before)
    first_w, first_z = results[0]

    assert all(torch.equal(first_w, w) and torch.equal(first_z, z) for w, z in results)


def test_a_learner_that_joins_at_the_centre_leaves_the_others_alone() -> None:
    """A new row that equals z gets no correction and gives none: the others keep their bits, z its value."""
    w, g, z, e = bank(5, 1025, seed=1, dtype=torch.float64)
    grown, quiet = torch.vstack([w, z]), torch.vstack([g, torch.zeros_like(z)])
    z_grown, e_grown, z_before = z.clone(), e.clone(), z.clone()
    options: dict[str, Any] = {"learning_rate": 0.1, "alpha": 1 / 6, "momentum": 0.9}
    sma_step(w, g, z, e, **options)
    sma_step(grown, quiet, z_grown, e_grown, **options)

    assert torch.equal(grown[:5], w)
    assert torch.equal(grown[5], z_before)
    torch.testing.assert_close(z_grown, z, rtol=1e-13, atol=1e-13)


def test_learners_that_leave_take_nothing_with_them() -> None:
    """With fewer rows of the same bank, z goes on from where it was; rows that left are not touched."""
    w, g, z, e = bank(5, 33, seed=2, dtype=torch.float64)
    state = reference.State(w=w.numpy().copy(), z=z.numpy().copy(), z_prev=(z - e).numpy(), v=np.zeros((5, 33)))
    gone = w[3:].clone()
    state = reference.remove_learner(reference.remove_learner(state, 4), 3)
    state = reference.sma(state, g[:3].numpy(), gamma=0.1, alpha=1 / 3, mu=0.9)
    sma_step(w[:3], g[:3], z, e, learning_rate=0.1, alpha=1 / 3, momentum=0.9)

    np.testing.assert_allclose(w[:3], state.w, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(z, state.z, rtol=1e-12, atol=1e-12)
    assert torch.equal(w[3:], gone)


def test_it_leaves_padding_alone() -> None:
    """Rows of a wider array are updated up to n, and not one element further."""
    w = padded(np.ones((3, 33)), 31)
    wide = w.as_strided((3, 64), (64, 1))
    sma_step(
        w,
        torch.ones_like(w),
        torch.zeros(33).double(),
        torch.zeros(33).double(),
        learning_rate=1,
        alpha=0.25,
        momentum=0,
    )

    assert wide[:, 33:].isnan().all()
    assert not wide[:, :33].isnan().any()


def test_weights_that_require_gradients_are_updated_too() -> None:
    """A bank and a centre may be parameters: no step is part of their graph."""
    w, g, z, e = bank(1, 3, seed=0)
    w.requires_grad_()
    z.requires_grad_()
    sma_step(w, g, z, e, learning_rate=0.5, alpha=0.1, momentum=0.9)
    easgd_step(w, g, z, learning_rate=0.5, alpha=0.1)
    local_step(w, g, learning_rate=0.5)
    ssgd_step(w, g, z, e, learning_rate=0.5, momentum=0.9)
    restart(w, z, e)

    assert w.is_leaf
    assert z.is_leaf
    assert not squared_distances(w, z).requires_grad


@pytest.mark.parametrize("dtype", FLOATS[:2])
@given(k=learners, n=st.sampled_from(SIZES), seed=seeds, chunk=st.sampled_from(CHUNKS))
@quick
def test_squared_distances_are_those_of_their_definition(
    dtype: torch.dtype, k: int, n: int, seed: int, chunk: int | None
) -> None:
    """The distance of every learner to z, by NumPy in float64; weights and z are left alone."""
    w, _, z, _ = bank(k, n, seed, dtype)
    w[0] = z
    expected = ((w.double() - z.double()).numpy() ** 2).sum(axis=1)
    copies = w.clone(), z.clone()
    actual = squared_distances(w, z, scratch=scratch_of(w, chunk))

    np.testing.assert_allclose(actual, expected, rtol=100 * torch.finfo(dtype).eps)
    assert (tuple(actual.shape), actual.dtype, actual[0].item()) == ((k,), dtype, 0.0)
    assert torch.equal(w, copies[0])
    assert torch.equal(z, copies[1])


@pytest.mark.parametrize("chunk", [None, 100])
@pytest.mark.parametrize("mu_l", [0.0, 0.9])
def test_it_allocates_nothing_and_reads_nothing_back(chunk: int | None, mu_l: float) -> None:
    """Given scratch, every operator writes into a tensor that was passed in, and none returns a number."""
    w, g, z, e = bank(4, 1025, seed=0)
    v = torch.zeros_like(w) if mu_l else None
    scratch = make_scratch(w, chunk_columns=chunk)
    local: dict[str, Any] = {
        "learning_rate": 0.1,
        "weight_decay": 0.01,
        "local_velocity_kn": v,
        "local_momentum": mu_l,
        "scratch": scratch,
    }
    held = [w, g, z, e, *scratch.chunks[0], *([] if v is None else [v])]
    with Allocations(*held) as allocations:
        sma_step(w, g, z, e, alpha=0.1, momentum=0.9, **local)
        easgd_step(w, g, z, alpha=0.1, **local)
        local_step(w, g, **local)
        ssgd_step(w[:1], g[:1], z, e, learning_rate=0.1, momentum=0.9, weight_decay=0.01)
        restart(w, z, e, v)

    assert allocations.operators == []


def test_it_runs_where_no_value_can_be_read() -> None:
    """Tensors on the meta device hold no values, so a rule that looked at one, and made the host wait, would fail."""
    w, g, z, e = (tensor.to("meta") for tensor in bank(3, 33, seed=0))
    sma_step(w, g, z, e, learning_rate=0.1, alpha=0.1, momentum=0.9, weight_decay=0.1)
    easgd_step(w, g, z, learning_rate=0.1, alpha=0.1)
    local_step(w, g, learning_rate=0.1)
    ssgd_step(w[:1], g[:1], z, e, learning_rate=0.1, momentum=0.9)
    restart(w, z, e)

    assert squared_distances(w, z).shape == (3,)


def test_scratch_is_one_chunk_for_small_banks_and_bounded_for_large_ones() -> None:
    """Up to 4 MiB of differences are taken at once; more is cut at multiples of 64 columns."""
    small = make_scratch(torch.empty(32, 26_122, device="meta"))
    assert [difference.shape for difference, _ in small.chunks] == [(32, 26_122)]
    for weights in (torch.empty(3, 1_111_946), torch.empty(3, 1_111_946, dtype=torch.float64)):
        large = make_scratch(weights)
        difference, total = large.chunks[0]
        assert large.chunk_columns % 64 == 0
        assert 3.9 * 2**20 < difference.numel() * weights.element_size() <= 4 * 2**20
        assert sum(difference.shape[1] for difference, _ in large.chunks) == 1_111_946
        assert difference.untyped_storage().nbytes() + total.untyped_storage().nbytes() < 6 * 2**20


def test_rows_of_scratch_are_not_a_power_of_two_apart() -> None:
    """Rows of a chunk of 2^m columns would compete for one set of the cache, so there are 64 bytes more."""
    difference, _ = make_scratch(torch.empty(16, 1_111_946)).chunks[0]

    assert difference.shape[1] == 2**16
    assert difference.stride() == (2**16 + 16, 1)


def test_more_learners_than_fit_still_have_chunks_of_64_columns() -> None:
    """Chunks never shrink below 64 columns, however many learners there are."""
    assert make_scratch(torch.empty(100_000, 1_000, device="cpu", dtype=torch.float16)).chunk_columns == 64
