"""What a CUDA graph can't hold is found before a capture. The captures themselves need a GPU: tests/gpu."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from crossbow_lab.errors import ExecutorError
from crossbow_lab.learners.graph import OnlyCapturable
from crossbow_lab.workloads import build_model

X = torch.arange(6.0) - 2


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (lambda: X.sum().item(), "_local_scalar_dense.* waits for the device"),
        (lambda: float(X[0]), "waits for the device"),
        (lambda: bool((X > 0).all()), "waits for the device"),
        (lambda: X[X > 0], "aten.index.Tensor waits for the device"),
        (lambda: X.nonzero(), "aten.nonzero"),
        (lambda: torch.masked_select(X, X > 0), "aten.masked_select"),
        (lambda: X.unique(), "unique"),
        (lambda: torch.equal(X, X), "aten.equal"),
        (lambda: X.to("meta"), "copies between the device and the host; make tensors on the device"),
    ],
)
def test_what_waits_or_copies_is_named(work: Callable[[], object], reason: str) -> None:
    """Before it would break a capture."""
    with pytest.raises(ExecutorError, match=reason), OnlyCapturable():
        work()


@pytest.mark.parametrize("name", ["mlp", "digits-cnn", "resnet-8"])
def test_ordinary_training_may_be_captured(name: str) -> None:
    """Forward and backward pass of the zoo's models, and indexing by numbers, pass."""
    model = build_model(name, input_shape=(1, 8, 8), n_classes=4, seed=0).train()
    targets = torch.tensor([0, 3])

    def loss_of(model: nn.Module) -> Tensor:
        return nn.functional.cross_entropy(model(torch.ones(2, 1, 8, 8)), targets)

    with OnlyCapturable():
        found = torch.autograd.grad(loss_of(model), list(model.parameters()))
        picked = X[targets]
    assert all(gradient.isfinite().all() for gradient in found)
    assert picked.tolist() == [-2.0, 1.0]
