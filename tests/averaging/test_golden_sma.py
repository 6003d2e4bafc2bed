"""Golden trajectories of a constant-gradient model: k = 3 learners, n = 2 parameters, ten iterations.

``CROSSBOW_WRITE_GOLDEN=1`` writes golden_sma.json anew; review the difference.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crossbow_lab.averaging import local_step, reference, restart, rules

GOLDEN = Path(__file__).with_name("golden_sma.json")
GRADIENTS = np.array([[1.0, -2.0], [0.5, 4.0], [-3.0, 0.25]])
W_0 = np.array([1.0, -1.0])
N_ITERATIONS = 10
RESTART_AFTER = 6

CASES: dict[str, dict[str, Any]] = {
    "sma": {"gamma": 0.1, "alpha": 1 / 3, "mu": 0.9},
    "sma every second iteration": {"gamma": 0.1, "alpha": 1 / 3, "mu": 0.9, "tau": 2},
    "sma with local momentum and weight decay": {
        "gamma": 0.1,
        "alpha": 0.25,
        "mu": 0.5,
        "mu_l": 0.9,
        "lam": 0.01,
    },
    "easgd": {"gamma": 0.1, "alpha": 0.2},
    "ssgd": {"gamma": 0.1, "mu": 0.9, "lam": 0.01},
}


def by_reference(name: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the states after each iteration by `reference`; SMA restarts after the sixth."""
    records = []
    if name == "ssgd":
        one = reference.ssgd_start(W_0)
        for _ in range(N_ITERATIONS):
            one = reference.ssgd(one, GRADIENTS.mean(axis=0), **options)
            records.append({"w": [one.z.tolist()], "z": one.z.tolist()})
        return records
    step = reference.easgd if name == "easgd" else reference.sma
    state = reference.start(W_0, k=3)
    for iteration in range(1, N_ITERATIONS + 1):
        state = step(state, GRADIENTS, **options)
        if name.startswith("sma") and iteration == RESTART_AFTER:
            state = reference.restart(state)
        records.append({"w": state.w.tolist(), "z": state.z.tolist()})
    return records


def by_rules(name: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the states after each iteration by `rules`, in float64."""
    k = 1 if name == "ssgd" else 3
    g = torch.tensor(GRADIENTS.mean(axis=0, keepdims=True) if name == "ssgd" else GRADIENTS)
    z, e = torch.tensor(W_0), torch.zeros(2, dtype=torch.float64)
    w = z.repeat(k, 1)
    v = torch.zeros_like(w)
    local = {
        "learning_rate": options["gamma"],
        "local_velocity_kn": v,
        "local_momentum": options.get("mu_l", 0.0),
        "weight_decay": options.get("lam", 0.0),
    }
    records = []
    for iteration in range(1, N_ITERATIONS + 1):
        if name == "ssgd":
            rules.ssgd_step(
                w, g, z, e, learning_rate=options["gamma"], momentum=options["mu"], weight_decay=options["lam"]
            )
        elif iteration % options.get("tau", 1):
            local_step(w, g, **local)
        elif name == "easgd":
            rules.easgd_step(w, g, z, alpha=options["alpha"], **local)
        else:
            rules.sma_step(w, g, z, e, alpha=options["alpha"], momentum=options["mu"], **local)
        if name.startswith("sma") and iteration == RESTART_AFTER:
            restart(w, z, e, v)
        records.append({"w": w.tolist(), "z": z.tolist()})
    return records


@pytest.fixture(scope="module")
def golden() -> dict[str, list[dict[str, Any]]]:
    """Return the recorded trajectories, after writing them anew if that is asked for."""
    if os.environ.get("CROSSBOW_WRITE_GOLDEN") == "1":
        trajectories = {name: by_reference(name, options) for name, options in CASES.items()}
        lines = [
            f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(record) for record in records) + "\n]"
            for name, records in trajectories.items()
        ]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    recorded: dict[str, list[dict[str, Any]]] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return recorded


@pytest.mark.parametrize("trajectory", [by_reference, by_rules])
@pytest.mark.parametrize("name", CASES)
def test_it_follows_the_golden_trajectory(name: str, trajectory: Any, golden: dict[str, Any]) -> None:
    """Both implementations go where they went when the trajectory was reviewed."""
    records = trajectory(name, CASES[name])

    assert len(golden[name]) == len(records) == N_ITERATIONS
    for expected, actual in zip(golden[name], records, strict=True):
        np.testing.assert_allclose(actual["w"], expected["w"], rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(actual["z"], expected["z"], rtol=1e-13, atol=1e-13)


def test_the_golden_file_holds_these_cases_only(golden: dict[str, Any]) -> None:
    """A case that is renamed or dropped leaves nothing behind."""
    assert list(CASES) == list(golden)


def test_its_first_two_iterations_are_those_done_by_hand(golden: dict[str, Any]) -> None:
    """The first gradient reaches z one iteration later: z_2 = w_0 + α Σ_j (−γ g_j), with α = 1/3."""
    first, second = golden["sma"][:2]

    np.testing.assert_allclose(first["w"], W_0 - 0.1 * GRADIENTS, rtol=1e-15)
    assert first["z"] == W_0.tolist()
    np.testing.assert_allclose(second["z"], W_0 - 0.1 * GRADIENTS.sum(axis=0) / 3, rtol=1e-15)
