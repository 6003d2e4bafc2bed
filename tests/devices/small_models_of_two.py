"""A model, data and losses that other processes find: they import them from here."""

import os
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

SAMPLES = 96


class Small(nn.Module):
    """A network with a hidden layer, dropout and batch normalisation, the same each time."""

    def __init__(self, *, normalises: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 3)
        self.norm = nn.BatchNorm1d(6) if normalises else nn.Identity()
        self.dropout = nn.Dropout(0.2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return three outputs for each sample."""
        outputs: Tensor = self.last(self.dropout(torch.tanh(self.norm(self.first(inputs)))))
        return outputs


def blobs() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return three classes of samples with five features, as train and test pairs."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(SAMPLES + 30) % 3
    inputs = torch.randn(SAMPLES + 30, 5, generator=generator) + 2.0 * functional.one_hot(labels, 5)
    return (inputs[:SAMPLES], labels[:SAMPLES]), (inputs[SAMPLES:], labels[SAMPLES:])


class FailsElsewhere(nn.Module):
    """Raises in any process but the one that made it, once it has trained a while."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.home, self.calls = nn.Linear(5, 3), os.getpid(), 0

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inner model's outputs, for some time."""
        self.calls += 1
        if os.getpid() != self.home and self.calls > 30:
            raise ValueError("the second device is out of luck")
        outputs: Tensor = self.inner(inputs)
        return outputs


def slow_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy, after a while: iterations that last longer than a worker may be silent."""
    time.sleep(0.4)
    return functional.cross_entropy(output, target)
