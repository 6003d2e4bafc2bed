"""The traced operators of one learner's iteration, with the bytes of their outputs."""

from collections.abc import Iterable
from math import ceil

from torch import Tensor, fx, nn

from crossbow_lab.errors import ExecutorError
from crossbow_lab.learners import Loss, Work, admit, draws_random_numbers, make_bank
from crossbow_lab.learners.dropout import learner_keys
from crossbow_lab.learners.plan import bases_of, constants_of, direct_targets, writing_form
from crossbow_lab.learners.trace import trace_iteration
from crossbow_lab.memory.buffers import Operator

# The graph is the same for any number of learners from 2 on: for one, layers are not packed.
_TRACED = 2
"""Learners that are traced together."""


def dataflow(
    model: nn.Module, loss: Loss, inputs: Tensor, targets: Tensor, *, amp: bool = False
) -> tuple[Operator, ...]:
    """Trace a model's forward and backward pass into operators with the bytes of one learner's outputs.

    Parameters
    ----------
    model : nn.Module
        In training mode; not changed.
    loss : str or callable
        As a session takes it.
    inputs, targets : Tensor (b, ...)
        One learner's batch.
    amp : bool
        Whether passes run in bfloat16.

    Returns
    -------
    tuple of Operator
        The last one, "results", reads the losses and those gradients that have to be copied to the bank. Those that
        are written there directly take no memory here.

    Raises
    ------
    ExecutorError
        If the model can't be traced.
    """
    bank = make_bank(model, max_learners=_TRACED)
    admit(bank, 0, _TRACED, model, local_momentum=False)
    work = Work(model, bank, loss, 0, draws_random_numbers(model, inputs), amp)
    all_inputs, all_targets = (tensor.expand(_TRACED, *tensor.shape).contiguous() for tensor in (inputs, targets))
    weights, gradients = bank.views(bank.weights), bank.views(bank.gradients)
    try:
        traced = trace_iteration(
            work,
            [weights[slot.name] for slot in bank.slots],
            list(bank.buffers.values()),
            all_inputs,
            all_targets,
            learner_keys(0, _TRACED, inputs.device),
        )
    except ExecutorError as error:
        raise ExecutorError(
            f"a memory plan is made of traced operators, and {type(model).__name__} can't be traced ({error}); give a "
            "model without Python control flow on its data"
        ) from error
    return _operators(traced, [gradients[slot.name] for slot in bank.slots])


def _operators(traced: fx.GraphModule, gradients: list[Tensor]) -> tuple[Operator, ...]:
    """Return a traced graph's operators, views and writes in place resolved to whose memory they show."""
    nodes = list(traced.graph.nodes)
    bases, once = bases_of(nodes), constants_of(nodes, bases_of(nodes))
    results = list(nodes[-1].args[0])
    direct = direct_targets(dict(reversed(list(zip(results[1:], gradients, strict=True)))))
    numbers: dict[fx.Node, int] = {}
    operators: list[Operator] = []
    for node in nodes:
        if node.op != "call_function":
            continue
        has_own = bases[node] is node and node not in direct
        output_bytes = ceil(sum(map(_extent_bytes, _outputs(node))) / _TRACED) if has_own else 0
        is_planned = node not in once and writing_form(node) is not None
        numbers[node] = len(operators)
        operators.append(Operator(_name(node), output_bytes, _reads(node.all_input_nodes, bases, numbers), is_planned))
    return (*operators, Operator("results", 0, _reads(results, bases, numbers)))


def _reads(sources: Iterable[fx.Node], bases: dict[fx.Node, fx.Node], numbers: dict[fx.Node, int]) -> tuple[int, ...]:
    """Return the operators whose memory is read; the graph's inputs are none."""
    return tuple(sorted({numbers[bases[source]] for source in sources if bases[source] in numbers}))


def _outputs(node: fx.Node) -> list[Tensor]:
    """Return what stands for a node's outputs while tracing."""
    value = node.meta.get("val")
    return [part for part in (value if isinstance(value, tuple | list) else (value,)) if isinstance(part, Tensor)]


def _extent_bytes(like: Tensor) -> int:
    """Return the bytes from a tensor's first element to its last."""
    if like.numel() == 0:
        return 0
    return (1 + sum((n - 1) * stride for n, stride in zip(like.shape, like.stride(), strict=True))) * like.itemsize


def _name(node: fx.Node) -> str:
    """Return an operator's name without overload."""
    packet = getattr(node.target, "overloadpacket", node.target)
    return str(getattr(packet, "__name__", packet))
