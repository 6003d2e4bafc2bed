"""The lab: it runs, goes back, branches, and is the same again from the same seed."""

import math

import numpy as np
import pytest
import torch

import crossbow_lab as cb
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.landscape import SURFACES, Landscape, Settings, begin, simulate, surface, surface_of
from crossbow_lab.landscape import course as courses

ALGORITHMS = [
    cb.SMA(),
    cb.SMA(alpha=0.1, momentum=0.3, local_momentum=0.6, sync_period=3),
    cb.EASGD(sync_period=2),
    cb.SSGD(momentum=0.4),
]


def assert_same(one: Landscape, other: Landscape) -> None:
    """Two landscapes are in one state, to the bit, and have one history."""
    for name in ("learners", "velocities", "centre", "centre_velocity"):
        assert np.array_equal(getattr(one.state, name), getattr(other.state, name)), name
    assert one.history.equals(other.history)
    assert one.events.equals(other.events)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
@pytest.mark.parametrize("name", SURFACES)
def test_it_runs_what_the_reference_does(name, algorithm):
    """In steps of any size, to the bit; and the history is the reference's trail."""
    here = surface(name)
    settings = Settings(algorithm, here.learning_rate, here.noise, batch_size=2, seed=5)
    state, trail = simulate(here, begin(here.start, 6), settings, 100)

    lab = Landscape(name, algorithm, learners=6, batch_size=2, seed=5).run(1).step().run(98)

    assert np.array_equal(lab.state.learners, state.learners)
    assert np.array_equal(lab.history[["z_x", "z_y"]], trail.centres)
    assert np.array_equal(lab.history.loss_at_z, trail.centre_losses)
    assert np.array_equal(lab.history.mean_loss, trail.mean_losses)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
def test_the_next_iteration_taken_apart_is_the_next_iteration(algorithm):
    """Parts add up to what happens, whether it synchronises or not."""
    lab = Landscape("himmelblau", algorithm, learners=5, seed=2).run(20)
    for _ in range(6):
        one = lab.next_iteration()
        after = lab.step().state
        assert np.array_equal(one.after.learners, after.learners)
        assert np.array_equal(one.after.centre, after.centre)
        moved = one.before.centre + one.centre_step + one.centre_momentum
        np.testing.assert_allclose(moved if one.synchronises else one.before.centre, after.centre, rtol=1e-12)
        if not isinstance(algorithm, cb.SSGD):
            own = one.before.learners + one.steps - one.corrections
            np.testing.assert_allclose(own, after.learners, rtol=1e-12, atol=1e-12)


def busy(lab: Landscape) -> Landscape:
    """Do a bit of everything."""
    lab.run(37).adjust(learners=9).run(20).drop_learning_rate().run(11).restart_averaging().run(5)
    return lab.adjust(sync_period=4, alpha=0.3).run(7).drop_learning_rate(0.5).run(30).adjust(learners=4).run(10)


def test_same_seed_and_same_adjustments_give_the_same_bits():
    """Another seed doesn't; a reset begins again."""
    first, second = busy(Landscape("himmelblau", seed=3)), busy(Landscape("himmelblau", seed=3))
    assert_same(first, second)

    assert not np.array_equal(busy(Landscape("himmelblau", seed=4)).state.learners, first.state.learners)
    settings = first.settings
    first.reset()
    assert (first.iteration, first.head, len(first.events), first.settings) == (0, 0, 0, settings)
    assert first.reset(seed=8).seed == 8


def test_every_recorded_iteration_can_be_gone_back_to(monkeypatch):
    """To the bit, though few states are kept; going on from there goes through what is recorded."""
    monkeypatch.setattr(courses, "_MOST_STATES", 3)
    lab = busy(Landscape("himmelblau", seed=1))
    seen = {}
    for at in (0, 1, 36, 37, 57, 58, 68, 73, 80, 84, 110, 120):
        seen[at] = lab.seek(at).state
        assert lab.head == 120
    monkeypatch.undo()
    fresh = busy(Landscape("himmelblau", seed=1))
    for at, state in seen.items():
        assert np.array_equal(fresh.seek(at).state.learners, state.learners), at
        assert np.array_equal(fresh.state.centre_velocity, state.centre_velocity), at
    assert len(seen[36].learners) == 8
    assert len(seen[37].learners) == len(seen[84].learners) == 9
    assert (seen[68].learners == seen[68].centre).all()
    lab.seek(30).run(90)
    assert_same(lab, busy(Landscape("himmelblau", seed=1)))


def test_what_is_adjusted_in_the_past_branches_off():
    """What came after is forgotten, what is still due is not."""
    lab = Landscape("himmelblau", cb.SMA(sync_period=8)).run(10).drop_learning_rate().run(50)
    assert lab.events.iteration.tolist() == [10, 16]

    lab.seek(12).adjust(momentum=0.5).run(20)

    straight = Landscape("himmelblau", cb.SMA(sync_period=8)).run(10).drop_learning_rate().run(2).adjust(momentum=0.5)
    assert_same(lab, straight.run(20))
    assert lab.head == 32
    assert lab.events.iteration.tolist() == [10, 12, 16]
    assert lab.settings.algorithm.momentum == 0.5


def test_a_slider_that_is_dragged_back_changes_nothing():
    """Learners that were taken away and are back at the same iteration are where they were."""
    lab, still = Landscape(learners=8, seed=2).run(20), Landscape(learners=8, seed=2).run(20)

    lab.adjust(learners=2).adjust(learners=5).adjust(learners=8).run(20)

    assert np.array_equal(lab.state.learners, still.run(20).state.learners)
    assert lab.events.detail.tolist() == ["learners 8"]


def test_a_learning_rate_step_restarts_sma_after_the_next_synchronisation():
    """First the synchronisation, then all learners are z at rest; a rate that is set doesn't restart, nor EA-SGD."""
    lab = Landscape("himmelblau", cb.SMA(sync_period=5, local_momentum=0.5)).run(12).drop_learning_rate()
    assert math.isclose(lab.settings.learning_rate, 0.0005)
    assert (lab.run(2).state.learners != lab.state.centre).any()
    state = lab.run(1).state
    assert (state.learners == state.centre).all()
    assert not state.centre_velocity.any()
    assert not state.velocities.any()

    kept = Landscape("himmelblau", cb.SMA(restart="copy_on_lr_change")).run(12).drop_learning_rate().run(1).state
    assert (kept.learners == kept.centre).all()
    assert kept.centre_velocity.all()

    lab = Landscape("himmelblau", cb.SMA(restart="never")).run(12).drop_learning_rate().run(5)
    assert lab.events.kind.tolist() == ["adjustment"]
    lab = Landscape("himmelblau", cb.EASGD()).run(12).drop_learning_rate().run(5)
    assert lab.events.kind.tolist() == ["adjustment"]
    assert Landscape().run(3).adjust(learning_rate=0.001).run(3).events.kind.tolist() == ["adjustment"]


def test_another_algorithm_restarts():
    """And another setting of the same doesn't."""
    lab = Landscape("himmelblau").run(10).adjust(algorithm=cb.EASGD())
    assert lab.events.kind.tolist() == ["adjustment", "restart"]
    assert (lab.state.learners == lab.state.centre).all()
    assert lab.alpha == 1 / 8
    assert lab.run(3).adjust(algorithm=cb.SSGD()).alpha is None


def test_alpha_beyond_its_bound_is_allowed_and_diverges():
    """With the bound said."""
    lab = Landscape("noisy-quadratic", cb.SMA(alpha=0.41), learners=8).run(100)
    assert round(lab.alpha_bound, 3) == 0.384
    assert np.abs(lab.state.centre).max() > 1e3
    assert not lab.has_diverged
    assert lab.run(5000).has_diverged


def test_many_learners_are_recorded_at_every_tenth_iteration():
    """And trails have the same records, at the head or before it."""
    lab = Landscape(learners=1001).run(95)
    assert lab.history.iteration.tolist() == list(range(10, 91, 10))
    assert [at for at, _ in lab.course.positions_until(95)] == [40, 50, 60, 70, 80, 90]
    assert [at for at, _ in lab.course.positions_until(75)] == [15, 20, 30, 40, 50, 60, 70]


def test_another_surface_brings_its_own_start_and_rate():
    """Learners and algorithm stay."""
    lab = Landscape("saddle", cb.EASGD(), learners=3).run(5).reset(surface="himmelblau")
    assert (lab.start, lab.settings.learning_rate, lab.learners) == ((-0.5, -1.0), 0.005, 3)
    assert lab.reset(start=(1, 2)).state.centre.tolist() == [1.0, 2.0]


def test_a_function_of_x_and_y_or_of_points_is_a_surface():
    """Its gradient is autograd's, so that learners do what they do on the same surface by hand."""
    by_hand = surface("himmelblau")

    def of_two(x, y):
        return (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2

    for function in (of_two, lambda points: of_two(points[..., 0], points[..., 1])):
        own = surface_of(function)
        x, y = np.random.default_rng(0).normal(size=(2, 50))
        np.testing.assert_allclose(own.loss(x, y), by_hand.loss(x, y))
        np.testing.assert_allclose(own.gradient(x, y), by_hand.gradient(x, y))
        lab = Landscape(function, start=by_hand.start, learning_rate=0.005, noise=1.0).run(50)
        same = Landscape("himmelblau", noise=1.0).run(50)
        np.testing.assert_allclose(lab.state.learners, same.state.learners)
    assert surface_of(of_two).name == "of_two"
    assert surface_of(lambda x, y: x**2 + 0 * y).gradient(np.ones(2), np.ones(2))[1].tolist() == [0.0, 0.0]


def test_a_suggested_learning_rate_comes_down():
    """Without being told, from the suggested start."""
    lab = Landscape(lambda x, y: torch.cosh(x) + 3 * y**2, cb.SSGD(momentum=0.0)).run(200)
    assert lab.history.loss_at_z.iloc[-1] < 0.5 * lab.history.loss_at_z.iloc[0]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, y, z: x + y + z, r"needs 3 arguments; give a function of two tensors, \(x, y\)"),
        (lambda x, y: math.hypot(x, y), r"failed on float64 tensors of shape \(41, 41\): [A-Z]\w+Error"),
        (lambda x, y: (x * y).sum(), r"returned shape \(\), torch.float64 for points of shape \(41, 41\)"),
        (lambda points: len(points), r"returned int for points"),
        (lambda points: torch.zeros(points.shape[:-1]), r"has no gradient"),
        (lambda x, y: x * y * math.nan, r"nowhere finite in the view"),
        (lambda x, y: x + y + torch.rand(x.shape), r"another loss at the same points; .* give noise="),
    ],
)
def test_a_function_that_is_none_is_refused_with_what_it_did(function, message):
    """Before anything runs."""
    with pytest.raises(ConfigurationError, match=message):
        Landscape(function)


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: Landscape("rastrign"), r"no surface 'rastrign'; did you mean 'rastrigin'"),
        (lambda: Landscape(3), r"surface is 3; give a name, a Surface, or a function"),
        (lambda: Landscape(learners=0), r"learners is 0; it must be a whole number, at least 1"),
        (lambda: Landscape(learners=10_001), r"learners is 10001; a landscape has at most 10,000"),
        (lambda: Landscape(start=(1, 2, 3)), r"start is \(1, 2, 3\); it must be two numbers"),
        (lambda: Landscape(start=(1, math.nan)), r"two finite numbers"),
        (lambda: Landscape(lambda x, y: x + y, view=((1, 0), (0, 1))), r"view is .*; give \(\(low, high\)"),
        (lambda: Landscape(device="gpu"), r"device is 'gpu'; give \"cpu\" or \"cuda\""),
        (lambda: Landscape(lambda x, y: x + y, device="cuda"), r"a function of your own, which has no CUDA kernel"),
        (lambda: Landscape().run(0), r"iterations is 0"),
        (lambda: Landscape().run(5).seek(6), r"iteration 6 hasn't been reached: recorded are 0 to 5"),
        (lambda: Landscape().adjust(learner=3), r"no setting 'learner'; did you mean 'learners'"),
        (lambda: Landscape().adjust(batch_size=0), r"batch_size is 0"),
        (lambda: Landscape(algorithm=cb.SSGD()).adjust(alpha=0.2), r"S-SGD has no alpha"),
        (lambda: Landscape().adjust(algorithm=cb.DiLoCo()), r"algorithm is DiLoCo"),
        (lambda: Landscape().drop_learning_rate(0), r"factor is 0; it must be a number greater than 0"),
        (lambda: Landscape().dashboard(ui="of"), r"ui is 'of'"),
    ],
)
def test_what_is_out_of_range_is_refused(refused, message):
    """With what was given and what is needed."""
    with pytest.raises(ConfigurationError, match=message):
        refused()


def test_a_refused_adjustment_changes_nothing():
    """Not even what was right in it."""
    lab = Landscape().run(5)
    before = lab.settings
    with pytest.raises(ConfigurationError):
        lab.adjust(noise=3.0, momentum=1.5)
    assert lab.settings == before
    assert len(lab.events) == 0
