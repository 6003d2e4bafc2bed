"""The loop executor: it does to each learner what plain torch does to one module."""

import copy

import pytest
import torch
from small_models import deciding, frozen, looping, remembering, running_mean
from small_training import images, prepared
from torch import nn
from torch.nn import functional


def test_loop_gives_each_learner_the_gradient_of_its_own_batch():
    """Losses, gradients and batch-norm statistics are those of separate modules, bit for bit."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4))
    learners = prepared(model, images(2, 8, 8), "loop", n_learners=3, batch_size=4)
    learners.bank.weights.add_(torch.randn_like(learners.bank.weights) / 10)  # learners that differ
    inputs, targets = learners.batches.take(0, 12)

    losses = learners.gradients(0)

    for j in range(3):
        alone = copy.deepcopy(model).double()
        alone.load_state_dict(learners.bank.views(learners.bank.weights[j]), strict=False)
        part = slice(4 * j, 4 * j + 4)
        loss = functional.cross_entropy(alone(inputs[part]), targets[part])
        loss.backward()
        assert torch.equal(losses[j], loss)
        for name, gradient in learners.bank.views(learners.bank.gradients[j]).items():
            assert torch.equal(gradient, alone.get_parameter(name).grad)
        for name, buffer in alone.named_buffers():
            assert torch.equal(learners.bank.buffers[name][j], buffer)


def test_loop_leaves_the_weights_and_the_template_alone():
    """A step computes; who trains is the algorithm."""
    torch.manual_seed(0)
    learners = prepared(looping(), images(2, 8, 8), "loop")
    weights = learners.bank.weights.clone()
    template = copy.deepcopy(learners.work.model.state_dict())

    learners.gradients(0)

    assert torch.equal(learners.bank.weights, weights)
    assert all(torch.equal(template[name], now) for name, now in learners.work.model.state_dict().items())


def test_loop_runs_recurrent_layers_on_the_banks_weights():
    """Layers that keep their parameters in a list of their own are trained too."""

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.LSTM(8, 5, batch_first=True)
            self.last = nn.Linear(5, 4)

        def forward(self, x):
            return self.last(self.cell(x.flatten(1, 2))[0][:, -1])

    torch.manual_seed(0)
    learners = prepared(Recurrent(), images(2, 8, 8), "loop")
    first = learners.gradients(0)
    learners.bank.views(learners.bank.weights)["cell.weight_hh_l0"].zero_()

    assert not torch.equal(learners.gradients(0), first)
    assert all(gradient.any() for gradient in learners.bank.views(learners.bank.gradients[0]).values())


def test_loop_runs_models_that_decide_by_their_data():
    """Control flow that no graph can hold."""
    torch.manual_seed(0)
    learners = prepared(deciding(), images(2, 8, 8), "loop")

    assert torch.isfinite(torch.stack([learners.iterate(i) for i in range(3)])).all()


def test_loop_keeps_buffers_that_a_model_replaces():
    """``self.mean = ...`` reaches the bank, in every iteration and for every learner."""
    torch.manual_seed(0)
    learners = prepared(running_mean(in_place=False), images(2, 8, 8), "loop")
    means = []
    for iteration in range(3):
        learners.gradients(iteration)
        means.append(learners.bank.buffers["mean"].clone())

    assert learners.bank.buffers["count"].tolist() == [3, 3]
    assert len({float(mean[j]) for mean in means for j in range(2)}) == 6
    assert not learners.bank.buffers["mean"].requires_grad


def test_loop_shares_no_frozen_parameter_with_the_bank():
    """What needs no gradient is not in the bank and never changes."""
    torch.manual_seed(0)
    model = frozen(nn.Sequential(nn.Flatten(), nn.Linear(128, 8), nn.Linear(8, 4)), "1.weight")
    learners = prepared(model, images(2, 8, 8), "loop")
    learners.iterate(0)

    assert [slot.name for slot in learners.bank.slots] == ["1.bias", "2.weight", "2.bias"]
    assert torch.equal(learners.work.model.get_parameter("1.weight"), model.get_parameter("1.weight").double())


@pytest.mark.parametrize("executor", ["loop", "fused"])
def test_executors_leave_a_model_usable_that_keeps_what_it_saw(executor):
    """Tracing leaves nothing in the template's attributes: it can still be copied and called."""
    torch.manual_seed(0)
    learners = prepared(remembering(), images(2, 8, 8), executor)
    learners.iterate(0)

    assert type(learners.work.model.seen) is torch.Tensor
    assert copy.deepcopy(learners.work.model.eval()).last.weight.dtype == torch.float64
