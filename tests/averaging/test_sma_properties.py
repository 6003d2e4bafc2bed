"""Truths about SMA, EA-SGD and S-SGD in closed form, held by `reference` and by `rules` alike.

Sources: the invariants follow from Algorithm 1; the bound and the table of spectral radii were derived beside it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crossbow_lab.averaging import alpha_bound, easgd_step, reference, sma_step

Array = NDArray[np.float64]


class Averaged(NamedTuple):
    """Learners' weights, central average model and its last increment."""

    w: Array
    z: Array
    e: Array


Step = Callable[..., Averaged]


def by_reference(w: Array, g: Array, z: Array, e: Array, *, gamma: float, alpha: float, mu: float) -> Averaged:
    """Take one iteration of SMA with `reference`."""
    state = reference.State(w=w, z=z, z_prev=z - e, v=np.zeros_like(w))
    new = reference.sma(state, g, gamma=gamma, alpha=alpha, mu=mu)
    return Averaged(new.w, new.z, new.z - new.z_prev)


def by_rules(w: Array, g: Array, z: Array, e: Array, *, gamma: float, alpha: float, mu: float) -> Averaged:
    """Take one iteration of SMA with `rules`, in float64."""
    tensors = [torch.tensor(array) for array in (w, g, z, e)]
    sma_step(*tensors, learning_rate=gamma, alpha=alpha, momentum=mu)
    return Averaged(tensors[0].numpy(), tensors[2].numpy(), tensors[3].numpy())


both = pytest.mark.parametrize("step", [by_reference, by_rules])
quick = settings(max_examples=40, deadline=None)
learners = st.integers(1, 33)
seeds = st.integers(0, 2**32 - 1)
momenta = st.floats(0.0, 0.99)
alphas = st.floats(0.0, 1.0)


def draw(k: int, n: int, seed: int) -> tuple[Array, Array, Array, Array]:
    """Return random weights, gradients, centre and last increment."""
    random = np.random.default_rng(seed)
    return (
        random.standard_normal((k, n)),
        random.standard_normal((k, n)),
        random.standard_normal(n),
        random.standard_normal(n),
    )


def close(actual: Array, expected: Array, tolerance: float = 1e-12) -> None:
    """Check that two arrays agree to rounding."""
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@both
@given(learners, seeds, alphas, momenta)
@quick
def test_sum_of_all_models_changes_by_gradients_and_momentum_alone(
    step: Step, k: int, seed: int, alpha: float, mu: float
) -> None:
    """Elastic symmetry: what corrections take from learners they give to z, whatever alpha."""
    w, g, z, e = draw(k, 5, seed)
    new = step(w, g, z, e, gamma=0.1, alpha=alpha, mu=mu)

    close(new.w.sum(axis=0) + new.z, w.sum(axis=0) + z - 0.1 * g.sum(axis=0) + mu * e)


@both
@given(learners, seeds)
@quick
def test_centre_is_the_mean_of_the_replicas(step: Step, k: int, seed: int) -> None:
    """With alpha = 1/k and no central momentum, z becomes the mean of the weights before the step."""
    w, g, z, e = draw(k, 5, seed)

    close(step(w, g, z, e, gamma=0.1, alpha=1 / k, mu=0.0).z, w.mean(axis=0))


@both
@given(learners, seeds, alphas, momenta)
@quick
def test_identical_replicas_are_not_corrected(step: Step, k: int, seed: int, alpha: float, mu: float) -> None:
    """Learners that equal z take their gradient step alone, and z moves by its momentum: it lags one iteration."""
    _, g, z, e = draw(k, 5, seed)
    w = np.tile(z, (k, 1))
    new = step(w, g, z, e, gamma=0.1, alpha=alpha, mu=mu)

    close(new.w, w - 0.1 * g)
    close(new.z, z + mu * e)


@both
@given(learners, seeds, alphas, momenta)
@quick
def test_differences_between_learners_shrink_by_one_minus_alpha(
    step: Step, k: int, seed: int, alpha: float, mu: float
) -> None:
    """Without gradients any two learners approach each other at rate 1 − alpha, whatever z does."""
    w, g, z, e = draw(k, 5, seed)
    new = step(w, 0 * g, z, e, gamma=0.1, alpha=alpha, mu=mu)

    close(new.w - new.w[0], (1 - alpha) * (w - w[0]))


@both
@given(learners, seeds, alphas)
@quick
def test_summed_deviation_is_multiplied_by_one_minus_alpha_k_plus_one(
    step: Step, k: int, seed: int, alpha: float
) -> None:
    """Without gradients and central momentum, the sum of w_j − z is multiplied by 1 − alpha (k + 1)."""
    w, g, z, e = draw(k, 5, seed)
    new = step(w, 0 * g, z, e, gamma=0.1, alpha=alpha, mu=0.0)

    close((new.w - new.z).sum(axis=0), (1 - alpha * (k + 1)) * (w - z).sum(axis=0), 1e-11)


@both
@given(st.integers(2, 33), seeds, alphas, momenta)
@quick
def test_permuting_learners_permutes_the_result(step: Step, k: int, seed: int, alpha: float, mu: float) -> None:
    """No learner is special: in another order each goes where it would have gone, and z is the same."""
    w, g, z, e = draw(k, 5, seed)
    order = np.random.default_rng(seed).permutation(k)
    new = step(w, g, z, e, gamma=0.1, alpha=alpha, mu=mu)
    permuted = step(w[order], g[order], z, e, gamma=0.1, alpha=alpha, mu=mu)

    close(permuted.w, new.w[order])
    close(permuted.z, new.z)


@both
@given(learners, seeds)
@quick
def test_alpha_zero_gives_independent_learners(step: Step, k: int, seed: int) -> None:
    """Without corrections each learner is plain SGD, and z rests."""
    w, g, z, e = draw(k, 5, seed)
    new = step(w, g, z, 0 * e, gamma=0.1, alpha=0.0, mu=0.9)

    close(new.w, w - 0.1 * g, 1e-15)
    assert new.z.tolist() == z.tolist()


@both
@given(learners, seeds, st.floats(1e-9, 1e-6), momenta)
@quick
def test_vanishing_alpha_uncouples_the_learners(step: Step, k: int, seed: int, alpha: float, mu: float) -> None:
    """As alpha goes to 0, learners become independent, and their pull on z goes to 0 with k alpha."""
    w, g, z, e = draw(k, 5, seed)
    new = step(w, g, z, e, gamma=0.1, alpha=alpha, mu=mu)
    reach = np.abs(w - z).max()

    assert np.abs(new.w - (w - 0.1 * g)).max() <= alpha * reach + 1e-14
    assert np.abs(new.z - (z + mu * e)).max() <= k * alpha * reach + 1e-14


@both
def test_one_learner_with_alpha_one_swaps_with_the_centre(step: Step) -> None:
    """With alpha = 1 the two models never meet, which is why it is refused for one learner."""
    new = step(np.array([[1.0]]), np.zeros((1, 1)), np.array([5.0]), np.zeros(1), gamma=0.1, alpha=1.0, mu=0.0)

    assert (new.w.tolist(), new.z.tolist()) == ([[5.0]], [1.0])


@both
@given(seeds)
@quick
def test_one_learner_with_alpha_one_half_meets_the_centre_halfway(step: Step, seed: int) -> None:
    """The default for one learner joins replica and centre at their mean in one step."""
    w, g, z, e = draw(1, 5, seed)
    new = step(w, 0 * g, z, e, gamma=0.1, alpha=0.5, mu=0.0)

    close(new.w[0], (w[0] + z) / 2)
    close(new.z, (w[0] + z) / 2)


@both
@given(st.integers(1, 8), st.integers(1, 6), seeds, alphas, momenta)
@quick
def test_hierarchical_sum_equals_flat(
    step: Step, n_devices: int, most: int, seed: int, alpha: float, mu: float
) -> None:
    """Corrections summed per device, then over devices, give what one sum over all learners gives.

    A device's own sum is what EA-SGD adds to its copy of z, whatever number of learners each device has.
    """
    per_device = np.random.default_rng(seed).integers(1, most + 1, n_devices)
    w, g, z, e = draw(int(per_device.sum()), 5, seed)
    flat = step(w, g, z, e, gamma=0.1, alpha=alpha, mu=mu)
    total = np.zeros_like(z)
    replicas = []
    for rows in np.split(np.arange(len(w)), per_device.cumsum()[:-1]):
        on_device, copy_of_z = torch.tensor(w[rows]), torch.tensor(z)
        easgd_step(on_device, torch.tensor(g[rows]), copy_of_z, learning_rate=0.1, alpha=alpha)
        total += copy_of_z.numpy() - z
        replicas.append(on_device.numpy())

    close(np.concatenate(replicas), flat.w)
    close(z + mu * e + total, flat.z)


def linear_map(step: Step, k: int, alpha: float, mu: float) -> Array:
    """Return the matrix that one iteration without gradients applies to (w_1..w_k, z, e).

    Each parameter of the bank is one unit vector of that space, so a single step shows all columns.
    """
    unit = np.eye(k + 2)
    new = step(unit[:k], np.zeros((k, k + 2)), unit[k], unit[k + 1], gamma=0.1, alpha=alpha, mu=mu)
    return np.vstack([new.w, new.z, new.e])


def deviation_map(step: Step, k: int, alpha: float, mu: float) -> Array:
    """Return the matrix that one iteration without gradients applies to (w_1 − z..w_k − z, e)."""
    matrix = linear_map(step, k, alpha, mu)
    deviations = np.vstack([matrix[:k] - matrix[k], matrix[k + 1]])
    return np.delete(deviations, k, axis=1)


def mean_mode(step: Step, k: int, alpha: float, mu: float) -> Array:
    """Return the matrix that one iteration applies to (d, e) when every w_j − z is d."""
    matrix = deviation_map(step, k, alpha, mu)
    return np.array([[row[:k].sum(), row[k]] for row in (matrix[0], matrix[k])])


def spectral_radius(matrix: Array) -> float:
    """Return the largest modulus among a matrix's eigenvalues."""
    return float(np.abs(np.linalg.eigvals(matrix)).max())


@both
@given(st.integers(1, 16), st.floats(0.01, 1.2), momenta)
@quick
def test_its_eigenvalues_are_those_of_the_closed_form(step: Step, k: int, alpha: float, mu: float) -> None:
    """Consensus rests (1), differences contract (1 − alpha), the mean mode follows its 2 by 2 matrix."""
    actual = np.linalg.eigvals(linear_map(step, k, alpha, mu))
    by_hand = np.array([[1 - alpha - k * alpha, -mu], [k * alpha, mu]])
    close(mean_mode(step, k, alpha, mu), by_hand)
    expected = np.concatenate([[1.0], np.full(k - 1, 1 - alpha), np.linalg.eigvals(by_hand)])
    distances = np.abs(actual[:, None] - expected[None, :])

    assert distances.min(axis=0).max() < 1e-5
    assert distances.min(axis=1).max() < 1e-5


@both
@pytest.mark.parametrize(("k", "radius"), [(2, 0.671), (4, 0.822), (8, 0.887), (16, 0.919), (32, 0.934), (64, 0.941)])
def test_consensus_is_reached_at_the_rates_of_the_table(step: Step, k: int, radius: float) -> None:
    """With alpha = 1/k and central momentum 0.9 the mean mode contracts at the known spectral radius.

    The learners' differences contract at 1 − 1/k, so from k = 16 on these decide when all agree.
    """
    assert radius == pytest.approx(spectral_radius(mean_mode(step, k, 1 / k, 0.9)), abs=6e-4)
    slowest = spectral_radius(deviation_map(step, k, 1 / k, 0.9))
    assert max(radius, 1 - 1 / k) == pytest.approx(slowest, abs=6e-4)


@both
@given(st.integers(1, 64), momenta)
@quick
def test_the_stability_bound_is_sharp(step: Step, k: int, mu: float) -> None:
    """Just inside the bound deviations die out, just outside they grow, and at half the bound they die out too."""
    bound = alpha_bound(k, mu)

    assert spectral_radius(deviation_map(step, k, 0.5 * bound, mu)) < 1
    assert spectral_radius(deviation_map(step, k, (1 - 1e-4) * bound, mu)) < 1
    assert spectral_radius(deviation_map(step, k, (1 + 1e-4) * bound, mu)) > 1


@both
@pytest.mark.parametrize(("k", "mu"), [(1, 0.0), (3, 0.0), (4, 0.9), (16, 0.9)])
def test_a_run_without_gradients_converges_inside_the_bound_and_diverges_outside(step: Step, k: int, mu: float) -> None:
    """What the eigenvalues say happens in three hundred iterations too."""
    reach = {}
    for share in (0.95, 1.05):
        w, g, z, e = draw(k, 3, seed=k)
        for _ in range(300):
            w, z, e = step(w, 0 * g, z, e, gamma=0.1, alpha=share * alpha_bound(k, mu), mu=mu)
        reach[share] = np.abs(w - z).max()

    assert reach[0.95] < 0.01
    assert reach[1.05] > 100


@given(learners, seeds, momenta, st.floats(0.0, 0.1))
@quick
def test_ssgd_of_k_gradients_is_one_replica_on_the_aggregate_batch(k: int, seed: int, mu: float, lam: float) -> None:
    """Averaging k gradients and training one replica on their mean is the same, over several iterations."""
    random = np.random.default_rng(seed)
    one = many = reference.ssgd_start(random.standard_normal(5))
    for _ in range(5):
        g = random.standard_normal((k, 5))
        many = reference.ssgd_of_k_gradients(many, g, gamma=0.1, mu=mu, lam=lam)
        one = reference.ssgd(one, g.mean(axis=0), gamma=0.1, mu=mu, lam=lam)

    close(many.z, one.z)
    close(many.v, one.v)


@given(learners, seeds, st.integers(1, 5), momenta)
@quick
def test_easgd_is_sma_without_central_momentum(k: int, seed: int, tau: int, mu_l: float) -> None:
    """With mu = 0 the two algorithms go the same way, whatever the period and local momentum."""
    w, g, _, _ = draw(k, 5, seed)
    sma = easgd = reference.start(w[0], k)
    for _ in range(7):
        sma = reference.sma(sma, g, gamma=0.1, alpha=0.9 / k, mu=0.0, tau=tau, mu_l=mu_l)
        easgd = reference.easgd(easgd, g, gamma=0.1, alpha=0.9 / k, tau=tau, mu_l=mu_l)

    close(easgd.w, sma.w)
    close(easgd.z, sma.z)


@given(learners, seeds, st.integers(2, 5))
@quick
def test_central_momentum_acts_once_per_synchronisation(k: int, seed: int, tau: int) -> None:
    """Between synchronisations z rests; at one, it moves by mu times its move at the one before, plus corrections."""
    _, g, z, _ = draw(k, 5, seed)
    state = reference.start(z, k)
    for iteration in range(1, 3 * tau + 1):
        before = state
        state = reference.sma(state, g, gamma=0.1, alpha=1 / (k + 1), mu=0.9, tau=tau)
        if iteration % tau:
            assert state.z is before.z
            assert state.z_prev is before.z_prev
            close(state.w, before.w - 0.1 * g)
        else:
            pull = (before.w - before.z).sum(axis=0) / (k + 1)
            close(state.z - before.z, pull + 0.9 * (before.z - before.z_prev))


@given(learners, seeds)
@quick
def test_a_restart_begins_again_from_the_centre(k: int, seed: int) -> None:
    """After a restart the run is the run that starts at z, period and momenta included."""
    w, g, _, _ = draw(k, 5, seed)
    options: dict[str, Any] = {"gamma": 0.1, "alpha": 1 / (k + 1), "mu": 0.9, "mu_l": 0.5}
    state = reference.start(w[0], k)
    for _ in range(3):
        state = reference.sma(state, g, **options, tau=2)
    restarted, fresh = reference.restart(state), reference.start(state.z, k)

    assert all((row == state.z).all() for row in restarted.w)
    for _ in range(4):
        restarted = reference.sma(restarted, g, **options, tau=2)
        fresh = reference.sma(fresh, g, **options, tau=2)
    assert (restarted.w == fresh.w).all()
    assert (restarted.z == fresh.z).all()


@given(learners, seeds)
@quick
def test_a_learner_that_joins_starts_at_the_centre_and_one_that_leaves_takes_nothing(k: int, seed: int) -> None:
    """Joining and leaving again, without gradients in between, disturbs neither z nor the others."""
    w, _, z, e = draw(k, 5, seed)
    state = reference.State(w=w, z=z, z_prev=z - e, v=w.copy())
    joined = reference.add_learner(state)

    assert (joined.w[-1] == z).all()
    assert not joined.v[-1].any()
    left = reference.remove_learner(joined, k)
    for name in ("w", "z", "z_prev", "v"):
        assert (getattr(left, name) == getattr(state, name)).all()
    quiet: dict[str, Any] = {"gamma": 0.1, "alpha": 1 / (k + 1), "mu": 0.9}
    with_it = reference.sma(joined, np.zeros((k + 1, 5)), **quiet)
    without_it = reference.sma(state, np.zeros((k, 5)), **quiet)
    close(with_it.w[:-1], without_it.w)
    close(with_it.z, without_it.z)
    assert (with_it.w[-1] == z).all()
