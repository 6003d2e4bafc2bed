"""What our executors are measured against on a device: one replica, in torch, as a competent user would train it.

* `eager`: a plain module, ``torch.optim.SGD``, a Python loop.
* `graphed`: the same replica, whole iterations in a CUDA graph, eight to a replay; S-SGD with the aggregate batch.
* `compiled`: the same through ``torch.compile`` first.

All of them draw a new order every epoch on the device and index inputs that were normalised and put on the device
beforehand; nothing is copied from the host. cuDNN may try out its algorithms, which our executors forgo for the same
bits every time.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn import functional

from crossbow_lab.bench.cuda.timing import captured, device_run
from crossbow_lab.bench.measure import Run

AT_ONCE = 8
"""Iterations in one graph, as many as our programs have."""

_Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Replica:
    """One replica's training, in memory of the device.

    Attributes
    ----------
    model : its present weights are w_0; never trained itself.
    inputs, targets : (samples, ...), normalised.
    batch_size : of an iteration; with S-SGD the aggregate batch.
    learning_rate, momentum : of SGD.
    amp : whether the forward pass runs in bfloat16 where that is safe.
    """

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    batch_size: int
    learning_rate: float
    momentum: float = 0.0
    amp: bool = False

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        return self.inputs.device

    def own_model(self) -> nn.Module:
        """Return a copy of the model to train."""
        return copy.deepcopy(self.model).to(self.device).train()

    def autocast(self) -> AbstractContextManager[object]:
        """Return what a forward pass runs in."""
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False) if self.amp else nullcontext()


@dataclass(frozen=True)
class Baseline:
    """A replica that is ready to be trained.

    Attributes
    ----------
    run : does that many iterations.
    model : what it trains.
    """

    run: Run
    model: nn.Module


def eager(replica: Replica) -> Baseline:
    """Train with a plain module and optimiser."""
    model = replica.own_model()
    optimiser = torch.optim.SGD(model.parameters(), lr=replica.learning_rate, momentum=replica.momentum)
    order = blocks(len(replica.inputs), 1, replica.batch_size, replica.device)

    def iteration() -> None:
        (rows,) = next(order)
        optimiser.zero_grad()
        with replica.autocast():
            loss = functional.cross_entropy(model(replica.inputs[rows]), replica.targets[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    run = device_run(iteration, replica.device)

    def tried_out(n_iterations: int) -> float | None:
        with _trying_out(replica.device):
            return run(n_iterations)

    return Baseline(tried_out, model)


def graphed(replica: Replica) -> Baseline:
    """Train in a CUDA graph."""
    return _graphed(replica, lambda loss_of: loss_of)


def compiled(replica: Replica) -> Baseline:
    """Train in a CUDA graph of what ``torch.compile`` makes of the model and its loss."""
    return _graphed(replica, lambda loss_of: torch.compile(loss_of, dynamic=False))  # there is one batch size only


def blocks(n_samples: int, iterations: int, batch_size: int, device: torch.device) -> Iterator[Tensor]:
    """Yield the samples of several iterations for ever, in a new order every epoch, without a rest below one block.

    Yields
    ------
    Tensor
        int64 (iterations, batch_size), on the device.
    """
    generator = torch.Generator(device).manual_seed(0)
    block = iterations * batch_size
    epochs = -(-block // n_samples)  # a block may be longer than an epoch
    while True:
        order = torch.randperm(n_samples, generator=generator, device=device).repeat(epochs)
        yield from order[: len(order) - len(order) % block].view(-1, iterations, batch_size)


def _graphed(replica: Replica, wrap: Callable[[_Loss], _Loss]) -> Baseline:
    """Capture whole iterations: take the samples, forward, backward, SGD with momentum in place."""
    model, device = replica.own_model(), replica.device
    parameters: list[Tensor] = list(model.parameters())
    velocity = [torch.zeros_like(parameter) for parameter in parameters]
    order = blocks(len(replica.inputs), AT_ONCE, replica.batch_size, device)
    rows = next(order).clone()
    loss = wrap(lambda inputs, targets: functional.cross_entropy(model(inputs), targets))

    def work() -> None:
        for i in range(AT_ONCE):
            inputs, targets = (whole.index_select(0, rows[i]) for whole in (replica.inputs, replica.targets))
            with replica.autocast():
                value = loss(inputs, targets)
            _descend(parameters, velocity, torch.autograd.grad(value, parameters), replica)

    with _trying_out(device):
        replay = captured(work, device)

    def launch() -> None:
        rows.copy_(next(order))
        replay()

    return Baseline(device_run(launch, device, at_once=AT_ONCE), model)


@torch.no_grad()
def _descend(parameters: list[Tensor], velocity: list[Tensor], gradients: tuple[Tensor, ...], replica: Replica) -> None:
    """Take a step of ``torch.optim.SGD``, v = μ v + g and w = w − γ v, in as few kernels as it takes."""
    steps: list[Tensor] = list(gradients)
    if replica.momentum:
        torch._foreach_mul_(velocity, replica.momentum)
        torch._foreach_add_(velocity, steps)
        steps = velocity
    torch._foreach_add_(parameters, steps, alpha=-replica.learning_rate)


@contextmanager
def _trying_out(device: torch.device) -> Iterator[None]:
    """Let cuDNN time its algorithms and take the fastest; what else is set stays as it is."""
    if device.type != "cuda":
        yield
        return
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = True, False
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before
