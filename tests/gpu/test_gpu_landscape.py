"""Loss surfaces on the GPU against the NumPy reference. Sines and logarithms differ in the last place."""

import numpy as np
import pytest
import torch
from gpu_support import NEEDS_GPU, bits

from crossbow_lab.averaging import EASGD, SMA, SSGD, Algorithm, algorithm_name
from crossbow_lab.kernels import landscape as kernels
from crossbow_lab.landscape import SURFACES, Settings, State, simulate, surface

pytestmark = NEEDS_GPU

ALGORITHMS = (
    SMA(),
    SMA(alpha=0.05, momentum=0.5, local_momentum=0.6, sync_period=3),
    EASGD(sync_period=2),
    SSGD(momentum=0.7),
)


def begun(name: str, k: int) -> State:
    """Give learners on the move around a surface's starting point, apart from each other and from z."""
    source = np.random.default_rng(0)
    around, moving = 0.1 * source.normal(size=(2, k + 1, 2))
    points = surface(name).start + around
    return State(points[:k], moving[:k], points[k], moving[k], iteration=11)


def run_on(
    device: torch.device, name: str, settings: Settings, k: int, iterations: int, dtype: torch.dtype
) -> tuple[kernels.Populations, kernels.Trails]:
    """Let two populations that don't differ take some iterations."""
    state = begun(name, k)
    learners, velocities, centre, centre_velocity = (
        torch.tensor(np.stack([values] * 2), dtype=dtype, device=device)
        for values in (state.learners, state.velocities, state.centre, state.centre_velocity)
    )
    has_momentum = getattr(settings.algorithm, "local_momentum", 0.0) > 0
    populations = kernels.Populations(learners, velocities if has_momentum else None, centre, centre_velocity)
    laid_out = kernels.Settings(
        torch.tensor([[*settings.scalars(k), 0.0, 0.0, 0.0]] * 2, dtype=dtype, device=device),
        torch.tensor([settings.key] * 2, device=device),
        torch.tensor([settings.sync_period] * 2, dtype=torch.int32, device=device),
    )
    trails = kernels.run(
        populations,
        laid_out,
        surface=name,
        algorithm=algorithm_name(settings.algorithm),
        start=state.iteration,
        iterations=iterations,
        record_positions=True,
    )
    return populations, trails


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
@pytest.mark.parametrize("name", SURFACES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-2)], ids=str)
def test_learners_on_a_surface_follow_the_reference(
    device: torch.device, name: str, algorithm: Algorithm, dtype: torch.dtype, tolerance: float
) -> None:
    """Every learner, at every iteration; and both populations alike."""
    settings = Settings(algorithm, surface(name).learning_rate / 4, noise=2.0, batch_size=8, seed=3)
    populations, trails = run_on(device, name, settings, 40, 100, dtype)
    _, trail = simulate(surface(name), begun(name, 40), settings, 100, record_positions=True)
    assert trails.positions is not None
    found = trails.positions.double().cpu().numpy()
    np.testing.assert_allclose(found[0], trail.positions, rtol=tolerance, atol=tolerance)
    assert bits(trails.positions[0], populations.centres[0]) == bits(trails.positions[1], populations.centres[1])


@pytest.mark.parametrize("k", [1, 33, 513, 2_000])
def test_a_run_gives_the_same_bits_every_time(device: torch.device, k: int) -> None:
    """Sums over learners have a fixed order."""
    settings = Settings(SMA(), 0.001, noise=1.0)
    found = set()
    for _ in range(3):
        populations, trails = run_on(device, "himmelblau", settings, k, 50, torch.float32)
        found.add(bits(populations.learners, populations.centres, trails.summaries))
    assert len(found) == 1
