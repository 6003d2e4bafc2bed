"""Tracing: one iteration of all learners as a flat graph, without anything that computes nothing."""

import copy

import pytest
import torch
from small_models import OWN_MODELS, Model, running_mean
from small_training import N_CLASSES, images, prepared
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from crossbow_lab.errors import ExecutorError
from crossbow_lab.learners.trace import is_view, simplify

aten = torch.ops.aten


def simplified(function, *inputs):
    """Trace a function that returns [losses, *gradients], and simplify it; return the graph and its operators."""
    traced = make_fx(function, tracing_mode="fake")(*inputs)
    expected = function(*inputs)
    simplify(traced)
    for found, wanted in zip(traced(*inputs), expected, strict=True):
        assert torch.equal(found, wanted)
    return traced, [node.target for node in traced.graph.nodes if node.op == "call_function"]


def test_simplify_takes_out_what_computes_nothing():
    """Products with one, views of the same shape, detached copies and what nobody reads."""

    def function(x):
        unread = x.exp()
        y = (x * 1.0).view(2, 3).detach().permute(0, 1).expand(2, 3)
        del unread
        return [y.sum(), y + 1]

    _, operators = simplified(function, torch.randn(2, 3))

    assert operators == [aten.sum.default, aten.add.Tensor]


def test_simplify_keeps_what_changes_type_or_shape():
    """A whole number times 1.0 is real; a view of another shape is another."""

    def function(x):
        return [(x * 1.0).sum(), x.view(3, 2)]

    _, operators = simplified(function, torch.arange(6).view(2, 3))

    assert aten.mul.Tensor in operators
    assert aten.view.default in operators


def test_simplify_writes_gradients_of_linear_layers_as_the_bank_holds_them():
    """(x^T y)^T becomes y^T x, whose memory is contiguous."""

    def function(x, y):
        return [x.sum(), torch.bmm(x.transpose(1, 2), y).transpose(1, 2)]

    x, y = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 3, 5, dtype=torch.float64)
    traced = make_fx(function, tracing_mode="fake")(x, y)
    simplify(traced)
    gradient = traced(x, y)[1]

    torch.testing.assert_close(gradient, function(x, y)[1])
    assert gradient.is_contiguous()


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (aten.view.default, True),
        (aten.transpose.int, True),
        (aten.select.int, True),
        (aten._unsafe_view.default, True),
        (aten.add.Tensor, False),
        (aten.add_.Tensor, False),
        (aten.relu_.default, False),
        (aten.native_batch_norm.default, False),
    ],
)
def test_is_view_knows_what_shares_memory_and_writes_nothing(operator, expected):
    """Writing in place is no view."""
    assert is_view(operator) is expected


@pytest.mark.parametrize("name", ["running mean in place", "running mean replaced", "looping", "remembering"])
def test_tracing_leaves_the_template_alone(name):
    """Its buffers hold what they held, and are tensors."""
    torch.manual_seed(0)
    learners = prepared(OWN_MODELS[name](), images(2, 8, 8), "loop")
    model = learners.work.model
    before = copy.deepcopy(model.state_dict())
    for _ in range(2):
        prepared(model, images(2, 8, 8), "fused").iterate(0)

    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(type(buffer) is torch.Tensor for buffer in model.buffers())


def test_a_replaced_buffer_is_refused_where_it_would_be_lost():
    """In a model that only ``vmap`` as a whole can run; the message says how to write it."""

    def run(model, x):
        if x.shape[0] > 0:  # torch.fx can't trace it
            model.mean = model.mean + x.mean()
        return model.last(x.flatten(1))

    model = Model(run, last=nn.Linear(128, N_CLASSES))
    model.register_buffer("mean", torch.zeros(()))

    with pytest.raises(ExecutorError, match=r"replaces its buffer 'mean'; write self\.mean"):
        prepared(model, images(2, 8, 8), "fused")


def test_a_constant_in_place_of_a_buffer_is_refused():
    """The record would go on reading the old one."""

    def run(model, x):
        model.mean = torch.ones(())
        return model.last(x.flatten(1)) * model.mean

    model = running_mean(in_place=False)
    model.run = run

    with pytest.raises(ExecutorError, match=r"replaces its buffer 'mean'; write self\.mean\.copy_\(\.\.\.\)"):
        prepared(model, images(2, 8, 8), "fused")


def test_a_model_with_two_inputs_or_outputs_is_refused():
    """An executor feeds one tensor and takes one."""
    two = Model(lambda model, x: (model.last(x.flatten(1)), x), last=nn.Linear(128, N_CLASSES))

    with pytest.raises(ExecutorError, match="Model can't run fused"):
        prepared(two, images(2, 8, 8), "fused")
