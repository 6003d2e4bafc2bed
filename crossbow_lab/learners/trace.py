"""Traces one iteration of all learners, forward and backward, into a flat graph of operators.

Tracing once and replaying removes the dispatch of ``vmap`` and autograd from every iteration; the operators, and so
the bits, are the same as without it.
"""

import copy
import operator
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from crossbow_lab.errors import ExecutorError
from crossbow_lab.learners.dropout import KeyedDropout
from crossbow_lab.learners.losses import learner_loss, learner_losses
from crossbow_lab.learners.packed import packed_forward
from crossbow_lab.learners.work import Work

_aten = torch.ops.aten
Tensors = dict[str, Tensor]
Forward = Callable[[Tensors, Tensors, Tensor, Tensor, Tensor], Tensor]


def trace_iteration(
    work: Work, parameters: list[Tensor], buffers: list[Tensor], inputs: Tensor, targets: Tensor, keys: Tensor
) -> fx.GraphModule:
    """Trace ``(parameters, buffers, inputs, targets, keys) -> [losses, *gradients]`` of all learners.

    Parameters
    ----------
    parameters : one (k, *shape) per slot of the bank
    buffers : one (k, *shape) per buffer of the model
    inputs, targets : (k, b, ...)
    keys : int64 (k,), the learners' dropout keys

    Returns
    -------
    fx.GraphModule of aten operators, whose flat inputs are the arguments in order.

    Raises
    ------
    ExecutorError
        If the model can't be traced, with torch's reason.
    """
    names = [slot.name for slot in work.bank.slots]
    buffer_names = list(work.bank.buffers)

    def iteration(
        forward: Forward,
        parameters: list[Tensor],
        buffers: list[Tensor],
        inputs: Tensor,
        targets: Tensor,
        keys: Tensor,
    ) -> list[Tensor]:
        leaves = [p.detach().requires_grad_() for p in parameters]
        own = dict(zip(names, leaves, strict=True))
        state = dict(zip(buffer_names, buffers, strict=True))
        with work.autocast():
            losses = forward(own, state, inputs, targets, keys)
        gradients = torch.autograd.grad(
            losses,
            leaves,
            torch.ones(len(losses), dtype=losses.dtype, device=losses.device),
            allow_unused=True,
            materialize_grads=True,
        )
        return [losses.detach(), *gradients]

    errors = []
    for make_forward in (_layered_forward, _whole_forward):
        try:
            forward = make_forward(replace(work, model=_shared_copy(work.model)))
            # With real tensors: the plan takes its memory's strides from here, and torch's fake ones can differ.
            own_buffers = [buffer.clone() for buffer in buffers]
            traced = make_fx(partial(iteration, forward))(parameters, own_buffers, inputs, targets, keys)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # torch raises almost anything when a model can't be traced
            errors.append(error)
            continue
        simplify(traced)
        return traced
    raise ExecutorError(
        f"{type(work.model).__name__} can't run fused: {_first_line(errors[-1])}. executor='loop' runs any model."
    ) from errors[-1]


def _shared_copy(model: nn.Module) -> nn.Module:
    """Copy a model but not its tensors: tracing leaves proxies in the attributes that a forward pass sets."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


class _Tracer(fx.Tracer):
    """Records what a model does to its buffers too, which would otherwise be done once, while tracing."""

    proxy_buffer_attributes = True


def _layered_forward(work: Work) -> Forward:
    """Return the packed forward pass, layer by layer."""
    graph = _layers(work.model)
    first_names = {id(parameter): name for name, parameter in work.model.named_parameters()}
    tied = {
        name: first_names[id(parameter)]
        for name, parameter in work.model.named_parameters(remove_duplicate=False)
        if parameter.requires_grad
    }

    def forward(own: Tensors, state: Tensors, inputs: Tensor, targets: Tensor, keys: Tensor) -> Tensor:
        drawn = keys if work.has_dropout else None
        everywhere = {name: own[first] for name, first in tied.items()}
        return learner_losses(work.loss, packed_forward(graph, everywhere, state, inputs, drawn), targets)

    return forward


def _layers(model: nn.Module) -> fx.GraphModule:
    """Record a model layer by layer. Where it replaces a buffer, the record writes to the buffer instead."""
    before = dict(model.named_buffers())
    graph = _Tracer().trace(model)
    with graph.inserting_before(graph.output_node()):
        for name, buffer in before.items():
            path, _, own = name.rpartition(".")
            holder: dict[str, Any] = model.get_submodule(path)._buffers
            new = holder[own]
            if new is buffer:
                continue
            if not isinstance(new, fx.Proxy):
                raise TypeError(f"the buffer {name!r} is replaced by a constant")
            holder[own] = buffer
            graph.call_method("copy_", (graph.get_attr(name), graph.call_method("detach", (new.node,))))
    return fx.GraphModule(model, graph)


class _Watched(nn.Module):
    """A model that may write to its buffers but not replace them, which ``functional_call`` would undo unseen."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        """Run the model; raise ExecutorError if it has replaced a buffer."""
        before = dict(self.model.named_buffers())
        output = self.model(x)
        for name, buffer in self.model.named_buffers():
            if buffer is not before[name]:
                raise ExecutorError(f"it replaces its buffer {name!r}; write self.{name}.copy_(...) instead")
        return output


def _whole_forward(work: Work) -> Forward:
    """Return ``vmap`` of one learner's whole forward pass and loss."""
    model = _Watched(work.model)

    def one_learner(own: Tensors, state: Tensors, x: Tensor, y: Tensor, key: Tensor) -> Tensor:
        named = {f"model.{name}": tensor for name, tensor in (own | state).items()}
        with KeyedDropout(key):
            return learner_loss(work.loss, functional_call(model, named, (x,)), y)

    def forward(own: Tensors, state: Tensors, inputs: Tensor, targets: Tensor, keys: Tensor) -> Tensor:
        return torch.vmap(one_learner, randomness="error")(own, state, inputs, targets, keys)

    return forward


def simplify(traced: fx.GraphModule) -> None:
    """Take out of the graph, in place, what computes nothing; and write linear layers' gradients the right way round.

    A linear layer's weight gradient comes out of autograd as (x^T dy)^T. As dy^T x it lies in memory as the bank
    holds it, and needs no transposing copy (measured, lenet k = 16: 40 ms less of 105 an iteration).
    """
    for node in list(traced.graph.nodes):
        if _is_identity(node):
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    for node in list(traced.graph.nodes):
        if node.target in (_aten.max_pool2d_with_indices_backward.default, _aten.avg_pool2d_backward.default):
            _match_format(traced.graph, node)
    output = next(node for node in traced.graph.nodes if node.op == "output")
    for gradient in output.args[0][1:]:
        _swap_transposed_product(traced.graph, gradient)
    traced.graph.eliminate_dead_code()
    traced.recompile()


def _is_identity(node: fx.Node) -> bool:
    """Tell whether a node returns its first argument unchanged."""
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
        return False
    if node.target in (_aten.detach.default, _aten.alias.default, _aten.lift_fresh_copy.default):
        return True
    if node.target in (_aten.mul.Scalar, _aten.mul.Tensor) and node.args[1] in (1, 1.0):
        return bool(node.meta["val"].dtype == node.args[0].meta["val"].dtype)
    same = (_aten.view.default, _aten._unsafe_view.default, _aten.expand.default, _aten.permute.default)
    if node.target in (*same, _aten.squeeze.dims):
        mine, source = node.meta.get("val"), node.args[0].meta.get("val")
        return (
            isinstance(mine, Tensor)
            and isinstance(source, Tensor)
            and mine.shape == source.shape
            and mine.stride() == source.stride()
        )
    return False


def _match_format(graph: fx.Graph, pool_backward: fx.Node) -> None:
    """Give a pool's backward its gradient channels last where its images are; mixed, it is up to ten times slower."""
    gradient, images = pool_backward.args[:2]
    assert isinstance(gradient, fx.Node)  # noqa: S101  (the operators' first two arguments are tensors)
    assert isinstance(images, fx.Node)  # noqa: S101
    last = torch.channels_last
    own, other = gradient.meta["val"], images.meta["val"]
    if own.dim() != 4 or own.is_contiguous(memory_format=last) or not other.is_contiguous(memory_format=last):
        return
    with graph.inserting_before(pool_backward):
        copy = graph.call_function(_aten.clone.default, (gradient,), {"memory_format": last})
    copy.meta["val"] = own.contiguous(memory_format=last)
    pool_backward.replace_input_with(gradient, copy)


def _swap_transposed_product(graph: fx.Graph, gradient: fx.Node) -> None:
    """Rewrite ``transpose(bmm(a, b))`` as ``bmm(b^T, a^T)`` in place."""
    if gradient.target is not _aten.transpose.int or set(gradient.args[1:]) not in ({1, 2}, {-2, -1}):
        return
    product = gradient.args[0]
    if not isinstance(product, fx.Node) or product.target is not _aten.bmm.default or len(product.users) > 1:
        return
    left, right = product.args
    with graph.inserting_before(gradient):
        swapped = [graph.call_function(_aten.transpose.int, (factor, 1, 2)) for factor in (right, left)]
        for node, factor in zip(swapped, (right, left), strict=True):
            node.meta["val"] = factor.meta["val"].transpose(1, 2)  # type: ignore[union-attr]
        result = graph.call_function(_aten.bmm.default, tuple(swapped))
        result.meta["val"] = gradient.meta["val"].contiguous()
    gradient.replace_all_uses_with(result)


def _first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def is_view(target: Any) -> bool:
    """Tell whether an operator only ever returns a view of its argument."""
    if target is operator.getitem or not isinstance(target, torch._ops.OpOverload):
        return False
    returns = target._schema.returns
    alias = returns[0].alias_info if len(returns) == 1 else None
    return (alias is not None and not alias.is_write) or target is _aten._unsafe_view.default
