"""Records of runs that never ran, as a comparison reads them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

HARDWARE = {"system": "Linux", "cpu": "Example CPU", "cores": 2, "memory_bytes": 8, "load_average": 0.5, "gpus": []}
SMA = {"name": "SMA", "alpha": None, "momentum": 0.9, "local_momentum": 0.0, "sync_period": 1}
SSGD = {"name": "SSGD", "momentum": 0.9}
N_EVALUATIONS = 12


@dataclass(frozen=True)
class Recorded:
    """A session: it reaches 97 % at an evaluation, or never; evaluations are ``pace_s`` and an epoch apart."""

    seed: int = 0
    at: int | None = 6
    pace_s: float = 0.5
    algorithm: Mapping[str, Any] = field(default_factory=lambda: SMA)
    learners: int = 4
    more: Mapping[str, Any] = field(default_factory=dict)
    n_rows: int = N_EVALUATIONS

    def recipe(self) -> dict[str, Any]:
        """Return its recipe."""
        fixed = {"schema": 1, "model": "mlp", "dataset": "digits", "batch_size": 8, "learning_rate": 0.1}
        made = {"executor": "loop", "threads": 1, "device": "cpu", "data_sha256": "d", "adjustments": []}
        own = {"algorithm": self.algorithm, "learners": self.learners, "seed": self.seed}
        return {**fixed, **made, **own, "weights_sha256": f"w{self.seed}", "iterations": 10 * self.n_rows, **self.more}

    def history(self) -> pd.DataFrame:
        """Return its history: the median of five evaluations is high from the one where it gets there."""
        rows = range(1, self.n_rows + 1)
        return pd.DataFrame(
            {
                "epoch": [float(row) for row in rows],
                "samples": [1000 * row for row in rows],
                "elapsed_s": [self.pace_s * row for row in rows],
                "samples_per_s": 1000 / self.pace_s,
                "test_accuracy": [0.98 if self.at is not None and row >= self.at - 2 else 0.5 for row in rows],
                "algorithm": "SMA",
            }
        )


def write_run(
    folder: Path,
    sessions: Mapping[str, Recorded] | None = None,
    *,
    parameters: Mapping[str, Any] | None = None,
    status: str = "completed",
    **manifest: Any,
) -> Path:
    """Write the folder of a run."""
    folder.mkdir(parents=True)
    content = {
        "schema": 1,
        "id": folder.name,
        "notebook": {"path": "example.ipynb", "sha256": "n"},
        "parameters": dict(parameters or {}),
        "code": {"version": "0.1.0", "revision": None, "is_dirty": None},
        "packages": {"torch": "2.13.0"},
        "hardware": HARDWARE,
        "status": status,
        "exception": None,
        **manifest,
    }
    (folder / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    for name, session in (sessions or {}).items():
        place = folder / "sessions" / name
        place.mkdir(parents=True)
        (place / "recipe.json").write_text(json.dumps(session.recipe()), encoding="utf-8")
        session.history().to_parquet(place / "history.parquet", index=False)
    return folder
