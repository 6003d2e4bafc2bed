"""Whole iterations on a device as one thing to run: batches, the learners' passes, and averaging.

A program runs a fixed number of iterations. Where that can be, it is one CUDA graph, replayed with one launch; the
same calls made one by one give the same bits, and are what runs elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from crossbow_lab.errors import ExecutorError
from crossbow_lab.kernels import averaging as kernels
from crossbow_lab.learners.fused import fused_learning
from crossbow_lab.learners.graph import capture
from crossbow_lab.learners.lanes import HostLane, Lane, current_lane, make_lanes
from crossbow_lab.learners.loop import split_learning
from crossbow_lab.learners.resident import Supply
from crossbow_lab.learners.timeline import ALL, Piece, Recorder, timed
from crossbow_lab.learners.update import Rule, SplitUpdate, rehearse, split_update, whole_update
from crossbow_lab.learners.work import Learning, Work

# More branches than this gain nothing on any GPU that was reported on: their kernels wait for each other.
MOST_LANES = 8


@dataclass(frozen=True, eq=False)  # a program is itself and no other
class Program:
    """Iterations of one setting, ready to run.

    Attributes
    ----------
    run : trains ``iterations`` iterations from where the supply's cursor is; returns before the device is done.
    iterations : how many.
    losses : (iterations, replicas), overwritten by each run.
    partials : squared norms of the last iteration, see `crossbow_lab.kernels.averaging.make_partials`; None where
        the update gives none.
    note : why it isn't a graph; empty where it is one, or isn't meant to be.
    """

    run: Callable[[], None]
    iterations: int
    losses: Tensor
    partials: Tensor | None
    note: str = ""


@dataclass(frozen=True)
class Task:
    """What programs of one session are made from.

    Attributes
    ----------
    work : the learners' common task.
    supply : where batches come from.
    scalars : learning rate and such, in device memory, so that a graph sees new values.
    """

    work: Work
    supply: Supply
    scalars: Tensor


def make_learning(
    work: Work, executor: str, replicas: int, batch_size: int, example: tuple[Tensor, Tensor]
) -> Learning:
    """Return the learners' passes in the form that an executor's program takes.

    Parameters
    ----------
    example : inputs and targets (m, ...)
        For shapes and dtypes.

    Raises
    ------
    ExecutorError
        If the executor can't run the model.
    """
    make = fused_learning if executor == "fused" else split_learning
    return make(work, replicas, batch_size, *example)


def make_program(
    task: Task, executor: str, learning: Learning, rule: Rule, iterations: int, recorder: Recorder | None = None
) -> Program:
    """Return a program; on CUDA, ``fused`` and ``streams`` are captured, but not where a recorder times their tasks.

    The supply must have begun where training stands. Learners, z and the cursor are left as they are.

    Raises
    ------
    torch.OutOfMemoryError
        If there is no memory for it.
    """
    is_split = executor == "streams"
    losses = torch.zeros(iterations, *learning.losses.shape, dtype=learning.losses.dtype, device=learning.losses.device)
    replicas, bank, device = losses.shape[1], task.work.bank, losses.device
    has_norms = not is_split and rule.name in ("sma", "easgd")
    partials = kernels.make_partials(bank.weights[:replicas]) if has_norms else None
    lanes = make_lanes(device, min(replicas, MOST_LANES)) if is_split else []
    if is_split:
        split = _with_names(rule, split_update(bank, rule, replicas, task.scalars))
        launch = _side_by_side(task, learning, split, losses, lanes, recorder)
    else:
        whole = _named(rule, "synchronisation", ALL, whole_update(bank, rule, replicas, task.scalars, partials))
        launch = _in_one_piece(task, learning, whole, losses, recorder)
    program = Program(launch, iterations, losses, partials)
    if device.type != "cuda" or executor == "loop" or recorder is not None:
        return program

    def warm_up() -> None:
        run_passes(task, learning, lanes or [current_lane(device)])
        rehearse(bank, rule, replicas, has_norms, is_split=is_split)

    try:
        return replace(program, run=capture(launch, warm_up, device))
    except ExecutorError as error:
        return replace(program, note=f"{type(task.work.model).__name__} runs without a CUDA graph: {error}")


def _with_names(rule: Rule, update: SplitUpdate) -> SplitUpdate:
    """Return an update whose parts have the names of their tasks."""
    corrections = [_named(rule, "local_synchronisation", j, one) for j, one in enumerate(update.corrections)]
    average = update.average
    return SplitUpdate(tuple(corrections), None if average is None else Piece("global_synchronisation", ALL, average))


def _named(rule: Rule, kind: str, learner: int, update: Callable[[], None]) -> Callable[[], None]:
    """Return an update with the name of its task: learners' own steps are learning, and no update is no task."""
    if rule.name == "none":
        return update
    return Piece("learning" if rule.name == "sgd" else kind, learner, update)


def _in_one_piece(
    task: Task, learning: Learning, update: Callable[[], None], losses: Tensor, recorder: Recorder | None
) -> Callable[[], None]:
    """Return what launches iterations one after the other, with one update for all learners."""
    iterations = losses.shape[0]
    supply, samples = task.supply, learning.inputs.shape[0] * learning.inputs.shape[1]
    inputs, targets = learning.inputs.flatten(0, 1), learning.targets.flatten(0, 1)
    learners = range(len(learning.parts)) if len(learning.parts) > 1 else (ALL,)

    def launch() -> None:
        # A lane that only does its work leaves it on the stream that is current, also while that is captured.
        lane: Lane = HostLane() if recorder is None else timed(current_lane(losses.device), "device", recorder)
        for i in range(iterations):
            lane.do(Piece("data", ALL, partial(supply.gather, inputs, targets, i * samples)))
            number = _number(task, i)
            for j, part in zip(learners, learning.parts, strict=True):
                lane.do(Piece("learning", j, partial(part, number)))
            losses[i].copy_(learning.losses)
            lane.do(update)
        supply.advance(iterations * samples, iterations)

    return launch


def _side_by_side(
    task: Task,
    learning: Learning,
    update: SplitUpdate,
    losses: Tensor,
    lanes: list[Lane],
    recorder: Recorder | None,
) -> Callable[[], None]:
    """Return what launches learners on lanes of their own, and the averaging on another one.

    Learner j's gradient, correction and next forward pass follow each other on its lane; only its correction waits,
    for the averaging of the iteration before, which so overlaps the forward and backward pass.
    """
    (averaging,) = make_lanes(losses.device, 1)
    lanes = [timed(lane, f"lane {number}", recorder) for number, lane in enumerate(lanes)]
    averaging = timed(averaging, "averaging", recorder)

    def launch() -> None:
        launch_side_by_side(task, learning, update, losses, current_lane(losses.device), lanes, averaging)

    return launch


def launch_side_by_side(
    task: Task,
    learning: Learning,
    update: SplitUpdate,
    losses: Tensor,
    main: Lane,
    lanes: list[Lane],
    averaging: Lane,
) -> None:
    """Put iterations on lanes: learner j on lane j mod their number, averaging on its own; ``main`` waits for all."""
    iterations, replicas = losses.shape
    batch_size = learning.inputs.shape[1]
    begun = main.mark()
    for lane in (*lanes, averaging):
        lane.wait(begun)
    averaged = begun
    for i in range(iterations):
        for j in range(replicas):
            lane = lanes[j % len(lanes)]
            for piece in _pass_of(task, learning, losses, i, j, (i * replicas + j) * batch_size):
                lane.do(piece)
            lane.wait(averaged)
            lane.do(update.corrections[j])
        if update.average is not None:
            for lane in lanes:
                averaging.wait(lane.mark())
            averaging.do(update.average)
            averaged = averaging.mark()
    for lane in (*lanes, averaging):
        main.wait(lane.mark())
    main.do(lambda: task.supply.advance(iterations * replicas * batch_size, iterations))


def _pass_of(task: Task, learning: Learning, losses: Tensor, i: int, j: int, offset: int) -> tuple[Piece, Piece]:
    """Return what launches learner j's batch, and its forward and backward pass on it, in the i-th iteration."""

    def learn() -> None:
        learning.parts[j](_number(task, i))
        losses[i, j].copy_(learning.losses[j])

    gather = partial(task.supply.gather, learning.inputs[j], learning.targets[j], offset)
    return Piece("data", j, gather), Piece("learning", j, learn)


def _number(task: Task, i: int) -> Tensor:
    """Return the number of the i-th iteration of a program, on the device; only dropout asks for it."""
    number = task.supply.cursor[1]
    return number + i if task.work.has_dropout else number


def run_passes(task: Task, learning: Learning, lanes: list[Lane]) -> None:
    """Run the learners' passes on their lanes, and leave no trace of it but in ``bank.gradients``."""
    before = {name: rows.clone() for name, rows in task.work.bank.buffers.items()}
    main = current_lane(learning.losses.device)
    try:
        _run_each(task, learning, lanes, main)
    finally:
        for name, rows in task.work.bank.buffers.items():
            rows.copy_(before[name])


def _run_each(task: Task, learning: Learning, lanes: list[Lane], main: Lane) -> None:
    """Run every part once, on lanes that begin after ``main`` and that it waits for."""
    task.supply.gather(learning.inputs.flatten(0, 1), learning.targets.flatten(0, 1), 0)
    number = _number(task, 0)
    begun = main.mark()
    for j, part in enumerate(learning.parts):
        lane = lanes[j % len(lanes)]
        lane.wait(begun)
        lane.do(partial(part, number))
    for lane in lanes:
        main.wait(lane.mark())
    task.supply.advance(0, 0)
