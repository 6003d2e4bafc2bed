"""SMA over several devices equals SMA over all learners."""

from typing import Any

import pytest
import torch

from crossbow_lab.averaging import easgd_step, make_scratch, sma_step, sma_step_with_sum, sum_differences
from crossbow_lab.errors import ConfigurationError

N = 1000


def bank_of(k: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the state of k learners in double precision."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"w": (k, N), "g": (k, N), "v": (k, N), "z": (N,), "e": (N,)}
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


@pytest.mark.parametrize("devices", [(4,), (2, 2), (1, 3), (1, 1, 1, 1)])
@pytest.mark.parametrize("has_momentum", [True, False])
def test_devices_equal_one_bank_of_all_learners(devices: tuple[int, ...], has_momentum: bool) -> None:
    """For any split of the learners, in chunks, with decay and local momentum; all copies of z are equal."""
    flat = bank_of(4)
    own: dict[str, Any] = {"learning_rate": 0.1, "alpha": 0.25, "weight_decay": 0.01, "local_momentum": 0.5}
    parts = [
        {name: part.clone() for name, part in zip("wgv", rows, strict=True)}
        | {name: flat[name].clone() for name in "ze"}
        for rows in zip(*(flat[name].split(devices) for name in "wgv"), strict=True)
    ]
    scratches = [make_scratch(part["w"], chunk_columns=192) for part in parts]
    for _ in range(3):
        sums = torch.zeros(len(parts), N, dtype=torch.float64)
        for part, total, scratch in zip(parts, sums, scratches, strict=True):
            sum_differences(part["w"], part["z"], out=total, scratch=scratch)
        for part, scratch in zip(parts, scratches, strict=True):
            e, mu = (part["e"], 0.9) if has_momentum else (None, 0.0)
            rows = part["w"], part["g"], part["z"], e, sums.sum(0)
            sma_step_with_sum(*rows, momentum=mu, local_velocity_kn=part["v"], scratch=scratch, **own)
        if has_momentum:
            sma_step(flat["w"], flat["g"], flat["z"], flat["e"], momentum=0.9, local_velocity_kn=flat["v"], **own)
        else:
            easgd_step(flat["w"], flat["g"], flat["z"], local_velocity_kn=flat["v"], **own)
    torch.testing.assert_close(torch.cat([part["w"] for part in parts]), flat["w"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts[0]["z"], flat["z"], rtol=1e-12, atol=1e-12)
    assert all(torch.equal(part["z"], parts[0]["z"]) for part in parts)


def test_learners_that_equal_z_add_nothing() -> None:
    """Exactly, whatever the weights."""
    bank = bank_of(3)
    bank["w"].copy_(bank["z"].expand_as(bank["w"]))
    total = torch.ones(N, dtype=torch.float64)
    sum_differences(bank["w"], bank["z"], out=total)
    assert not total.any()


def test_what_does_not_fit_is_refused() -> None:
    """By shape and range."""
    bank = bank_of(2)
    with pytest.raises(ConfigurationError, match="total_n"):
        sma_step_with_sum(
            bank["w"], bank["g"], bank["z"], bank["e"], torch.zeros(3), learning_rate=0.1, alpha=0.5, momentum=0.9
        )
    with pytest.raises(ConfigurationError, match="alpha"):
        sma_step_with_sum(
            bank["w"], bank["g"], bank["z"], bank["e"], bank["z"], learning_rate=0.1, alpha=-1.0, momentum=0.9
        )
    with pytest.raises(ConfigurationError, match="out"):
        sum_differences(bank["w"], bank["z"], out=torch.zeros(N))


@pytest.mark.parametrize("velocity", [torch.zeros(N + 1), torch.zeros(1, N), torch.zeros(N, dtype=torch.float64)])
def test_a_central_velocity_that_does_not_fit_is_refused(velocity: torch.Tensor) -> None:
    """Before anything is written."""
    w, z = torch.ones(2, N), torch.zeros(N)
    with pytest.raises(ConfigurationError, match="centre_velocity_n has shape"):
        sma_step_with_sum(w, torch.ones(2, N), z, velocity, z.clone(), learning_rate=0.1, alpha=0.2, momentum=0.9)
    assert w.unique().tolist() == [1.0]
