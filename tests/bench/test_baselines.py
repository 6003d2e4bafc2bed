"""The baselines are correct programs: a wrong one would make any comparison worthless."""

import copy
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from crossbow_lab.averaging import reference
from crossbow_lab.bench.baselines import Problem, naive, s_sgd, sample_order, vmapped
from crossbow_lab.bench.ours import our_training
from crossbow_lab.bench.subjects import Subject, subject_data
from crossbow_lab.bench.subjects import problem as problem_of
from crossbow_lab.learners import Batches

K, B = 3, 4


@pytest.fixture
def problem() -> Problem:
    """Return a small convolutional problem in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)).double()
        inputs = torch.randn(29, 1, 6, 6, dtype=torch.float64)
        targets = torch.randint(0, 3, (29,))
    return Problem(model, inputs, targets, n_learners=K, batch_size=B, learning_rate=0.1, alpha=0.3, momentum=0.8)


def gradient(problem: Problem, w: np.ndarray, batch: torch.Tensor) -> np.ndarray:
    """Return the gradient of the mean loss at the flat weights w, in float64."""
    shapes = {name: p.shape for name, p in problem.model.named_parameters()}
    flat = torch.tensor(w, requires_grad=True)
    parts = zip(shapes, flat.split([shape.numel() for shape in shapes.values()]), strict=True)
    parameters = {name: part.view(shapes[name]) for name, part in parts}
    outputs = functional_call(problem.model, parameters, (problem.inputs[batch].double(),))
    return torch.autograd.grad(functional.cross_entropy(outputs, problem.targets[batch]), flat)[0].numpy()


def initial(problem: Problem) -> np.ndarray:
    """Return w_0, flat and in float64."""
    return torch.cat([p.detach().flatten() for p in problem.model.parameters()]).double().numpy()


def algorithm_1(problem: Problem, order: Iterable[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Train by the NumPy reference, one iteration for each aggregate batch; return learners and centre."""
    state = reference.start(initial(problem), problem.n_learners)
    for batch in order:
        batches = batch.split(problem.batch_size)
        g = np.stack([gradient(problem, w, part) for w, part in zip(state.w, batches, strict=True)])
        state = reference.sma(state, g, gamma=problem.learning_rate, alpha=problem.alpha, mu=problem.momentum)
    return state.w, state.z


def first(problem: Problem, n_iterations: int) -> list[torch.Tensor]:
    """Return the samples of the baselines' first iterations."""
    order = sample_order(len(problem.inputs), problem.aggregate_batch, problem.seed)
    return list(islice(order, n_iterations))


@pytest.mark.parametrize("baseline", [naive, vmapped])
def test_sma_baselines_follow_algorithm_1(problem, baseline):
    """After 20 iterations over several epochs, learners and centre are those of the reference, in float64."""
    trained = baseline(problem)

    trained.run(13)
    trained.run(7)

    for expected, actual in zip(algorithm_1(problem, first(problem, 20)), trained.state(), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def test_s_sgd_follows_momentum_sgd_on_the_aggregate_batch(problem):
    """One replica, one velocity, the gradient of k·b samples: the reference's S-SGD."""
    trained = s_sgd(problem)

    trained.run(20)

    state = reference.ssgd_start(initial(problem))
    for batch in first(problem, 20):
        state = reference.ssgd(
            state, gradient(problem, state.z, batch), gamma=problem.learning_rate, mu=problem.momentum
        )
    weights, centre = trained.state()
    np.testing.assert_allclose(weights, state.z[None], rtol=0, atol=1e-12)
    np.testing.assert_allclose(centre, state.z, rtol=0, atol=1e-12)


@pytest.mark.parametrize("executor", ["fused", "loop"])
def test_our_contenders_follow_algorithm_1(executor):
    """What is timed as ours is SMA too: the reference on the samples of Batches, to float32 rounding."""
    subject = Subject("digits-cnn", "digits", 3, 5)
    data = subject_data(subject)
    same = problem_of(subject, data)
    batches = Batches(data, 0, augment=False, device=torch.device("cpu"), dtype=torch.float32)
    order = [batches.indices(i * same.aggregate_batch, same.aggregate_batch) for i in range(6)]

    trained = our_training(subject, data, executor)
    trained.run(6)

    in_float64 = replace(same, model=copy.deepcopy(same.model).double())
    for expected, actual in zip(algorithm_1(in_float64, order), trained.state(), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_jax_baseline_follows_the_naive_one():
    """Where JAX is installed, its lenet does the same as torch's, to float32 rounding."""
    pytest.importorskip("jax", reason="JAX is optional, and not installed")
    from crossbow_lab.bench.jax_baseline import MODELS, jax_sma
    from crossbow_lab.workloads import build_model

    generator = torch.Generator().manual_seed(0)
    for name in MODELS:
        shape = (1, 28, 28) if name == "lenet" else (1, 8, 8)
        same = Problem(
            build_model(name, input_shape=shape, n_classes=10, seed=0),
            torch.randn(20, *shape, generator=generator),
            torch.randint(0, 10, (20,), generator=generator),
            n_learners=2,
            batch_size=3,
            learning_rate=0.05,
            alpha=0.5,
        )
        expected, trained = naive(same), jax_sma(same, name)
        expected.run(5)
        trained.run(5)
        for wanted, actual in zip(expected.state(), trained.state(), strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-5)


def test_baselines_leave_the_given_model_alone(problem):
    """w_0 stays w_0, so that every contender starts from it."""
    before = [p.detach().clone() for p in problem.model.parameters()]

    for baseline in (naive, s_sgd, vmapped):
        baseline(problem).run(2)

    for expected, actual in zip(before, problem.model.parameters(), strict=True):
        assert torch.equal(expected, actual)


def test_sample_order_visits_samples_once_an_epoch_in_a_new_order():
    """29 samples make two aggregate batches of 12 an epoch, without repeats, and the next epoch differs."""
    order = sample_order(29, 12, seed=0)
    first, second = (torch.cat([next(order), next(order)]) for _ in range(2))

    assert 24 == len(set(first.tolist())) == len(set(second.tolist()))
    assert not torch.equal(first, second)
    assert torch.equal(first[:12], next(sample_order(29, 12, seed=0)))
