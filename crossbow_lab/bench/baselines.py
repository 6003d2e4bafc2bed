"""What the executors are measured against: what a competent user would write, without tricks or sabotage.

* `naive`: k modules, k ``torch.optim.SGD``, a Python loop, and Algorithm 1 in plain torch.
* `s_sgd`: one module, one ``torch.optim.SGD`` with momentum, the aggregate batch. The honest baseline.
* `vmapped`: stacked parameters, ``vmap(grad_and_value)``, in-place updates into buffers made once.

All of them index inputs that were normalised beforehand (the executors normalise bytes as they go), take
their samples in the same seeded order, and drop what is left of an epoch below one aggregate batch.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional

from crossbow_lab.bench.measure import Run


@dataclass(frozen=True)
class Problem:
    """What is trained, in memory: w_0, the samples, and the numbers of Algorithm 1.

    Parameters
    ----------
    model : nn.Module
        Its present weights are w_0. Never trained itself: baselines copy it.
    inputs : Tensor
        Shape (samples, *input shape), floating point, normalised.
    targets : Tensor
        Shape (samples,), int64.
    n_learners, batch_size : int
        k and b.
    learning_rate, alpha, momentum : float
        γ, the correction strength α, and the central momentum μ.
    seed : int
        Of the order of samples.
    """

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    n_learners: int
    batch_size: int
    learning_rate: float
    alpha: float
    momentum: float = 0.9
    seed: int = 0

    @property
    def aggregate_batch(self) -> int:
        """k·b."""
        return self.n_learners * self.batch_size


@dataclass(frozen=True)
class Training:
    """Something that is ready to train.

    Parameters
    ----------
    run : Run
        Does that many iterations.
    state : callable
        Returns copies of the learners' weights, shape (k, n), and of z, shape (n,), parameters in the
        model's order.
    """

    run: Run
    state: Callable[[], tuple[np.ndarray, np.ndarray]]


def sample_order(n_samples: int, aggregate_batch: int, seed: int) -> Iterator[Tensor]:
    """Yield the samples of each iteration, for ever, in a new order every epoch as a DataLoader does.

    Parameters
    ----------
    n_samples, aggregate_batch : int
        The size of the data set, and of one iteration's share of it.
    seed : int
        Of the permutations.

    Yields
    ------
    Tensor
        Shape (aggregate_batch,), int64.
    """
    generator = torch.Generator().manual_seed(seed)
    n_whole = n_samples - n_samples % aggregate_batch
    while True:
        yield from torch.split(torch.randperm(n_samples, generator=generator)[:n_whole], aggregate_batch)


def naive(problem: Problem) -> Training:
    """Train k modules with SMA, one after the other, in the way of a first implementation.

    Parameters
    ----------
    problem : Problem
        What to train.

    Returns
    -------
    Training
        Algorithm 1 of arXiv 1901.02244: corrections are of the weights before their gradient step, and the
        centre moves last.
    """
    models = [copy.deepcopy(problem.model) for _ in range(problem.n_learners)]
    optimisers = [torch.optim.SGD(model.parameters(), lr=problem.learning_rate) for model in models]
    centre = [parameter.detach().clone() for parameter in problem.model.parameters()]
    velocity = [torch.zeros_like(z) for z in centre]
    order = sample_order(len(problem.inputs), problem.aggregate_batch, problem.seed)

    def run(n_iterations: int) -> None:
        for _ in range(n_iterations):
            total = [torch.zeros_like(z) for z in centre]
            batches = torch.split(next(order), problem.batch_size)
            for model, optimiser, batch in zip(models, optimisers, batches, strict=True):
                optimiser.zero_grad()
                loss = functional.cross_entropy(model(problem.inputs[batch]), problem.targets[batch])
                loss.backward()  # type: ignore[no-untyped-call]
                with torch.no_grad():
                    correction = [problem.alpha * (w - z) for w, z in zip(model.parameters(), centre, strict=True)]
                    optimiser.step()
                    for w, c, s in zip(model.parameters(), correction, total, strict=True):
                        w.sub_(c)
                        s.add_(c)
            for z, v, s in zip(centre, velocity, total, strict=True):
                v.mul_(problem.momentum).add_(s)  # v = z − z_prev
                z.add_(v)

    return Training(run, lambda: (np.stack([_flat(model.parameters()) for model in models]), _flat(centre)))


def s_sgd(problem: Problem) -> Training:
    """Train one module on the aggregate batch with ordinary SGD and momentum.

    Parameters
    ----------
    problem : Problem
        What to train; α is not used.

    Returns
    -------
    Training
        Its state holds the one model as learner and as centre.
    """
    model = copy.deepcopy(problem.model)
    optimiser = torch.optim.SGD(model.parameters(), lr=problem.learning_rate, momentum=problem.momentum)
    order = sample_order(len(problem.inputs), problem.aggregate_batch, problem.seed)

    def run(n_iterations: int) -> None:
        for _ in range(n_iterations):
            batch = next(order)
            optimiser.zero_grad()
            loss = functional.cross_entropy(model(problem.inputs[batch]), problem.targets[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    def state() -> tuple[np.ndarray, np.ndarray]:
        weights_n = _flat(model.parameters())
        return weights_n[None], weights_n

    return Training(run, state)


def vmapped(problem: Problem) -> Training:
    """Train k stacked models with SMA through ``torch.func``, updating in place.

    Parameters
    ----------
    problem : Problem
        What to train.

    Returns
    -------
    Training
        The same Algorithm 1 as `naive`.
    """
    k = problem.n_learners
    centre = {name: p.detach().clone() for name, p in problem.model.named_parameters()}
    velocity = {name: torch.zeros_like(z) for name, z in centre.items()}
    weights = {name: torch.stack([z] * k) for name, z in centre.items()}
    difference = {name: torch.empty_like(w) for name, w in weights.items()}
    order = sample_order(len(problem.inputs), problem.aggregate_batch, problem.seed)

    def loss(parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(problem.model, parameters, (inputs,)), targets)

    gradients_of = vmap(grad_and_value(loss))

    def run(n_iterations: int) -> None:
        for _ in range(n_iterations):
            batch = next(order).view(k, problem.batch_size)
            gradients, _ = gradients_of(weights, problem.inputs[batch], problem.targets[batch])
            for name, z in centre.items():
                w, v, d = weights[name], velocity[name], difference[name]
                torch.sub(w, z, out=d)
                w.sub_(d, alpha=problem.alpha).sub_(gradients[name], alpha=problem.learning_rate)
                v.mul_(problem.momentum).add_(d.sum(0), alpha=problem.alpha)
                z.add_(v)

    return Training(
        run,
        lambda: (np.stack([_flat(w[j] for w in weights.values()) for j in range(k)]), _flat(centre.values())),
    )


def _flat(tensors: Iterable[Tensor]) -> np.ndarray:
    """Return copies of tensors, end to end, as one NumPy vector."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors]).numpy()
