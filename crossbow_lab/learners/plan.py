"""Runs a traced iteration again and again in memory that is planned once.

Every operator that can write into given memory does; the memory is reused within the iteration as soon as its last
reader is done, by reference counts and first fit, as in CROSSBOW's offline memory plan. Views of planned memory are
made once, not per iteration. What is left per iteration is a list of calls with fixed arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from crossbow_lab.learners.trace import is_view

_aten = torch.ops.aten
# Written directly into the bank from this many elements a learner on: below, one batched product into planned memory
# and a copy is faster than one product per learner (the bank's rows are too far apart for a batched one).
# Measured, k = 16, b = 4: 128 x 128 weights 0.09 against 0.12 ms; 1024 x 1024 9 against 25 ms.
_DIRECT_ELEMENTS = 1 << 16
# Operators that write correctly into given memory whatever its strides. A list, since some others write as if theirs
# were the strides that torch would have chosen (seen with torch 2.13: batch norm of a single sample).
_PLANNED = frozenset(
    [
        *(_aten.bmm.default, _aten.baddbmm.default, _aten.mm.default, _aten.addmm.default),
        *(_aten.add.Tensor, _aten.sub.Tensor, _aten.mul.Tensor, _aten.div.Tensor),
        *(_aten.neg.default, _aten.exp.default, _aten.log.default, _aten.sqrt.default, _aten.rsqrt.default),
        *(_aten.clone.default, _aten.where.self, _aten.sum.dim_IntList, _aten.mean.dim, _aten.cat.default),
        *(_aten.relu.default, _aten.threshold_backward.default, _aten.sigmoid.default, _aten.sigmoid_backward.default),
        *(_aten.tanh.default, _aten.tanh_backward.default, _aten.gelu.default, _aten.gelu_backward.default),
        *(_aten._log_softmax.default, _aten._log_softmax_backward_data.default),
        *(_aten.nll_loss_forward.default, _aten.nll_loss_backward.default),
        *(_aten.max_pool2d_with_indices.default, _aten.max_pool2d_with_indices_backward.default),
        *(_aten.avg_pool2d.default, _aten.avg_pool2d_backward.default),
    ]
)
# Those of them known to write rows that lie apart, as the bank's do, and not as if there were no gaps (seen with
# torch 2.13: the backward of log-softmax).
_STRIDED = (_aten.bmm.default, _aten.sum.dim_IntList)
# Views through torch's Python methods, which take 1 us instead of 10.
_QUICK_VIEWS: dict[Any, Callable[..., Any]] = {
    _aten.view.default: Tensor.view,
    _aten._unsafe_view.default: Tensor.view,
    _aten.permute.default: Tensor.permute,
    _aten.transpose.int: Tensor.transpose,
}


@dataclass(frozen=True)
class _Value:
    """A value known only while the iteration runs: where in ``values`` it is found."""

    index: int


class Plan:
    """A traced iteration bound to memory.

    Parameters
    ----------
    traced : fx.GraphModule
        From `crossbow_lab.learners.trace.trace_iteration`; nodes carry fake tensors in ``meta["val"]``.
    inputs : list of Tensor
        What the graph's inputs are bound to, in order: read anew at each call.
    outputs : list of Tensor
        Where the graph's outputs are written.

    Attributes
    ----------
    planned_bytes : int
        Memory held for values within the iteration.
    """

    def __init__(self, traced: fx.GraphModule, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        nodes = list(traced.graph.nodes)
        results = list(nodes[-1].args[0])
        self._values: list[Any] = []
        self._calls: list[Callable[[], Any]] = []
        self._known: dict[fx.Node, Any] = {}
        self._pool = _Pool()
        self._bases = bases_of(nodes)
        self._last_use = _last_uses(nodes, self._bases)
        self._constants = constants_of(nodes, self._bases)
        targets = list(zip(results, outputs, strict=True))
        direct = direct_targets(dict(reversed(targets)))

        supply = iter(inputs)
        for position, node in enumerate(nodes):
            if node.op == "placeholder":
                self._known[node] = next(supply)
            elif node.op == "get_attr":
                self._known[node] = getattr(traced, str(node.target))
            elif node.op == "call_function":
                self._add(node, direct.get(node))
                self._pool.release(position)
        for node, target in targets:
            if direct.get(node) is not target:
                self._emit(Tensor.copy_, (target, self._known[node]), {}, None)
        self.planned_bytes = self._pool.total_bytes

    def __call__(self) -> None:
        """Run one iteration."""
        for call in self._calls:
            call()

    def _add(self, node: fx.Node, target: Tensor | None) -> None:
        """Plan one operator."""
        args = fx.node.map_arg(node.args, lambda source: self._known[source])
        kwargs = fx.node.map_arg(node.kwargs, lambda source: self._known[source])
        is_fixed = not _has_value(args) and not _has_value(kwargs)
        if node in self._constants:
            self._known[node] = node.target(*args, **kwargs)  # type: ignore[operator]
            return
        if is_view(node.target):
            if is_fixed:
                self._known[node] = node.target(*args, **kwargs)  # type: ignore[operator]
            else:
                view = _QUICK_VIEWS.get(node.target, node.target)
                self._known[node] = self._emit(view, args, kwargs, self._new_value())
            return
        if _is_in_place(node.target) and is_fixed and isinstance(node.meta.get("val"), Tensor):
            self._emit(node.target, args, kwargs, None)
            self._known[node] = args[0]
            return
        writes = writing_form(node)
        if writes is None:
            function = node.target
            if isinstance(args[0], list | tuple) and is_fixed:  # one of several planned results
                self._known[node] = args[0][args[1]]  # type: ignore[index]
                return
            self._known[node] = self._emit(function, args, kwargs, self._new_value())
            return
        function, names = writes
        fakes = node.meta["val"] if isinstance(node.meta["val"], tuple | list) else (node.meta["val"],)
        memory = [self._pool.take(fake, self._last_use[node]) for fake in fakes] if target is None else [target]
        self._emit(function, args, {**kwargs, **dict(zip(names, memory, strict=True))}, None)
        self._known[node] = memory[0] if isinstance(node.meta["val"], Tensor) else tuple(memory)

    def _new_value(self) -> _Value:
        """Reserve a place for a value that each iteration makes anew."""
        self._values.append(None)
        return _Value(len(self._values) - 1)

    def _emit(self, function: Any, args: Any, kwargs: dict[str, Any], result: _Value | None) -> _Value | None:
        """Append one call to the iteration."""
        values = self._values
        function = getattr(function, "_op", function)  # the operator below torch's Python wrapper: 0.5 us less
        if not _has_value(args) and not _has_value(kwargs):
            if result is None:

                def call() -> None:
                    function(*args, **kwargs)

            else:
                made_at = result.index

                def call() -> None:
                    values[made_at] = function(*args, **kwargs)

        else:
            place = None if result is None else result.index
            fill = _filler(args)

            def call() -> None:
                made = function(*fill(values), **kwargs)
                if place is not None:
                    values[place] = made

            if _has_value(kwargs):
                raise TypeError(f"{function} takes a value made in the iteration by keyword")
        self._calls.append(call)
        return result


def direct_targets(targets: dict[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
    """Find the outputs whose operator can write straight to where the output goes.

    Returns the memory by output, and by the node that computes it where views lie in between.
    """
    direct = {}
    for node, target in targets.items():
        base, memory = node, target
        while base.target in (_aten.view.default, _aten.squeeze.dim, _aten.unsqueeze.default):
            source = base.args[0]
            assert isinstance(source, fx.Node)  # noqa: S101  (these operators' first argument is a tensor)
            try:
                memory = memory.view(source.meta["val"].shape)
            except RuntimeError:  # the bank's rows are too far apart for this view
                break
            base = source
        is_large = memory.dim() > 0 and memory[0].numel() >= _DIRECT_ELEMENTS
        if base.target not in _STRIDED or (base.target is _aten.bmm.default and not is_large):
            continue
        if base not in direct and base.meta["val"].dtype == memory.dtype:
            direct[node], direct[base] = target, memory
    return direct


class _Pool:
    """Memory for values within the iteration, reused once the last reader is done."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        self._taken: list[tuple[int, Tensor]] = []
        self.total_bytes = 0

    def take(self, like: Tensor, last_use: int) -> Tensor:
        """Return memory for a tensor with the shape, strides and dtype of ``like``, held until ``last_use``."""
        extent = 1 + sum((size - 1) * stride for size, stride in zip(like.shape, like.stride(), strict=True))
        needed = max(64, extent * like.dtype.itemsize)
        fitting = [block for block in self._free if needed <= block.numel() <= 4 * needed]
        if fitting:
            block = min(fitting, key=Tensor.numel)
            self._free = [other for other in self._free if other is not block]
        else:
            block = torch.zeros(-(-needed // 64) * 64, dtype=torch.uint8, device=like.device)
            self.total_bytes += block.numel()
        self._taken.append((last_use, block))
        whole = block[: extent * like.dtype.itemsize].view(like.dtype)
        return whole.as_strided(like.shape, like.stride())

    def release(self, position: int) -> None:
        """Give back what no node after ``position`` reads."""
        self._free += [block for last_use, block in self._taken if last_use <= position]
        self._taken = [(last_use, block) for last_use, block in self._taken if last_use > position]


def bases_of(nodes: list[fx.Node]) -> dict[fx.Node, fx.Node]:
    """Say for each node which node's memory it shows: its own, or for views and writes in place its argument's."""
    bases: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        source = node.args[0] if node.args else None
        shows = node.op == "call_function" and (_is_item(node) or _aliases(node.target))
        bases[node] = bases[source] if shows and isinstance(source, fx.Node) else node
    return bases


def _aliases(target: Any) -> bool:
    """Tell whether an operator returns a view of its first argument, or that argument after writing to it."""
    if target is _aten._unsafe_view.default:
        return True
    returns = target._schema.returns if isinstance(target, torch._ops.OpOverload) else ()
    return any(result.alias_info is not None for result in returns)


def _is_in_place(target: Any) -> bool:
    """Tell whether an operator writes to one of its arguments."""
    return isinstance(target, torch._ops.OpOverload) and bool(target._schema.is_mutable)


def _last_uses(nodes: list[fx.Node], bases: dict[fx.Node, fx.Node]) -> dict[fx.Node, int]:
    """Say for each node the position of the last node that reads its memory."""
    last: dict[fx.Node, int] = {}
    for position, node in enumerate(nodes):
        last.setdefault(bases[node], position)
        for source in node.all_input_nodes:
            last[bases[source]] = position
    return last


def constants_of(nodes: list[fx.Node], bases: dict[fx.Node, fx.Node]) -> set[fx.Node]:
    """Find the nodes whose value doesn't depend on the graph's inputs and isn't written to; computed once."""
    written = {bases[source] for node in nodes if _is_in_place(node.target) for source in node.all_input_nodes}
    constants: set[fx.Node] = set()
    for node in nodes:
        if node.op == "get_attr" or (
            node.op == "call_function"
            and isinstance(node.target, torch._ops.OpOverload)
            and not node.target._schema.is_mutable
            and torch.Tag.nondeterministic_seeded not in node.target.tags
            and bases[node] not in written
            and all(source in constants for source in node.all_input_nodes)
        ):
            constants.add(node)
    return constants


def _is_item(node: fx.Node) -> bool:
    """Tell whether a node picks one of an operator's several results."""
    return getattr(node.target, "__name__", "") == "getitem"


def writing_form(node: fx.Node) -> tuple[Any, list[str]] | None:
    """Find the form of a node's operator that writes into given memory, and the names of its outputs.

    None where it isn't one of `_PLANNED`, or torch has only a generated form, which computes elsewhere and copies.
    """
    target = node.target
    if target is _aten.clone.default:
        return _copy_into, ["out"]
    if target is _aten.relu.default:
        return _relu_into, ["out"]
    if target not in _PLANNED or not isinstance(target, torch._ops.OpOverload):
        return None
    packet = target.overloadpacket
    mine = [argument.name for argument in target._schema.arguments]
    for name in packet.overloads():
        other = getattr(packet, name)
        arguments = other._schema.arguments
        outs = [argument.name for argument in arguments if argument.is_out]
        rest = [argument for argument in arguments if not argument.is_out]
        if not outs or torch.Tag.generated in other.tags or len(outs) != len(target._schema.returns):
            continue
        same_types = [str(a.type) for a in rest] == [str(a.type) for a in target._schema.arguments]
        if [argument.name for argument in rest] == mine and same_types:
            return other, outs
    return None


def _copy_into(source: Tensor, *, memory_format: Any = None, out: Tensor) -> None:
    """``clone`` into given memory."""
    del memory_format  # already in the strides of out
    out.copy_(source)


def _relu_into(source: Tensor, *, out: Tensor) -> None:
    """``relu`` into given memory; torch has only a form that copies."""
    torch.clamp_min(source, 0, out=out)


def _has_value(arguments: Any) -> bool:
    """Tell whether any argument is only known while the iteration runs."""
    if isinstance(arguments, _Value):
        return True
    if isinstance(arguments, dict):
        return any(_has_value(argument) for argument in arguments.values())
    return isinstance(arguments, list | tuple) and any(_has_value(argument) for argument in arguments)


def _filler(args: Any) -> Callable[[list[Any]], tuple[Any, ...]]:
    """Return a function that puts this iteration's values in their places among the arguments."""

    def filled(argument: Any, values: list[Any]) -> Any:
        if isinstance(argument, _Value):
            return values[argument.index]
        if isinstance(argument, list | tuple) and _has_value(argument):
            return type(argument)(filled(part, values) for part in argument)
        return argument

    return lambda values: tuple([filled(argument, values) for argument in args])
