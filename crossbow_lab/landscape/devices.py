"""Where learners move: in NumPy on the CPU, or by cuda/landscape.cu, a thread for each learner, on a GPU."""

from functools import partial

import numpy as np
import torch

from crossbow_lab.averaging import algorithm_name
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.kernels import landscape as kernel
from crossbow_lab.landscape.course import Advance
from crossbow_lab.landscape.reference import Settings, State, Trail, simulate
from crossbow_lab.landscape.surfaces import SURFACES, Surface


def advance_on(device: str, surface: Surface) -> Advance:
    """Return what simulates learners on a surface, on a device.

    Raises
    ------
    ConfigurationError
        If the device is neither "cpu" nor a CUDA device, or a surface of one's own is to be on a GPU.
    DeviceUnavailable
        If there is no such device.
    """
    if device == "cpu":
        return partial(_on_cpu, surface)
    if not device.startswith("cuda"):
        raise ConfigurationError(f'device is {device!r}; give "cpu" or "cuda"')
    if SURFACES.get(surface.name) is not surface:
        raise ConfigurationError(
            f'the surface {surface.name!r} is a function of your own, which has no CUDA kernel; use device="cpu"'
        )
    from crossbow_lab.kernels import check

    check(torch.device(device))
    return partial(_on_cuda, torch.device(device), surface)


def _on_cpu(
    surface: Surface, state: State, settings: Settings, iterations: int, record_every: int, recorded: int
) -> tuple[State, Trail]:
    """Simulate in NumPy."""
    return simulate(surface, state, settings, iterations, record_every=record_every, record_positions=recorded)


def _on_cuda(
    device: torch.device,
    surface: Surface,
    state: State,
    settings: Settings,
    iterations: int,
    record_every: int,
    recorded: int,
) -> tuple[State, Trail]:
    """Simulate one population on a GPU, in float64; states come back, so that this waits for the device."""

    def moved(values: object) -> torch.Tensor:
        return torch.tensor(np.asarray(values)[None], device=device)

    velocities = moved(state.velocities)
    populations = kernel.Populations(
        learners=moved(state.learners),
        velocities=velocities,
        centres=moved(state.centre),
        centre_velocities=moved(state.centre_velocity),
    )
    trails = kernel.run(
        populations,
        kernel.Settings(
            scalars=moved([*settings.scalars(len(state.learners)), 0.0, 0.0, 0.0]),
            keys=torch.tensor([settings.key], device=device),
            sync_periods=torch.tensor([settings.sync_period], dtype=torch.int32, device=device),
        ),
        surface=surface.name,  # type: ignore[arg-type]
        algorithm=algorithm_name(settings.algorithm),  # type: ignore[arg-type]
        start=state.iteration,
        iterations=iterations,
        record_every=record_every,
        record_positions=recorded > 0,
    )
    after = State(
        populations.learners[0].cpu().numpy(),
        velocities[0].cpu().numpy(),
        populations.centres[0].cpu().numpy(),
        populations.centre_velocities[0].cpu().numpy(),
        state.iteration + iterations,
    )
    rows = trails.summaries[0].cpu().numpy()
    first = (state.iteration // record_every + 1) * record_every
    positions = None if trails.positions is None else trails.positions[0, :, :recorded].cpu().numpy()
    iterations_of = first + record_every * np.arange(len(rows))
    return after, Trail(iterations_of, rows[:, 0:2], rows[:, 2:4], rows[:, 4], rows[:, 5], positions)
