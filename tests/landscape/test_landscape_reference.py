"""The landscape on the CPU: surfaces, and learners that move as the averaging rules say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from crossbow_lab.averaging import EASGD, SMA, SSGD, Algorithm, LocalSGD, reference
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.landscape import SURFACES, Settings, Surface, begin, simulate, surface
from crossbow_lab.landscape.reference import State

FLAT = Surface(
    "flat",
    loss=lambda x, y: 0.0 * (x + y),
    gradient=lambda x, y: (0.0 * x, 0.0 * y),
    minima=(),
    view=((-1.0, 1.0), (-1.0, 1.0)),
    start=(0.0, 0.0),
    learning_rate=1.0,
)


def scattered(k: int) -> State:
    """Give learners that are apart from each other and from z, and all of them on the move."""
    source = np.random.default_rng(0)
    return State(source.normal(size=(k, 2)), source.normal(size=(k, 2)), source.normal(size=2), source.normal(size=2))


def noise_of(k: int, iterations: int, *, seed: int = 0, batch_size: int = 1) -> np.ndarray:
    """Return what noise learners meet, (iterations, k, 2): on a flat surface they walk by nothing else."""
    settings = Settings(SMA(sync_period=10**9), learning_rate=1.0, noise=2.0, batch_size=batch_size, seed=seed)
    _, trail = simulate(FLAT, begin((0.0, 0.0), k), settings, iterations, record_positions=True)
    assert trail.positions is not None
    return -np.diff(np.concatenate([np.zeros((1, k, 2)), trail.positions]), axis=0)


@pytest.mark.parametrize("name", SURFACES)
def test_gradients_are_the_slopes_of_the_loss(name: str):
    """By central differences, anywhere in view."""
    here, step = surface(name), 1e-5
    (left, right), (low, high) = here.view
    source = np.random.default_rng(1)
    x, y = source.uniform(left, right, 100), source.uniform(low, high, 100)

    slopes = (
        (here.loss(x + step, y) - here.loss(x - step, y)) / (2 * step),
        (here.loss(x, y + step) - here.loss(x, y - step)) / (2 * step),
    )

    np.testing.assert_allclose(here.gradient(x, y), slopes, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SURFACES)
def test_minima_are_where_the_loss_is_least(name: str):
    """No slope, nothing lower in view, and higher all around."""
    here = surface(name)
    (left, right), (low, high) = here.view
    x, y = np.meshgrid(np.linspace(left, right, 301), np.linspace(low, high, 301))
    for minimum in here.minima:
        at = np.array(minimum)
        around = at[:, None] + 1e-3 * np.array([[1, -1, 0, 0, 1, -1], [0, 0, 1, -1, 1, 1]])
        np.testing.assert_allclose(here.gradient(*at), 0.0, atol=1e-8)
        assert left < at[0] < right
        assert low < at[1] < high
        assert here.loss(*at) <= here.loss(x, y).min() + 1e-9
        assert (here.loss(*around) > here.loss(*at)).all()


@pytest.mark.parametrize("name", SURFACES)
def test_gradient_descent_gets_somewhere_from_the_start(name: str):
    """At the suggested learning rate one learner comes down, and stays in view."""
    here = surface(name)

    _, trail = simulate(here, begin(here.start, 1), Settings(SSGD(momentum=0.0), here.learning_rate), 2000)

    (left, right), (low, high) = here.view
    assert trail.centre_losses[-1] < here.loss(*np.array(here.start))
    assert (np.diff(trail.centre_losses) <= 1e-9).mean() > 0.99
    assert ((trail.centres >= [left, low]) & (trail.centres <= [right, high])).all()


def test_a_misspelt_surface_is_answered_with_the_nearest():
    """As every name is."""
    with pytest.raises(ConfigurationError, match=r"no surface 'Rastrigin'; did you mean 'rastrigin'\? Known"):
        surface("Rastrigin")


@pytest.mark.parametrize(
    "algorithm",
    [SMA(), SMA(alpha=0.1, momentum=0.3, local_momentum=0.6, sync_period=3), EASGD(sync_period=2), SSGD(momentum=0.4)],
    ids=str,
)
def test_simulate_equals_the_averaging_reference(algorithm: Algorithm):
    """Step by step, given the same gradients: the rules are those of `crossbow_lab.averaging`."""
    here, k, iterations = surface("himmelblau"), 5, 40
    noise = noise_of(k, iterations)
    settings = Settings(algorithm, learning_rate=0.002, noise=2.0)
    begun = scattered(k)
    gamma, alpha, mu, mu_l, _ = settings.scalars(k)

    _, trail = simulate(here, begun, settings, iterations, record_positions=True)

    z = begun.centre
    state = reference.State(begun.learners, z, z - begun.centre_velocity, begun.velocities)
    single = reference.SSGDState(z, begun.centre_velocity)
    for t in range(iterations):
        if isinstance(algorithm, SSGD):
            g = np.transpose(here.gradient(*single.z)) + noise[t]
            single = reference.ssgd_of_k_gradients(single, g, gamma=gamma, mu=mu)
            w, z = np.tile(single.z, (k, 1)), single.z
        else:
            g = np.transpose(here.gradient(*state.w.T)) + noise[t]
            state = reference.sma(state, g, gamma=gamma, alpha=alpha, mu=mu, tau=algorithm.sync_period, mu_l=mu_l)
            w, z = state.w, state.z
        assert trail.positions is not None
        np.testing.assert_allclose(trail.positions[t], w, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(trail.centres[t], z, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(trail.means[t], w.mean(axis=0), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(trail.centre_losses[t], here.loss(*z), rtol=1e-9)
        np.testing.assert_allclose(trail.mean_losses[t], here.loss(*w.T).mean(), rtol=1e-9)


@pytest.mark.parametrize("algorithm", [SMA(local_momentum=0.5, sync_period=3), EASGD(), SSGD()], ids=str)
def test_a_run_in_parts_equals_a_run_in_one(algorithm: Algorithm):
    """Bit for bit: state and iteration are all that there is to know."""
    here, settings = surface("rastrigin"), Settings(algorithm, 0.002, noise=5.0)
    begun = begin(here.start, 700)

    whole, trail = simulate(here, begun, settings, 100, record_every=7)
    state, trails = begun, []
    for iterations in (1, 6, 7, 2, 34, 50):
        state, part = simulate(here, state, settings, iterations, record_every=7)
        trails.append(part)

    assert state.iteration == whole.iteration == 100
    for name in ("learners", "velocities", "centre", "centre_velocity"):
        assert np.array_equal(getattr(state, name), getattr(whole, name))
    for name in ("iterations", "centres", "means", "centre_losses", "mean_losses"):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in trails]), getattr(trail, name))
    assert trail.iterations.tolist() == list(range(7, 101, 7))


def test_simulate_does_not_depend_on_the_number_of_threads():
    """Noise is made by torch's threads, each number alone."""
    here, settings = surface("rastrigin"), Settings(SMA(), 0.002, noise=5.0)
    threads = torch.get_num_threads()
    ends = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            ends.append(simulate(here, begin(here.start, 10_000), settings, 20)[0])
    finally:
        torch.set_num_threads(threads)

    assert all(np.array_equal(end.learners, ends[0].learners) for end in ends)


def test_simulate_leaves_the_state_as_it_is():
    """A state may be gone back to: scrubbing, or the same seed again."""
    begun = scattered(3)
    before = [begun.learners.copy(), begun.velocities.copy(), begun.centre.copy(), begun.centre_velocity.copy()]

    first, _ = simulate(surface("saddle"), begun, Settings(SMA(), 0.1, noise=1.0), 10)
    second, _ = simulate(surface("saddle"), begun, Settings(SMA(), 0.1, noise=1.0), 10)

    now = [begun.learners, begun.velocities, begun.centre, begun.centre_velocity]
    assert all(np.array_equal(a, b) for a, b in zip(before, now, strict=True))
    assert np.array_equal(first.learners, second.learners)


def test_noise_is_normal_and_shrinks_with_the_batch_size():
    """Mean 0 and standard deviation noise / sqrt(b), within five standard errors; tails as long as they should be."""
    noise = noise_of(500, 200, batch_size=4)
    count = noise.size

    assert abs(noise.mean()) < 5 / count**0.5
    assert abs(noise.std() - 1.0) < 5 / (2 * count) ** 0.5
    assert abs((noise**4).mean() - 3.0) < 5 * (96 / count) ** 0.5
    assert abs((np.abs(noise) > 2.0).mean() - 0.0455) < 5 * (0.0455 / count) ** 0.5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.s_[:, :, 0], np.s_[:, :, 1]),
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[:, :-1, 0], np.s_[:, 1:, 1]),
    ],
    ids=["coordinates", "learners", "iterations", "neighbours' coordinates"],
)
def test_noise_is_independent(one, other):
    """Of the other coordinate, the next learner and the next iteration: no correlation beyond five standard errors."""
    noise = noise_of(500, 200) / 2.0
    products = noise[one] * noise[other]

    assert abs(products.mean()) < 5 / products.size**0.5


def test_noise_is_a_function_of_seed_learner_and_iteration():
    """More learners or a longer run leave it as it was; another seed doesn't."""
    noise = noise_of(40, 50)

    np.testing.assert_allclose(noise_of(3, 50), noise[:, :3], atol=1e-12)
    np.testing.assert_allclose(noise_of(40, 10), noise[:10], atol=1e-12)
    assert not np.allclose(noise_of(40, 50, seed=1), noise)


def test_without_gradients_the_sum_of_all_models_is_conserved():
    """Corrections only move weights from learners to z, if z has no momentum."""
    begun = replace(scattered(6), velocities=np.zeros((6, 2)))

    end, _ = simulate(FLAT, begun, Settings(EASGD(alpha=0.05), 0.5), 25)

    total = begun.learners.sum(axis=0) + begun.centre
    np.testing.assert_allclose(end.learners.sum(axis=0) + end.centre, total, rtol=1e-12)


def test_alpha_is_taken_as_it_is():
    """Beyond its bound learners diverge, silently: that is what one wants to see."""
    assert Settings(SMA(alpha=1.5), 0.1).scalars(8)[1] == 1.5

    end, _ = simulate(surface("himmelblau"), begin((0.0, 0.0), 8), Settings(SMA(alpha=1.5), 0.1, noise=1.0), 300)

    assert not np.isfinite(end.centre).any()


def test_records_hold_positions_only_when_asked():
    """They are most of the memory; without any record they are empty."""
    begun, settings = begin((0.0, 0.0), 3), Settings(SMA(), 0.1)

    assert simulate(FLAT, begun, settings, 4)[1].positions is None
    kept = simulate(FLAT, begun, settings, 4, record_every=2, record_positions=True)[1].positions
    none = simulate(FLAT, begun, settings, 4, record_every=5, record_positions=True)[1]
    assert kept is not None
    assert kept.shape == (2, 3, 2)
    assert none.positions is not None
    assert none.positions.shape == (0, 3, 2)
    assert none.centres.shape == (0, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"learning_rate": -0.1}, r"learning_rate is -0.1; it must be a finite number, at least 0"),
        ({"learning_rate": float("nan")}, r"learning_rate is nan"),
        ({"learning_rate": "0.1"}, r"learning_rate is '0.1'"),
        ({"noise": float("inf")}, r"noise is inf"),
        ({"batch_size": 0}, r"batch_size is 0; it must be a whole number, at least 1"),
        ({"algorithm": LocalSGD()}, r"algorithm is LocalSGD\(.*; learners move on a surface with SMA\(\), EASGD\(\)"),
    ],
)
def test_settings_refuse_what_is_out_of_range(wrong, message):
    """With what was given and what is needed."""
    with pytest.raises(ConfigurationError, match=message):
        Settings(**{"algorithm": SMA(), "learning_rate": 0.1, **wrong})


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: begin((0.0, 0.0), 0), r"n_learners is 0; it must be a whole number, at least 1"),
        (lambda: begin((0.0, 0.0), 1.5), r"n_learners is 1.5"),
        (lambda: begin((0.0, 0.0, 0.0), 1), r"point is \(0.0, 0.0, 0.0\); it must be two numbers, \(x, y\)"),
        (lambda: simulate(FLAT, begin((0.0, 0.0), 1), Settings(SMA(), 0.1), 0), r"iterations is 0"),
        (lambda: simulate(FLAT, begin((0.0, 0.0), 1), Settings(SMA(), 0.1), True), r"iterations is True"),
        (lambda: simulate(FLAT, begin((0.0, 0.0), 1), Settings(SMA(), 0.1), 1, record_every=0), r"record_every is 0"),
    ],
)
def test_simulate_refuses_numbers_out_of_range(refused, message):
    """At least one learner, one iteration, and a record at each one or fewer."""
    with pytest.raises(ConfigurationError, match=message):
        refused()
