"""Executors by name, and the choice between them."""

import pytest
import torch
from small_models import deciding, looping
from small_training import N_CLASSES, Learners, images, prepared
from torch import nn

from crossbow_lab.errors import ConfigurationError, ExecutorError
from crossbow_lab.learners import EXECUTOR_NAMES, check_executor, choose


def example(learners: Learners) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first aggregate batch."""
    return learners.batches.take(0, learners.n_learners * learners.batch_size)


@pytest.mark.parametrize("name", ["auto", "loop", "fused"])
def test_check_executor_accepts_the_known_ones(name):
    """And only ``auto`` is not itself one."""
    check_executor(name)
    assert (name in EXECUTOR_NAMES) is (name != "auto")


@pytest.mark.parametrize(("given", "meant"), [("fuse", "fused"), ("Loop", "loop"), ("automatic", "auto")])
def test_check_executor_names_the_nearest(given, meant):
    """A misspelt name is answered with what was probably meant."""
    with pytest.raises(ConfigurationError, match=f"unknown executor {given!r}; did you mean {meant!r}.* Known: auto"):
        check_executor(given)


def test_fused_names_loop_when_it_cannot_run_a_model():
    """Data-dependent control flow: the message gives the model, torch's reason and the way out."""
    with pytest.raises(ExecutorError, match=r"Model can't run fused: .*control flow.*executor='loop' runs any model"):
        prepared(deciding(), images(2, 8, 8), "fused")


def test_choose_measures_what_runs_and_says_so():
    """The reason holds every measured executor; weights, gradients' use and buffers are as before."""
    torch.manual_seed(0)
    learners = prepared(looping(), images(2, 8, 8), "loop")
    weights = learners.bank.weights.clone()
    buffers = {name: rows.clone() for name, rows in learners.bank.buffers.items()}

    choice = choose(learners.work, 2, 3, *example(learners))

    assert choice.executor in EXECUTOR_NAMES
    assert choice.threads == torch.get_num_threads() == 1
    for name in ("loop", "fused"):
        assert f"{name} with 1 threads" in choice.reason
    assert "ms" in choice.reason
    assert torch.equal(learners.bank.weights, weights)
    assert all(torch.equal(learners.bank.buffers[name], before) for name, before in buffers.items())


def test_choose_tries_one_thread_and_all_and_puts_the_number_back():
    """Small work is often faster with one."""
    torch.manual_seed(0)
    learners = prepared(nn.Sequential(nn.Flatten(), nn.Linear(128, N_CLASSES)), images(2, 8, 8), "loop")
    torch.set_num_threads(2)
    try:
        choice = choose(learners.work, 2, 3, *example(learners))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)

    assert choice.threads in (1, 2)
    for setting in ("loop with 1 threads", "loop with 2 threads", "fused with 1 threads", "fused with 2 threads"):
        assert setting in choice.reason


def test_choose_falls_back_to_loop_and_says_why():
    """A model that only ``loop`` can run is run by it."""
    learners = prepared(deciding(), images(2, 8, 8), "loop")

    choice = choose(learners.work, 2, 3, *example(learners))

    assert choice.executor == "loop"
    assert "Model can't run fused" in choice.reason
    assert "fused with" not in choice.reason


def test_an_error_of_the_model_itself_is_not_taken_for_fuseds():
    """What fails in plain torch fails with torch's own message, in ``loop`` and so in ``choose``."""

    class Failing(nn.Module):
        fails = False

        def __init__(self):
            super().__init__()
            self.last = nn.Linear(128, N_CLASSES)

        def forward(self, x):
            if Failing.fails:
                raise RuntimeError("out of luck")
            return self.last(x.flatten(1))

    learners = prepared(Failing(), images(2, 8, 8), "loop")
    Failing.fails = True

    with pytest.raises(RuntimeError, match="out of luck"):
        choose(learners.work, 2, 3, *example(learners))
