"""The family's torch rules equal their NumPy twins, and keep what all rules promise: bits, memory, no waiting."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from averaging_banks import Allocations, padded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossbow_lab.averaging import (
    EAMSGD,
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
    Rows,
    explore,
    local_momentum,
    make_scratch,
    restart,
    sync_period_at,
    synchronise,
)
from crossbow_lab.averaging.family_reference import begin, iterate

SIZES = [1, 31, 33, 1025]
CHUNKS = [None, 31, 64, 1000]
FAMILY: list[Algorithm] = [
    HierarchicalSMA(devices=1, momentum=0.5),
    HierarchicalSMA(devices=2, local_momentum=0.5),
    EAMSGD(),
    EAMSGD(local_momentum=0.0),
    AsyncEAMSGD(exchange_period=3),
    LocalSGD(sync_period=1),
    LocalSGD(local_momentum=0.9, sync_period=3),
    DiLoCo(sync_period=2, local_momentum=0.5),
    PolyakRuppert(),
    PolyakRuppert(alpha=0.3, local_momentum=0.5, sync_period=2),
    KungFuSMA(local_momentum=0.5),
    PairAveraging(),
    PairAveraging(local_momentum=0.5),
    Downpour(fetch_period=3),
    Hogwild(),
]


def rows_of(w: Tensor, g: Tensor, z: Tensor, *, chunk: int | None = None, padding: int = 0) -> Rows:
    """Return what an update works on, momenta at zero."""
    velocity = padded(torch.zeros_like(w), padding, w.dtype) if padding else torch.zeros_like(w)
    return Rows(w, g, z, torch.zeros_like(z), velocity, make_scratch(w, chunk_columns=chunk))


@pytest.mark.parametrize("algorithm", FAMILY, ids=repr)
@given(
    k=st.integers(1, 17),
    n=st.sampled_from(SIZES),
    chunk=st.sampled_from(CHUNKS),
    seed=st.integers(0, 2**32 - 1),
    padding=st.sampled_from([0, 1, 31]),
    lam=st.sampled_from([0.0, 0.01]),
)
@settings(max_examples=25, deadline=None)
def test_it_equals_the_reference(
    algorithm: Algorithm, k: int, n: int, chunk: int | None, seed: int, padding: int, lam: float
) -> None:
    """In float64, nine iterations with a restart after the fifth agree to 1e-12, whatever the options."""
    k = max(k, getattr(algorithm, "devices", 1))
    random = np.random.default_rng(seed)
    state = begin(random.standard_normal(n), k)
    rows = rows_of(padded(state.inner.w, padding), None, torch.tensor(state.inner.z), chunk=chunk, padding=padding)  # type: ignore[arg-type]
    since = synchronisations = 0
    for iteration in range(1, 10):
        g = random.standard_normal((k, n))
        rows = replace(rows, gradients=padded(g, padding))
        state = iterate(algorithm, state, g, gamma=0.1, lam=lam)
        since += 1
        if since < sync_period_at(algorithm, 0.0):
            explore(algorithm, rows, learning_rate=0.1, weight_decay=lam)
        else:
            synchronise(algorithm, rows, learning_rate=0.1, weight_decay=lam, n_before=synchronisations)
            since, synchronisations = 0, synchronisations + 1
        assert np.array_equal(rows.gradients, g)
        if iteration == 5:
            state = begin(state.inner.z, k)
            restart(rows.weights, rows.centre, rows.centre_velocity, rows.local_velocity)
            since = synchronisations = 0
        np.testing.assert_allclose(rows.weights, state.inner.w, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(rows.centre, state.inner.z, rtol=1e-12, atol=1e-12)
        if local_momentum(algorithm):
            np.testing.assert_allclose(rows.local_velocity, state.inner.v, rtol=1e-12, atol=1e-12)
        if isinstance(algorithm, DiLoCo):
            np.testing.assert_allclose(rows.centre_velocity, state.e, rtol=1e-12, atol=1e-12)


def drawn(k: int, n: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Return random weights, gradients and centre, always the same."""
    generator = torch.Generator().manual_seed(k)
    w, g, z = (torch.randn(shape, generator=generator).to(dtype) for shape in ((k, n), (k, n), (n,)))
    return w, g, z


@pytest.mark.parametrize("algorithm", FAMILY, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("k", [2, 3, 7])
def test_nothing_moves_after_a_restart_without_gradients(algorithm: Algorithm, dtype: torch.dtype, k: int) -> None:
    """All differences are exactly zero then: weights and z keep their bits over several iterations."""
    w, g, z = drawn(k, 1025, dtype)
    rows, before = rows_of(w, 0 * g, z, chunk=100), z.clone()
    restart(w, z, rows.centre_velocity, rows.local_velocity)
    for i in range(4):
        synchronise(algorithm, rows, learning_rate=0.1, weight_decay=0.0, n_before=i)
        explore(algorithm, rows, learning_rate=0.1, weight_decay=0.0)

    assert torch.equal(z, before)
    assert torch.equal(w, before.expand(k, -1))


@pytest.mark.parametrize("algorithm", FAMILY, ids=repr)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_chunks_do_not_change_a_bit(algorithm: Algorithm, n_threads: int) -> None:
    """In float32, chunks of any multiple of 64 columns give the weights and z that one chunk gives."""
    results = []
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        for chunk in (64, 1024, 10_000):
            rows = rows_of(*drawn(5, 5_000), chunk=chunk)
            for i in range(2):
                synchronise(algorithm, rows, learning_rate=0.1, weight_decay=0.01, n_before=i)
            results.append((rows.weights, rows.centre))
    finally:
        torch.set_num_threads(before)
    first_w, first_z = results[0]

    assert all(torch.equal(first_w, w) and torch.equal(first_z, z) for w, z in results)


@pytest.mark.parametrize("algorithm", FAMILY, ids=repr)
def test_it_allocates_nothing_and_reads_nothing_back(algorithm: Algorithm) -> None:
    """Every operator writes into a tensor that was passed in, and none returns a number."""
    rows = rows_of(*drawn(4, 1025), chunk=100)
    held = [rows.weights, rows.gradients, rows.centre, rows.centre_velocity, rows.local_velocity]
    with Allocations(*held, *rows.scratch.chunks[0]) as allocations:
        synchronise(algorithm, rows, learning_rate=0.1, weight_decay=0.01, n_before=3)
        explore(algorithm, rows, learning_rate=0.1, weight_decay=0.01)

    assert allocations.operators == []


@pytest.mark.parametrize("algorithm", FAMILY, ids=repr)
def test_it_runs_where_no_value_can_be_read(algorithm: Algorithm) -> None:
    """Tensors on the meta device hold no values, so a rule that looked at one, and made the host wait, would fail."""
    rows = rows_of(*(tensor.to("meta") for tensor in drawn(3, 33)))
    synchronise(algorithm, rows, learning_rate=0.1, weight_decay=0.01, n_before=0)
    explore(algorithm, rows, learning_rate=0.1, weight_decay=0.01)


@pytest.mark.parametrize("algorithm", FAMILY, ids=repr)
def test_it_leaves_padding_alone(algorithm: Algorithm) -> None:
    """Rows of a wider array are updated up to n, and not one element further."""
    w, g, z = drawn(3, 33, torch.float64)
    rows = rows_of(padded(w, 31), g, z, padding=31)
    synchronise(algorithm, rows, learning_rate=0.1, weight_decay=0.01, n_before=1)
    wide = rows.weights.as_strided((3, 64), (64, 1))

    assert wide[:, 33:].isnan().all()
    assert not wide[:, :33].isnan().any()
