"""Our executors as contenders on a device: whole iterations as programs, as a Session has them, and no Session."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from crossbow_lab.averaging import SMA, resolve_alpha
from crossbow_lab.bench.cuda.feed import Feed
from crossbow_lab.bench.cuda.timing import captured, device_run
from crossbow_lab.bench.measure import Run
from crossbow_lab.bench.subjects import LEARNING_RATE
from crossbow_lab.errors import ExecutorError
from crossbow_lab.kernels.averaging import make_partials, make_scalars, write_scalars
from crossbow_lab.learners import Work, admit, make_bank, one_device
from crossbow_lab.learners.program import MOST_LANES, Program, Task, make_learning, make_program
from crossbow_lab.learners.update import Rule, whole_update
from crossbow_lab.learners.work import Learning
from crossbow_lab.session.device_iterations import AT_ONCE


@dataclass(frozen=True)
class Shape:
    """How a model is trained.

    Attributes
    ----------
    executor : "fused" or "streams".
    n_learners, batch_size : k and b.
    amp : whether passes run in bfloat16.
    """

    executor: str
    n_learners: int
    batch_size: int
    amp: bool = False

    def __str__(self) -> str:
        return f"{self.executor} k={self.n_learners}"

    @property
    def samples(self) -> int:
        """Samples of one iteration."""
        return self.n_learners * self.batch_size

    @property
    def at_once(self) -> int:
        """Iterations in one graph, as many as a Session has."""
        many = self.n_learners if self.executor == "streams" else 1
        return max(1, AT_ONCE * MOST_LANES // max(MOST_LANES, many))


@dataclass(frozen=True)
class Ours:
    """A program and what it is made from."""

    shape: Shape
    feed: Feed
    task: Task
    learning: Learning
    program: Program

    def launch(self) -> None:
        """Put the program's iterations on the current stream; the host doesn't wait."""
        iterations = self.program.iterations
        self.feed.begin(iterations * self.shape.samples)
        self.program.run()
        self.feed.advanced(iterations * self.shape.samples, iterations)

    @property
    def run(self) -> Run:
        """What is timed."""
        return device_run(self.launch, self.feed.device, at_once=self.program.iterations)


def ours(model: nn.Module, feed: Feed, shape: Shape) -> Ours:
    """Make a program of SMA iterations, with cuDNN set as a Session sets it.

    Parameters
    ----------
    model : nn.Module
        Moved to the device; its weights are w_0, and learners of their own are trained.
    feed : Feed
        Where samples come from, and the device.
    shape : Shape
        How it is trained.

    Raises
    ------
    ExecutorError
        If the executor can't run the model, or only without a graph on a device that should have one.
    """
    task, learning = _task_and_learning(model, feed, shape)
    feed.begin(shape.at_once * shape.samples)
    with one_device(feed.device):
        program = make_program(task, shape.executor, learning, Rule("sma", has_local_momentum=False), shape.at_once)
    if program.note:
        raise ExecutorError(program.note)
    return Ours(shape, feed, task, learning, program)


def passes_run(made: Ours) -> Run:
    """Return the same iterations without their update, in a graph of their own: what averaging is a share of."""
    learning, supply, shape = made.learning, made.feed.supply, made.shape
    inputs, targets = learning.inputs.flatten(0, 1), learning.targets.flatten(0, 1)

    def work() -> None:
        for i in range(shape.at_once):
            supply.gather(inputs, targets, i * shape.samples)
            for part in learning.parts:
                part(supply.cursor[1])
            made.program.losses[i].copy_(learning.losses)
        supply.advance(0, 0)  # launched, but samples are taken again: gathering costs the same

    made.feed.begin(shape.at_once * shape.samples)
    with one_device(made.feed.device):
        replay = captured(work, made.feed.device)
    return device_run(replay, made.feed.device, at_once=shape.at_once)


def update_run(made: Ours) -> Run:
    """Return the update alone, as often as a program has iterations."""
    shape, bank = made.shape, made.task.work.bank
    partials = make_partials(bank.weights[: shape.n_learners])
    update = whole_update(bank, Rule("sma", has_local_momentum=False), shape.n_learners, made.task.scalars, partials)

    def work() -> None:
        for _ in range(shape.at_once):
            update()

    return device_run(captured(work, made.feed.device), made.feed.device, at_once=shape.at_once)


def preparing(model: nn.Module, feed: Feed, shape: Shape) -> Callable[[], Run]:
    """Return what makes a program when its turn to warm up comes."""
    return lambda: ours(model, feed, shape).run


def _task_and_learning(model: nn.Module, feed: Feed, shape: Shape) -> tuple[Task, Learning]:
    """Put learners on the device, and bind their passes."""
    model = model.to(feed.device).train()
    bank = make_bank(model, max_learners=shape.n_learners)
    admit(bank, 0, shape.n_learners, model, local_momentum=False)
    work = Work(model, bank, "cross_entropy", 0, has_dropout=False, amp=shape.amp)
    scalars = make_scalars(bank.weights)
    write_scalars(
        scalars,
        learning_rate=LEARNING_RATE,
        alpha=resolve_alpha(SMA(), shape.n_learners),
        momentum=SMA().momentum,
    )
    with one_device(feed.device):
        learning = make_learning(
            work, shape.executor, shape.n_learners, shape.batch_size, feed.batches.take(0, shape.samples)
        )
    return Task(work, feed.supply, scalars), learning
