"""A small model in double precision, its gradients by autograd, and sessions and trainers of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from crossbow_lab.averaging import Algorithm
from crossbow_lab.learners import Batches
from crossbow_lab.session import Recipe, Session
from crossbow_lab.session.build import Own, build
from crossbow_lab.session.trainer import Trainer
from crossbow_lab.workloads import as_dataset

K, B, RATE = 3, 4, 0.2


def small_model() -> nn.Module:
    """Return a model of 39 parameters with a hidden layer, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def flat(model: nn.Module) -> np.ndarray:
    """Return a model's parameters in one row."""
    return torch.cat([p.detach().flatten() for p in model.parameters()]).numpy().copy()


def batches_of(data: Any, seed: int = 0) -> Batches:
    """Return the shared stream of samples that a session with this seed sees."""
    return Batches(as_dataset(data), seed, augment=False, device=torch.device("cpu"), dtype=torch.float64)


def gradient(row: np.ndarray, inputs: Tensor, targets: Tensor) -> np.ndarray:
    """Return the gradient of the loss at these weights, by autograd on a module of its own."""
    model = small_model()
    start = 0
    with torch.no_grad():
        for parameter in model.parameters():
            part = torch.from_numpy(row[start : start + parameter.numel()])
            parameter.copy_(part.view_as(parameter))
            start += parameter.numel()
    functional.cross_entropy(model(inputs), targets).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).numpy()


def session_of(make: Callable[..., Session], data: Any, algorithm: Algorithm, **settings: Any) -> Session:
    """Make a double-precision session of the small model."""
    common = {"learners": K, "batch_size": B, "learning_rate": RATE, "dtype": "float64"}
    return make(small_model(), data, algorithm=algorithm, **{**common, **settings})


def trainer_of(data: Any, algorithm: Algorithm, model: nn.Module | None = None, **settings: Any) -> Trainer:
    """Return a trainer of the small model, or of another."""
    common = {"learners": K, "batch_size": B, "learning_rate": RATE, "dtype": "float64", "executor": "loop"}
    recipe = Recipe(None, None, algorithm, threads=1, max_learners=8, **{**common, **settings})
    return build(recipe, Own(model=model or small_model(), dataset=data)).trainer


def trained(data: Any, algorithm: Algorithm, iterations: int = 5, **settings: Any) -> Trainer:
    """Return a trainer after some iterations."""
    trainer = trainer_of(data, algorithm, **settings)
    for _ in range(iterations):
        trainer.step()
    return trainer
