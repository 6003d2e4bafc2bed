"""cuda/landscape.cu on the CPU, against the NumPy float64 reference, and against itself bit for bit.

The reference's sums, logarithms and sines differ from the kernel's in the last place, and from those of a GPU too; so
these are cases in which learners are drawn together, where such differences don't grow.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from emulated import SANITIZED, Emulator, Schedule, guarded
from torch import Tensor

from crossbow_lab.averaging import EASGD, SMA, SSGD, Algorithm, algorithm_name
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.kernels import landscape as kernels
from crossbow_lab.kernels import launch as launching
from crossbow_lab.landscape import SURFACES, Settings, State, Trail, simulate, surface

ALGORITHMS = (
    SMA(),
    SMA(alpha=0.05, momentum=0.5, local_momentum=0.6, sync_period=3),
    EASGD(sync_period=2),
    EASGD(alpha=0.1, local_momentum=0.3),
    SSGD(momentum=0.7),
)
SCHEDULES = (
    Schedule("descending"),
    Schedule("shuffled", "shuffled", seed=1),
    Schedule("scattered", "descending", seed=2),
    Schedule("lockstep"),
)


def settings_of(*many: Settings, k: int, dtype: torch.dtype) -> kernels.Settings:
    """Lay out settings as the kernel takes them."""
    return kernels.Settings(
        torch.tensor([[*each.scalars(k), 0.0, 0.0, 0.0] for each in many], dtype=dtype),
        torch.tensor([each.key for each in many]),
        torch.tensor([each.sync_period for each in many], dtype=torch.int32),
    )


def scattered(name: str, k: int) -> State:
    """Give learners on the move around a surface's starting point, apart from each other and from z."""
    source = np.random.default_rng(0)
    around, moving = 0.1 * source.normal(size=(2, k + 1, 2))
    points = surface(name).start + around
    return State(points[:k], moving[:k], points[k], moving[k], iteration=11)


def on_device(state: State, dtype: torch.dtype, *, local_momentum: bool) -> kernels.Populations:
    """Lay out a state as the kernel takes it: one population."""
    learners, velocities, centre, centre_velocity = (
        torch.tensor(values[None], dtype=dtype)
        for values in (state.learners, state.velocities, state.centre, state.centre_velocity)
    )
    return kernels.Populations(learners, velocities if local_momentum else None, centre, centre_velocity)


def run_on_kernel(
    name: str, settings: Settings, k: int, iterations: int, *, dtype: torch.dtype = torch.float64, record_every: int = 1
) -> tuple[kernels.Populations, kernels.Trails]:
    """Let scattered learners take some iterations."""
    has_momentum = not isinstance(settings.algorithm, SSGD) and settings.algorithm.local_momentum > 0
    state = scattered(name, k)
    populations = on_device(state, dtype, local_momentum=has_momentum)
    trails = kernels.run(
        populations,
        settings_of(settings, k=k, dtype=dtype),
        surface=name,
        algorithm=algorithm_name(settings.algorithm),
        start=state.iteration,
        iterations=iterations,
        record_every=record_every,
        record_positions=True,
    )
    return populations, trails


def run_in_numpy(
    name: str, settings: Settings, k: int, iterations: int, *, record_every: int = 1
) -> tuple[State, Trail]:
    """Let the same learners do the same in the reference."""
    state = scattered(name, k)
    return simulate(surface(name), state, settings, iterations, record_every=record_every, record_positions=True)


def as_summaries(trail: Trail) -> np.ndarray:
    """Return a trail of the reference as the kernel lays it out: (records, 6)."""
    return np.column_stack([trail.centres, trail.means, trail.centre_losses, trail.mean_losses])


def assert_alike(
    kernel: tuple[kernels.Populations, kernels.Trails], reference: tuple[State, Trail], tolerance: float
) -> None:
    """Compare the trails, the learners' weights along them, and where they end, one population's with another's."""
    (populations, trails), (state, trail) = kernel, reference
    pairs = [
        (trails.summaries[0], as_summaries(trail)),
        (trails.positions[0], trail.positions),
        (populations.learners[0], state.learners),
        (populations.centres[0], state.centre),
        (populations.centre_velocities[0], state.centre_velocity),
    ]
    if populations.velocities is not None:
        pairs.append((populations.velocities[0], state.velocities))
    for found, expected in pairs:
        assert tuple(found.shape) == expected.shape
        np.testing.assert_allclose(found.double().numpy(), expected, rtol=tolerance, atol=tolerance)


def bits(*tensors: Tensor | None) -> list[bytes]:
    """Return the bits of tensors."""
    return [tensor.numpy().tobytes() for tensor in tensors if tensor is not None]


def bits_of(populations: kernels.Populations, trails: kernels.Trails) -> list[bytes]:
    """Return the bits of a state and the trail to it."""
    state = (populations.learners, populations.velocities, populations.centres, populations.centre_velocities)
    return bits(*state, trails.summaries, trails.positions)


def test_landscape_run_stays_within_its_arrays(emulated: Emulator):
    """All of every array is written, and no byte beyond: they end where memory may be touched no more."""
    k, populations, records = 33, 2, 4
    many = [Settings(SMA(local_momentum=0.5), 0.01, noise=1.0, seed=seed) for seed in range(populations)]
    laid_out = settings_of(*many, k=k, dtype=torch.float64)
    zeros = {"dtype": torch.float64, "fill": 0.0}
    values = {
        "learners": guarded(populations, k, 2, **zeros),
        "velocities": guarded(populations, k, 2, **zeros),
        "centres": guarded(populations, 2, **zeros),
        "centre_velocities": guarded(populations, 2, **zeros),
        "trail": guarded(populations, records, 6, dtype=torch.float64),
        "positions": guarded(populations, records, k, 2, dtype=torch.float64),
        "scalars": guarded(populations, 8, **zeros).copy_(laid_out.scalars),
        "keys": guarded(populations, dtype=torch.int64, fill=0).copy_(laid_out.keys),
        "sync_periods": guarded(populations, dtype=torch.int32, fill=0).copy_(laid_out.sync_periods),
        "populations": populations,
        "k": k,
        "start": 5,
        "iterations": 7,
        "record_every": 2,
    }

    launching.launch(kernels.LANDSCAPE_RUN, ("double", "Saddle", "kSma"), populations, 64, values, torch.device("cpu"))

    for name in ("trail", "positions"):
        assert torch.isfinite(values[name]).all()
    for name in ("learners", "velocities", "centres", "centre_velocities"):
        assert (values[name] != 0.0).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
@pytest.mark.parametrize("name", SURFACES)
def test_landscape_run_equals_the_reference(emulated: Emulator, name: str, algorithm: Algorithm):
    """Every surface and algorithm, with noise, in double: 300 iterations to rounding."""
    settings = Settings(algorithm, surface(name).learning_rate / 4, noise=2.0, batch_size=8, seed=3)

    found = run_on_kernel(name, settings, 7, 300)

    assert_alike(found, run_in_numpy(name, settings, 7, 300), 1e-10)


@pytest.mark.parametrize("name", SURFACES)
def test_landscape_run_in_float_stays_near_the_reference(emulated: Emulator, name: str):
    """Single precision drifts by its rounding alone."""
    settings = Settings(SMA(), surface(name).learning_rate / 4, noise=1.0, seed=3)

    found = run_on_kernel(name, settings, 7, 100, dtype=torch.float32)

    assert_alike(found, run_in_numpy(name, settings, 7, 100), 2e-4)


@pytest.mark.parametrize("k", [1, 2, 31, 32, 33, 511, 512, 513, 1025, 2000])
@pytest.mark.parametrize("algorithm", [SMA(momentum=0.5), EASGD(), SSGD()], ids=str)
def test_landscape_run_takes_any_number_of_learners(emulated: Emulator, k: int, algorithm: Algorithm):
    """A thread takes several where there are more learners than threads."""
    settings = Settings(algorithm, 0.001, noise=1.0)

    found = run_on_kernel("himmelblau", settings, k, 6, record_every=2)

    assert_alike(found, run_in_numpy("himmelblau", settings, k, 6, record_every=2), 1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
def test_landscape_run_in_parts_equals_one_launch(emulated: Emulator, dtype: torch.dtype, algorithm: Algorithm):
    """Bit for bit, whether or not parts end where records or synchronisations are."""
    k, parts = 40, (1, 6, 7, 2, 34, 50)
    settings = Settings(algorithm, 0.002, noise=3.0)
    whole = run_on_kernel("rastrigin", settings, k, sum(parts), dtype=dtype, record_every=7)

    state = scattered("rastrigin", k)
    populations = on_device(state, dtype, local_momentum=whole[0].velocities is not None)
    trails, start = [], state.iteration
    for iterations in parts:
        trails.append(
            kernels.run(
                populations,
                settings_of(settings, k=k, dtype=dtype),
                surface="rastrigin",
                algorithm=algorithm_name(algorithm),
                start=start,
                iterations=iterations,
                record_every=7,
                record_positions=True,
            )
        )
        start += iterations

    joined = kernels.Trails(
        torch.cat([t.summaries for t in trails], dim=1), torch.cat([t.positions for t in trails], dim=1)
    )
    assert joined.summaries.shape == (1, 14, 6)
    assert bits_of(populations, joined) == bits_of(*whole)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("algorithm", [ALGORITHMS[1], SSGD()], ids=str)
def test_landscape_run_does_not_depend_on_the_order_of_threads(
    emulated: Emulator, schedule: Schedule, algorithm: Algorithm
):
    """A missing barrier would show; so would an overflow, to the sanitizer."""
    settings = Settings(algorithm, 0.001, noise=2.0)
    usual = run_on_kernel("himmelblau", settings, 150, 30, dtype=torch.float32)

    emulated.schedule, emulated.options = schedule, SANITIZED
    found = run_on_kernel("himmelblau", settings, 150, 30, dtype=torch.float32)

    assert bits_of(*found) == bits_of(*usual)


@pytest.mark.parametrize("schedule", [Schedule(), Schedule(grid=1), Schedule(blocks="descending", grid=2)], ids=str)
def test_populations_are_independent(emulated: Emulator, schedule: Schedule):
    """Three of them, with settings, seeds and starting points of their own, do what each does alone."""
    many = (
        Settings(ALGORITHMS[0], 0.002, noise=1.0, seed=1),
        Settings(ALGORITHMS[1], 0.004, noise=0.0, seed=2),
        Settings(replace(ALGORITHMS[1], sync_period=5), 0.001, noise=5.0, seed=3),
    )
    points = torch.tensor([[-0.5, -1.0], [1.0, 4.0], [-2.0, 2.0]])
    options = {"surface": "himmelblau", "algorithm": "SMA", "start": 12, "iterations": 60, "record_every": 5}
    alone = []
    for point, each in zip(points, many, strict=True):
        populations = kernels.populations_at(point[None], 70, local_momentum=True)
        trails = kernels.run(
            populations, settings_of(each, k=70, dtype=torch.float32), record_positions=True, **options
        )
        alone.append(bits_of(populations, trails))

    emulated.schedule = schedule
    together = kernels.populations_at(points, 70, local_momentum=True)
    trails = kernels.run(together, settings_of(*many, k=70, dtype=torch.float32), record_positions=True, **options)

    for p, expected in enumerate(alone):
        state = (together.learners, together.velocities, together.centres, together.centre_velocities)
        assert bits(*(tensor[p] for tensor in (*state, trails.summaries, trails.positions))) == expected


def test_easgd_has_no_central_momentum(emulated: Emulator):
    """Whatever its place among the scalars holds."""
    ends = []
    for momentum in (0.0, 0.9):
        populations = on_device(scattered("saddle", 5), torch.float32, local_momentum=False)
        settings = settings_of(Settings(EASGD(), 0.1, noise=1.0), k=5, dtype=torch.float32)
        settings.scalars[:, 2] = momentum
        trails = kernels.run(populations, settings, surface="saddle", algorithm="EA-SGD", start=0, iterations=20)
        ends.append(bits_of(populations, trails))

    assert ends[0] == ends[1]


def test_the_noise_of_a_learner_does_not_depend_on_the_others(emulated: Emulator):
    """It is a function of seed, learner and iteration, so one more learner leaves the others' as it was."""
    apart = Settings(SMA(sync_period=1000), 0.01, noise=1.0)

    def walked(k: int, settings: Settings) -> Tensor:
        populations = kernels.populations_at(torch.tensor([[1.0, 0.5]]), k)
        laid_out = settings_of(settings, k=k, dtype=torch.float32)
        kernels.run(populations, laid_out, surface="saddle", algorithm="SMA", start=0, iterations=20)
        return populations.learners

    few = walked(3, apart)

    assert torch.equal(few, walked(100, apart)[:, :3])
    assert not torch.equal(few, walked(3, replace(apart, seed=1)))


def test_learners_that_differ_in_nothing_stay_together(emulated: Emulator):
    """Without noise the mean equals every learner, and z follows exactly, to the bit in a power of two of them."""
    populations = kernels.populations_at(torch.tensor([surface("rosenbrock").start]), 4)
    settings = settings_of(Settings(SMA(), 0.0005), k=4, dtype=torch.float32)
    options = {"surface": "rosenbrock", "algorithm": "SMA", "start": 0, "iterations": 50, "record_positions": True}

    trails = kernels.run(populations, settings, **options)

    assert torch.equal(populations.learners, populations.learners[:, :1].expand(-1, 4, -1))
    assert torch.equal(trails.summaries[0, :, 2:4], trails.positions[0, :, 0])


def test_records_follow_multiples_of_record_every(emulated: Emulator):
    """Counted from the beginning of the run, not of the launch; perhaps there are none."""
    populations = kernels.populations_at(torch.zeros(1, 2), 3)
    settings = settings_of(Settings(SMA(), 0.1), k=3, dtype=torch.float32)
    options = {"surface": "saddle", "algorithm": "SMA", "iterations": 10}

    counts = [
        kernels.run(populations, settings, start=start, record_every=every, **options).summaries.shape[1]
        for start, every in ((0, 1), (0, 4), (2, 4), (7, 11), (0, 11))
    ]

    assert counts == [10, 2, 3, 1, 0]


def test_both_sides_know_the_same_surfaces():
    """A surface that one can look at on the CPU is there on the device."""
    assert set(kernels.SURFACES) == set(SURFACES)


def correct() -> tuple[kernels.Populations, kernels.Settings]:
    """Return arguments of `run` that are in order."""
    settings = settings_of(Settings(SMA(), 0.1), Settings(SMA(), 0.1), k=3, dtype=torch.float32)
    return kernels.populations_at(torch.zeros(2, 2), 3), settings


@pytest.mark.parametrize(
    ("populations", "settings", "options", "message"),
    [
        ({}, {}, {"surface": "rosenbrok"}, r"no surface 'rosenbrok' on the device; did you mean 'rosenbrock'"),
        ({}, {}, {"algorithm": "EASGD"}, r"no algorithm 'EASGD' on the device; did you mean 'EA-SGD'"),
        ({}, {}, {"start": -1}, r"start is -1"),
        ({}, {}, {"iterations": 0}, r"iterations 0"),
        ({}, {}, {"record_every": 0}, r"record_every 0"),
        ({}, {}, {"start": 2**31}, r"at most 2147483648 iterations"),
        ({"learners": torch.zeros(2, 3)}, {}, {}, r"learners have shape \(2, 3\).*needed is \(P, k, 2\)"),
        ({"learners": torch.zeros(2, 3, 2).half()}, {}, {}, r"float16; needed is"),
        ({"learners": torch.zeros(2, 2, 3).mT}, {}, {}, r"learners: .*strides \(6, 1, 3\)"),
        ({"velocities": torch.zeros(2, 4, 2)}, {}, {}, r"velocities: shape \(2, 4, 2\)"),
        (
            {"centres": torch.zeros(2, 2).double()},
            {},
            {},
            r"centres: .*float64.*shape \(2, 2\), torch.float32",
        ),
        ({"centre_velocities": torch.zeros(2, 2, device="meta")}, {}, {}, r"centre_velocities: .*on meta"),
        ({}, {"scalars": torch.zeros(2, 5)}, {}, r"scalars: .*must have shape \(2, 8\)"),
        ({}, {"keys": torch.zeros(2)}, {}, r"keys: .*torch.int64"),
        ({}, {"sync_periods": torch.ones(2, dtype=torch.int64)}, {}, r"sync_periods: .*torch.int32"),
    ],
)
def test_run_refuses_what_does_not_fit(emulated: Emulator, populations, settings, options, message):
    """With what was given and what is needed; before anything is launched."""
    state, laid_out = correct()
    usual = {"surface": "saddle", "algorithm": "SMA", "start": 0, "iterations": 1}

    with pytest.raises(ConfigurationError, match=message):
        kernels.run(replace(state, **populations), replace(laid_out, **settings), **{**usual, **options})

    assert emulated.launched == []


def test_populations_at_refuses_what_are_no_points():
    """A point is (x, y)."""
    with pytest.raises(ConfigurationError, match=r"points have shape \(3,\).*one point \(x, y\) a population"):
        kernels.populations_at(torch.zeros(3), 2)
    with pytest.raises(ConfigurationError, match=r"for 0 learners.*at least one"):
        kernels.populations_at(torch.zeros(1, 2), 0)


def test_divergence_ends_in_infinities(emulated: Emulator):
    """Nothing hangs or traps where alpha is beyond its bound: one may watch it."""
    settings = Settings(SMA(alpha=1.5), 0.1, noise=1.0)

    _, trails = run_on_kernel("rosenbrock", settings, 8, 200, dtype=torch.float32)

    assert math.isfinite(trails.summaries[0, 0, 0])
    assert not torch.isfinite(trails.summaries[0, -1]).any()
