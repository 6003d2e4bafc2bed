"""Tiny parameters of every notebook: each runs in seconds with them. As a program it writes copies for nbval."""

import sys
from pathlib import Path
from typing import Any

from papermill.iorw import load_notebook_node, write_ipynb
from papermill.parameterize import parameterize_notebook

from crossbow_lab.resources import resource

TINY: dict[str, dict[str, Any]] = {
    "00_start_here": {"learners": 2, "max_epochs": 2.0, "target_accuracy": 0.7},
    "01_sma_vs_sgd": {
        "model": "mlp",
        "learners": 2,
        "target_accuracy": 0.6,
        "max_epochs": 3.0,
        "repeats": 2,
        "executor": "fused",
    },
    "02_one_iteration_by_hand": {"before": 2},
    "03_large_batches_cost_epochs": {
        "batches": [16, 64],
        "learners": 2,
        "target_accuracy": 0.8,
        "max_epochs": 4.0,
    },
    "04_learners_per_device": {
        "model": "mlp",
        "learners_tried": [1, 2, 4],
        "batches_tried": [2, 4],
        "seconds": 0.02,
        "tuned_epochs": 6.0,
    },
    "05_alpha_momentum_period": {"iterations": 200, "momenta": [0.0, 0.9], "periods": [1, 4], "seeds": 1},
    "06_the_restart": {"before": 40, "after": 20, "repeats": 2},
    "07_the_family": {"model": "mlp", "learners": 4, "target_accuracy": 0.7, "max_epochs": 1.5, "repeats": 1},
    "08_several_devices": {"model": "logreg", "learners": 2, "epochs": 1.0, "more_learners": 3},
    "09_fused_kernel": {"learners": 4, "parameters": 20_000, "repeats": 3, "threads": 1},
    "10_your_own_model_and_data": {"samples": 400, "learners": 2, "max_epochs": 5.0, "target_accuracy": 0.7},
    "90_replay_recipe": {"iterations": 10},
}


def write(folder: Path) -> None:
    """Write every notebook with its tiny parameters into a folder; one without any is written as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(resource("notebooks").glob("*.ipynb")):
        notebook = load_notebook_node(str(path))
        write_ipynb(parameterize_notebook(notebook, TINY.get(path.stem, {})), str(folder / path.name))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
