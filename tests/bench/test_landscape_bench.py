"""The landscape's bench: both contenders do the same work, and the tables say what was timed."""

import numpy as np

from crossbow_lab.bench.landscape import landscape_tables, measure_landscape, plain_losses
from crossbow_lab.bench.measure import QUICK
from crossbow_lab.landscape import Landscape


def test_both_are_timed_and_shown():
    """Once a round each; the goal stands over the table."""
    measured = measure_landscape(QUICK, lambda _: None, n_learners=50)

    assert [one["name"] for one in measured["contenders"]] == ["landscape", "plain NumPy"]
    assert all(len(one["iteration_s"]) == QUICK.rounds for one in measured["contenders"])
    (made,) = landscape_tables(measured)
    assert "50 learners on rastrigin; goal: 1 s" in made.title
    assert made.row_count == 2


def test_plain_numpy_moves_as_the_lab_does():
    """Without noise, which each draws in its own way, the losses are the same."""
    history = Landscape("rastrigin", learners=7, noise=0.0).run(50).history

    plain = plain_losses(7, 50, noise=0.0)

    np.testing.assert_allclose(plain, history[["loss_at_z", "mean_loss"]][9::10], rtol=1e-9)
