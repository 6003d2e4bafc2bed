"""Memory: the bound is the issue's, activations are what autograd keeps, and a point is measured afresh."""

import json
import sys

import pytest
import torch
from torch import nn

from crossbow_lab.bench import run_bench
from crossbow_lab.bench.memory import activation_bytes, bound_bytes, memory_tables


def test_bound_is_3k_plus_4_models_and_k_activations():
    """For k = 16, n = 1000 and 50 bytes of activations: 52,000 floats and 800 bytes."""
    assert bound_bytes(16, 1000, 50) == 52 * 1000 * 4 + 800


def test_activation_bytes_counts_what_backward_needs_and_no_parameters():
    """Linear, ReLU, linear: the batch, ReLU's output once for both neighbours, and what the loss keeps."""
    model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 3))
    inputs, targets = torch.randn(4, 10), torch.tensor([0, 1, 2, 0])

    found = activation_bytes(model, inputs, targets)

    batch, hidden, log_probabilities, labels, weight_total = 4 * 10 * 4, 4 * 20 * 4, 4 * 3 * 4, 4 * 8, 4
    assert found == batch + hidden + log_probabilities + labels + weight_total


def test_activation_bytes_leaves_no_gradients():
    """Counting runs no backward pass."""
    model = nn.Linear(3, 2)

    activation_bytes(model, torch.randn(5, 3), torch.zeros(5, dtype=torch.int64))

    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_a_point_is_measured_in_a_process_of_its_own(tmp_path, capsys):
    """The quick bench leaves a JSON whose measured bytes hold the bank, and prints the table."""
    path = tmp_path / "bench.json"

    status = run_bench(["memory"], path, quick=True)

    document = json.loads(path.read_text())
    point = document["results"]["memory"]["points"][0]
    bank_bytes = (2 * point["n_learners"] + 2) * point["n_parameters"] * 4
    assert status == 0
    assert document["is_quick"] is True
    assert 0.8 * bank_bytes < point["measured_bytes"] < 20 * bank_bytes
    assert point["bound_bytes"] > bank_bytes
    assert "load_average_after" in document["results"]["memory"]
    assert "peak memory" in capsys.readouterr().out


def test_a_point_that_can_not_be_measured_says_why_in_the_table():
    """A system without /proc gets a reason in place of bytes."""
    skipped = {"model": "mlp", "n_learners": 1, "batch_size": 4, "executor": "loop", "skipped": "needs Linux"}

    made = memory_tables({"points": [skipped]})[0]

    cells = [next(iter(column.cells)) for column in made.columns]
    assert cells[:4] == ["mlp", "loop", "1x4", "skipped: needs Linux"]
