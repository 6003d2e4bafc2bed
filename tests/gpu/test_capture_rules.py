"""What executors launch may be captured: found out without a GPU, on torch's "meta" device, which isn't the host.

An operator that copies between host and device, or waits for a value, is refused there as before a capture.
"""

import pytest
import torch
from gpu_training import LooksAtValues, with_dropout
from torch import nn

from crossbow_lab.errors import ExecutorError
from crossbow_lab.learners import Work, admit, make_bank
from crossbow_lab.learners.graph import OnlyCapturable
from crossbow_lab.learners.program import make_learning
from crossbow_lab.learners.work import Learning
from crossbow_lab.workloads import build_model

META = torch.device("meta")
SHAPES = {
    "logreg": (1, 8, 8),
    "mlp": (1, 8, 8),
    "digits-cnn": (1, 8, 8),
    "lenet": (1, 28, 28),
    "lenet-caffe": (1, 28, 28),
    "resnet-8": (3, 32, 32),
    "resnet-32": (3, 32, 32),
    "resnet-50": (3, 64, 64),
    "vgg-16": (3, 32, 32),
}


def learning_of(model: nn.Module, executor: str, shape: tuple[int, ...], *, has_dropout: bool = False) -> Learning:
    """Return the passes of three learners that lie elsewhere."""
    model = model.to(META).train()
    bank = make_bank(model, max_learners=3)
    admit(bank, 0, 3, model, local_momentum=False)
    work = Work(model, bank, "cross_entropy", 0, has_dropout=has_dropout)
    example = torch.zeros(1, *shape, device=META), torch.zeros(1, dtype=torch.int64, device=META)
    return make_learning(work, executor, 3, 4, example)


def launch(learning: Learning) -> None:
    """Launch one iteration's passes, as a warm-up before a capture does."""
    number = torch.zeros((), dtype=torch.int64, device=META)
    with OnlyCapturable():  # type: ignore[no-untyped-call]
        for part in learning.parts:
            part(number)


@pytest.mark.parametrize("executor", ["fused", "streams"])
@pytest.mark.parametrize("name", SHAPES)
def test_every_model_of_the_zoo_can_be_captured(name: str, executor: str) -> None:
    """Forward and backward pass, and batch norm's statistics."""
    model = build_model(name, input_shape=SHAPES[name], n_classes=10, seed=0)
    launch(learning_of(model, executor, SHAPES[name], has_dropout=name == "vgg-16"))


@pytest.mark.parametrize("executor", ["fused", "streams"])
def test_dropout_can_be_captured(executor: str) -> None:
    """Its masks come from keys on the device."""
    launch(learning_of(with_dropout(), executor, (2, 6, 6), has_dropout=True))


def test_a_model_that_looks_at_values_can_not() -> None:
    """And the operator is named."""
    learning = learning_of(LooksAtValues(), "streams", (2, 6, 6))
    with pytest.raises(ExecutorError, match=r"_local_scalar_dense.* waits for the device"):
        launch(learning)
