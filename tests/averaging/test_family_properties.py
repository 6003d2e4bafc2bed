"""What the papers of the family say of their algorithms, in closed form, held by the torch rules in float64."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossbow_lab.averaging import (
    async_eamsgd_step,
    diloco_step,
    downpour_step,
    eamsgd_step,
    easgd_step,
    hierarchical_sma_step,
    kungfu_sma_step,
    local_sgd_step,
    local_step,
    pair_averaging_step,
    polyak_ruppert_step,
    sma_step,
)
from crossbow_lab.errors import ConfigurationError

quick = settings(max_examples=40, deadline=None)
learners = st.integers(1, 17)
seeds = st.integers(0, 2**32 - 1)
momenta = st.floats(0.0, 0.99)
N = 5


def draw(k: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return random weights, gradients, centre, and its velocity."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(k, N), (k, N), (N,), (N,)]
    w, g, z, e = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return w, g, z, e


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    """Check that two tensors agree to rounding."""
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@given(st.integers(1, 17), st.integers(1, 17), seeds, momenta, st.floats(0.0, 1.0))
@quick
def test_hierarchical_sma_equals_flat_sma(k: int, devices: int, seed: int, mu: float, alpha: float) -> None:
    """For any split of learners over devices, to rounding; on one device to the bit."""
    devices = min(k, devices)
    flat, split = draw(k, seed), draw(k, seed)
    options: dict[str, Any] = {"learning_rate": 0.1, "alpha": alpha, "momentum": mu, "weight_decay": 0.01}
    for _ in range(3):
        sma_step(*flat, **options)
        hierarchical_sma_step(*split, devices=devices, **options)
    for expected, found in zip(flat, split, strict=True):
        close(found, expected)
        assert devices > 1 or torch.equal(found, expected)


@pytest.mark.parametrize("devices", [0, 4])
def test_hierarchical_sma_refuses_devices_without_learners(devices: int) -> None:
    """Each needs one at least."""
    with pytest.raises(ConfigurationError, match=rf"devices is {devices}; with 3 learners it must be from 1 to 3"):
        hierarchical_sma_step(*draw(3, 0), devices=devices, learning_rate=0.1, alpha=0.1, momentum=0.9)


@given(learners, seeds, st.floats(0.0, 1.0))
@quick
def test_eamsgd_without_momentum_is_easgd(k: int, seed: int, alpha: float) -> None:
    """To the bit, also where a velocity is kept that has no weight."""
    expected, found, kept = draw(k, seed), draw(k, seed), draw(k, seed)
    easgd_step(*expected[:3], learning_rate=0.1, alpha=alpha, weight_decay=0.01)
    eamsgd_step(*found[:3], learning_rate=0.1, alpha=alpha, weight_decay=0.01)
    options: dict[str, Any] = {"local_velocity_kn": torch.zeros_like(kept[0]), "local_momentum": 0.0}
    eamsgd_step(*kept[:3], learning_rate=0.1, alpha=alpha, weight_decay=0.01, **options)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[2], expected[2])
    close(kept[0], expected[0])


@pytest.mark.parametrize("step", ["uncoupled", "local"])
@given(seed=seeds, delta=st.floats(0.01, 0.99))
@quick
def test_eamsgd_learners_descend_as_nesterov_of_torch(step: str, seed: int, delta: float) -> None:
    """Uncoupled (alpha = 0), and between synchronisations, a learner is torch's SGD with Nesterov momentum."""
    w, _, z, _ = draw(1, seed)
    parameter, v = w[0].clone().requires_grad_(), torch.zeros_like(w)
    optimiser = torch.optim.SGD([parameter], lr=0.05, momentum=delta, nesterov=True, weight_decay=0.01)
    options: dict[str, Any] = {"learning_rate": 0.05, "local_velocity_kn": v, "local_momentum": delta}
    for _ in range(6):
        optimiser.zero_grad()
        (parameter**4).sum().backward()
        optimiser.step()
        g = 4 * w**3
        if step == "local":
            local_step(w, g, weight_decay=0.01, nesterov=True, **options)
        else:
            eamsgd_step(w, g, z, alpha=0.0, weight_decay=0.01, **options)
    close(w[0], parameter.detach(), 1e-9)


@given(learners, seeds, st.floats(0.0, 1.0), momenta)
@quick
def test_eamsgd_gives_z_what_it_takes_from_learners(k: int, seed: int, alpha: float, delta: float) -> None:
    """Elastic symmetry of the learners themselves, behind the look-ahead: their sum with z grows by velocities."""
    w, g, z, _ = draw(k, seed)
    v = 0.1 * g.flip(0)
    before = (w - delta * v).sum(0) + z
    eamsgd_step(w, g, z, learning_rate=0.1, alpha=alpha, local_velocity_kn=v, local_momentum=delta)
    close((w - delta * v).sum(0) + z, before + v.sum(0))


@given(learners, st.integers(1, 6), seeds, st.floats(0.0, 1.0))
@quick
def test_asynchronous_learners_exchange_once_in_every_period(k: int, period: int, seed: int, alpha: float) -> None:
    """Without gradients each gives up alpha of what then divides it from z, in turn, and z gets all of it."""
    w, g, z, _ = draw(k, seed)
    expected, centre = w.clone(), z.clone()
    for t in range(period):
        async_eamsgd_step(w, 0 * g, z, learning_rate=0.1, alpha=alpha, n_before=t, exchange_period=period)
        for j in [j for j in range(k) if (t + j) % period == 0]:
            gift = alpha * (expected[j] - centre)
            expected[j] -= gift
            centre += gift
        close(z, centre)
    close(w, expected)
    close(w.sum(0) + z, draw(k, seed)[0].sum(0) + draw(k, seed)[2])


@given(seeds, st.floats(0.0, 1.0), momenta)
@quick
def test_one_asynchronous_learner_is_synchronous(seed: int, alpha: float, delta: float) -> None:
    """There is nobody to wait for."""
    (w, g, z, _), (w_sync, _, z_sync, _) = draw(1, seed), draw(1, seed)
    v, v_sync = g.clone(), g.clone()
    options: dict[str, Any] = {"learning_rate": 0.1, "alpha": alpha, "local_momentum": delta, "weight_decay": 0.01}
    async_eamsgd_step(w, g, z, n_before=5, exchange_period=1, local_velocity_kn=v, **options)
    eamsgd_step(w_sync, g, z_sync, local_velocity_kn=v_sync, **options)
    assert torch.equal(w, w_sync)
    assert torch.equal(z, z_sync)


@given(learners, seeds)
@quick
def test_local_sgd_with_a_period_of_one_is_ssgd(k: int, seed: int) -> None:
    """From common weights, z takes a step along the mean gradient, and all learners are there."""
    w, g, z, _ = draw(k, seed)
    w.copy_(z.expand_as(w))
    expected = z - 0.1 * (g.mean(0) + 0.01 * z)
    local_sgd_step(w, g, z, learning_rate=0.1, weight_decay=0.01)
    close(z, expected)
    assert torch.equal(w, z.expand_as(w))


@given(learners, seeds)
@quick
def test_diloco_with_the_plainest_outer_optimiser_is_local_sgd(k: int, seed: int) -> None:
    """With eta = 1 and mu = 0, to the bit, whatever the velocity was."""
    expected, found = draw(k, seed), draw(k, seed)
    for _ in range(3):
        local_sgd_step(*expected[:3], learning_rate=0.1)
        diloco_step(*found, learning_rate=0.1, outer_learning_rate=1.0, momentum=0.0)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[2], expected[2])


@given(learners, seeds, st.floats(0.01, 0.99), st.floats(0.1, 1.5))
@quick
def test_diloco_s_outer_optimiser_is_that_of_torch(k: int, seed: int, mu: float, eta: float) -> None:
    """Z follows torch's SGD with Nesterov momentum on the gradient z − mean of the learners (its Algorithm 1)."""
    w, g, z, e = draw(k, seed)
    e.zero_()
    outer = z.clone().requires_grad_()
    optimiser = torch.optim.SGD([outer], lr=eta, momentum=mu, nesterov=True)
    for _ in range(4):
        outer.grad = outer.detach() - (w - 0.1 * g).mean(0)
        optimiser.step()
        diloco_step(w, g, z, e, learning_rate=0.1, outer_learning_rate=eta, momentum=mu)
        close(z, outer.detach(), 1e-10)


@given(learners, seeds, st.floats(0.0, 1.0))
@quick
def test_polyak_ruppert_s_z_is_the_mean_of_all_means_so_far(k: int, seed: int, alpha: float) -> None:
    """Of w_0 and of the learners' mean after each gradient step."""
    w, g, z, _ = draw(k, seed)
    seen = [z.clone()]
    for i in range(6):
        seen.append((w - 0.1 * g).mean(0))
        polyak_ruppert_step(w, g, z, learning_rate=0.1, alpha=alpha, n_before=i)
        close(z, torch.stack(seen).mean(0))


@given(seeds)
@quick
def test_polyak_ruppert_with_one_learner_only_watches(seed: int) -> None:
    """With alpha = 0 the learner's bits are those of plain SGD."""
    (w, g, z, _), plain = draw(1, seed), draw(1, seed)[0]
    for i in range(3):
        local_step(plain, g, learning_rate=0.1)
        polyak_ruppert_step(w, g, z, learning_rate=0.1, alpha=0.0, n_before=i)
    assert torch.equal(w, plain)


@given(learners, seeds, st.floats(0.0, 1.0))
@quick
def test_kungfu_keeps_the_mean_and_draws_learners_to_it(k: int, seed: int, alpha: float) -> None:
    """The mean takes a step along the mean gradient; without one, deviations shrink by 1 − alpha."""
    w, g, z, _ = draw(k, seed)
    mean, deviations = w.mean(0), w - w.mean(0)
    kungfu_sma_step(w, 0 * g, z, learning_rate=0.1, alpha=alpha)
    close(w - w.mean(0), (1 - alpha) * deviations)
    kungfu_sma_step(w, g, z, learning_rate=0.1, alpha=alpha)
    close(w.mean(0), mean - 0.1 * g.mean(0))
    close(z, w.mean(0))


@given(learners, st.integers(0, 40), seeds)
@quick
def test_pairs_agree_and_keep_the_mean(k: int, t: int, seed: int) -> None:
    """Without gradients both of a pair hold the same bits afterwards, and the mean of all stays."""
    w, g, z, _ = draw(k, seed)
    before = w.clone()
    pair_averaging_step(w, 0 * g, z, learning_rate=0.1, n_before=t)
    for j in range(k):
        peer = (t - j) % k
        close(w[j], (before[j] + before[peer]) / 2)
        assert (t - peer) % k == j
    close(w.mean(0), before.mean(0))
    close(z, before.mean(0))


@pytest.mark.parametrize("k", [2, 3, 4, 7, 8])
def test_in_k_rounds_every_learner_meets_every_other_once(k: int) -> None:
    """And itself, that is, nobody, once; so all come to agree."""
    met = {(j, (t - j) % k) for t in range(k) for j in range(k)}

    assert len(met) == k * k
    w, g, z, _ = draw(k, 0)
    spread = [float((w - w.mean(0)).square().sum())]
    for t in range(4 * k):
        pair_averaging_step(w, 0 * g, z, learning_rate=0.1, n_before=t)
        spread.append(float((w - w.mean(0)).square().sum()))
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in itertools.pairwise(spread))
    assert spread[-1] < 1e-2 * spread[0]


@given(learners, seeds)
@quick
def test_hogwild_is_sgd_with_gradients_that_are_k_minus_1_writes_old(k: int, seed: int) -> None:
    """On a quadratic, z follows z_s+1 = z_s − γ A z_s−k+1 write by write."""
    diagonal = torch.rand(N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    z = draw(1, seed)[2]
    w, writes = z.repeat(k, 1), [z.clone()]
    for i in range(4):
        for _ in range(k):
            writes.append(writes[-1] - 0.05 * diagonal * writes[max(0, len(writes) - k)])
        downpour_step(w, diagonal * w, z, learning_rate=0.05, n_before=i)
        close(z, writes[-1])
        close(w, torch.stack(writes[-k:]))


@given(st.integers(1, 9), st.integers(1, 6), seeds)
@quick
def test_downpour_s_learners_fetch_once_in_every_period(k: int, period: int, seed: int) -> None:
    """In turn; in between they go on with their own steps, and every gradient reaches z at once."""
    w, _, z, _ = draw(k, seed)
    zeros, fetched = torch.zeros_like(w), np.zeros(k, dtype=int)
    for t in range(period):
        w.copy_(torch.arange(1, k + 1)[:, None].expand(k, N))
        z.fill_(100.0)
        downpour_step(w, zeros, z, learning_rate=0.1, n_before=t, fetch_period=period)
        fetched += (w[:, 0] == 100.0).numpy()
    assert fetched.tolist() == [1] * k
    w, g, z, _ = draw(k, seed)
    before = z.clone()
    downpour_step(w, g, z, learning_rate=0.1, n_before=0, fetch_period=period)
    close(z, before - 0.1 * g.sum(0))


@given(seeds)
@quick
def test_one_hogwild_learner_is_plain_sgd(seed: int) -> None:
    """Nobody writes in between, so nothing is stale."""
    w, g, z, _ = draw(1, seed)
    w[0] = z
    expected = z - 0.1 * (g[0] + 0.01 * z)
    downpour_step(w, g, z, learning_rate=0.1, n_before=0, weight_decay=0.01)
    close(z, expected)
    assert torch.equal(w[0], z)


@pytest.mark.parametrize(
    ("step", "options", "words"),
    [
        (
            polyak_ruppert_step,
            {"alpha": 0.1, "n_before": -1},
            "n_before is -1; it must be a whole number of at least 0",
        ),
        (pair_averaging_step, {"n_before": 1.5}, "n_before is 1.5"),
        (
            downpour_step,
            {"n_before": 0, "fetch_period": 0},
            "fetch_period is 0; it must be a whole number of at least 1",
        ),
        (kungfu_sma_step, {"alpha": -0.1}, "alpha is -0.1"),
        (async_eamsgd_step, {"alpha": 0.1, "n_before": 0, "exchange_period": 0}, "exchange_period is 0"),
        (local_sgd_step, {"local_momentum": 0.5}, "there is no local_velocity_kn"),
    ],
)
def test_options_outside_their_range_are_refused(step: Any, options: dict[str, Any], words: str) -> None:
    """Before anything is written."""
    w, g, z, _ = draw(3, 0)
    with pytest.raises(ConfigurationError, match=words):
        step(w, g, z, learning_rate=0.1, **options)
    assert torch.equal(w, draw(3, 0)[0])


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (eamsgd_step, {"alpha": 0.1}),
        (async_eamsgd_step, {"alpha": 0.1, "n_before": 0, "exchange_period": 2}),
        (local_sgd_step, {}),
        (polyak_ruppert_step, {"alpha": 0.1, "n_before": 0}),
        (kungfu_sma_step, {"alpha": 0.1}),
        (pair_averaging_step, {"n_before": 0}),
        (downpour_step, {"n_before": 0}),
    ],
)
def test_tensors_that_do_not_fit_are_refused(step: Any, options: dict[str, Any]) -> None:
    """Gradients or a centre of another shape, and weights that are no bank."""
    w, g, z, _ = draw(3, 0)
    for tensors, words in (
        ((w, g[:2], z), "gradients"),
        ((w, g, z[:2]), "centre_n"),
        ((w[0], g, z), "need \\(k, n\\)"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            step(*tensors, learning_rate=0.1, **options)
