"""Losses of one learner and of all learners."""

import pytest
import torch
from torch.nn import functional

from crossbow_lab.errors import ConfigurationError, ModelError
from crossbow_lab.learners import check_loss, learner_loss
from crossbow_lab.learners.losses import learner_losses


def random(*shape: int) -> torch.Tensor:
    """Give normal numbers in float64, always the same."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("extra", [(), (3,), (2, 3)])
def test_cross_entropy_is_each_learners_mean(extra):
    """One class a sample, or one a pixel."""
    outputs, targets = random(4, 5, 6, *extra), torch.randint(6, (4, 5, *extra))

    losses = learner_losses("cross_entropy", outputs, targets)

    for j in range(4):
        alone = learner_loss("cross_entropy", outputs[j], targets[j])
        torch.testing.assert_close(alone, functional.cross_entropy(outputs[j], targets[j]), rtol=0, atol=0)
        torch.testing.assert_close(losses[j], alone, rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("output_shape", "target_shape"), [((5,), (5,)), ((5, 1), (5,)), ((5,), (5, 1)), ((5, 2, 3), (5, 6))]
)
def test_mse_never_broadcasts(output_shape, target_shape):
    """Outputs (b, 1) and targets (b,) are compared one to one."""
    outputs, targets = random(4, *output_shape), 2 * random(4, *target_shape)

    losses = learner_losses("mse", outputs, targets)

    for j in range(4):
        expected = (outputs[j].flatten() - targets[j].flatten()).square().mean()
        torch.testing.assert_close(losses[j], expected, rtol=1e-14, atol=0)
        torch.testing.assert_close(learner_loss("mse", outputs[j], targets[j]), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("call", [learner_loss, learner_losses])
def test_mse_refuses_another_number_of_targets(call):
    """Broadcasting would give a number that means nothing."""
    with pytest.raises(ModelError, match=r"outputs have shape \(2, 2, 2\) and targets \(2, 2\); give the model as"):
        call("mse", random(2, 2, 2), random(2, 2))


def test_a_loss_of_ones_own_sees_one_learner():
    """It is called with outputs (b, ...) and targets (b, ...)."""
    shapes = []

    def largest(output, target):
        shapes.append((tuple(output.shape), tuple(target.shape)))
        return (output.squeeze(1) - target).abs().max()

    outputs, targets = random(4, 5, 1), random(4, 5) / 2

    losses = learner_losses(largest, outputs, targets)

    assert shapes == [((5, 1), (5,))]
    assert torch.equal(losses, (outputs.squeeze(2) - targets).abs().amax(1))
    assert torch.equal(learner_loss(largest, outputs[1], targets[1]), losses[1])


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", functional.l1_loss])
def test_check_loss_accepts_names_and_functions(loss):
    """Whatever can be called, and the two names."""
    check_loss(loss)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            "cross-entropy",
            r"unknown loss 'cross-entropy'; did you mean 'cross_entropy'\?.* function of \(output, target\)",
        ),
        (3, r"loss must be a name or a function of \(output, target\), not 3"),
        (None, r"loss must be a name or a function .*, not None"),
    ],
)
def test_check_loss_says_what_a_loss_may_be(loss, message):
    """Misspelt names are answered with the nearest."""
    with pytest.raises(ConfigurationError, match=message):
        check_loss(loss)
