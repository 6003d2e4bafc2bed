"""The memory plan: replaying it equals calling the traced graph, and no value is lost on the way."""

import gc
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import OWN_MODELS
from small_training import N_CLASSES, Learners, images, prepared
from torch import Tensor, fx, nn

from crossbow_lab.learners.dropout import iteration_keys, learner_keys
from crossbow_lab.learners.plan import Plan, _Pool
from crossbow_lab.learners.trace import trace_iteration
from crossbow_lab.workloads import build_model

K, B = 3, 4
MODELS = ["mlp", "digits-cnn", "lenet", "resnet-8"]
OWN = ["functional dropout", "batch norm 2d", "layer norm", "tied weights", "in place", "several results", "looping"]


@dataclass(frozen=True)
class Planned:
    """A traced iteration, its plan, and the tensors that the plan reads and writes."""

    traced: fx.GraphModule
    plan: Plan
    inputs: list[Tensor]
    outputs: list[Tensor]
    learners: Learners

    def feed(self, iteration: int) -> None:
        """Put the batch and the dropout keys of an iteration where the plan reads them."""
        inputs, targets = self.learners.batches.take(iteration * K * B, K * B)
        batch, labels, keys = self.inputs[-3:]
        batch.flatten(0, 1).copy_(inputs)
        labels.flatten(0, 1).copy_(targets)
        keys.copy_(iteration_keys(learner_keys(0, K, inputs.device), iteration))

    def called(self) -> list[Tensor]:
        """Call the traced graph on copies of what the plan would read."""
        copies = [tensor.clone() for tensor in self.inputs]
        return fx.Interpreter(self.traced).run(*copies, enable_io_processing=False)

    def replayed(self) -> list[Tensor]:
        """Run the plan; put buffers back as they were."""
        before = [tensor.clone() for tensor in self.inputs]
        with torch.no_grad():
            self.plan()
            for tensor, old in zip(self.inputs, before, strict=True):
                tensor.copy_(old)
        return [output.clone() for output in self.outputs]


def planned(name: str) -> Planned:
    """Trace and plan a model of the zoo, or one of our own."""
    torch.manual_seed(0)
    shape = (1, 16, 16) if name == "lenet" else (2, 8, 8)
    model = (
        OWN_MODELS[name]() if name in OWN_MODELS else build_model(name, input_shape=shape, n_classes=N_CLASSES, seed=0)
    )
    learners = prepared(model, images(*shape), "loop", n_learners=K, batch_size=B, dtype=torch.float32)
    bank = learners.bank
    bank.weights.add_(torch.randn_like(bank.weights) / 100)
    weights, gradients = bank.views(bank.weights), bank.views(bank.gradients)
    arguments = (
        [weights[slot.name] for slot in bank.slots],
        list(bank.buffers.values()),
        torch.zeros(K, B, *shape),
        torch.zeros(K, B, dtype=torch.int64),
        torch.zeros(K, dtype=torch.int64),
    )
    traced = trace_iteration(learners.work, *arguments)
    inputs = [*arguments[0], *arguments[1], *arguments[2:]]
    outputs = [torch.zeros(K), *(gradients[slot.name] for slot in bank.slots)]
    return Planned(traced, Plan(traced, inputs, outputs), inputs, outputs, learners)


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    """All tensors are equal, bit for bit."""
    assert [torch.equal(a, b) for a, b in zip(found, expected, strict=True)] == [True] * len(expected)


@pytest.mark.parametrize("name", [*MODELS, *OWN])
def test_plan_gives_the_bits_of_the_traced_graph(name):
    """Losses and gradients of three iterations, each on another batch; then the first again."""
    case = planned(name)
    for iteration in (0, 1, 2, 0):
        case.feed(iteration)
        assert_equal(case.replayed(), case.called())


@pytest.mark.parametrize("name", [*MODELS, *OWN])
def test_plan_reads_nothing_that_an_earlier_iteration_left(name):
    """With all planned memory filled with NaN in between, the result is the same."""
    case = planned(name)
    case.feed(0)
    expected = case.replayed()
    blocks = planned_blocks(case.plan)

    for block in blocks:
        block.fill_(0xFF)  # every float NaN, every whole number -1
    assert_equal(case.replayed(), expected)


def planned_blocks(plan: Plan) -> list[Tensor]:
    """Return all memory that a plan holds for values within the iteration."""
    pool = plan._pool
    blocks = [*pool._free, *(block for _, block in pool._taken)]
    assert blocks
    assert sum(block.numel() for block in blocks) == plan.planned_bytes
    return blocks


def test_plan_reuses_memory_within_the_iteration():
    """Planned memory is less than all values together."""
    case = planned("resnet-8")
    values = [node.meta["val"] for node in case.traced.graph.nodes if isinstance(node.meta.get("val"), Tensor)]
    total = sum(value.numel() * value.element_size() for value in values)

    assert case.plan.planned_bytes < 0.5 * total


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 6)), min_size=1, max_size=25))
def test_pool_gives_no_memory_of_a_value_that_is_still_to_be_read(lives):
    """However long and large values are, those alive at the same time don't overlap."""
    pool = _Pool()
    alive: list[tuple[int, int, int]] = []
    for position, (size, life) in enumerate(lives):
        value = pool.take(torch.empty(size), position + life)
        start = value.data_ptr()
        end = start + value.numel() * value.element_size()
        assert all(end <= other_start or other_end <= start for other_start, other_end, _ in alive)
        alive.append((start, end, position + life))
        pool.release(position)
        alive = [each for each in alive if each[2] > position]


def test_pool_keeps_strides_and_alignment():
    """Memory has the shape, strides and dtype asked for, and starts at a multiple of 64 bytes."""
    like = torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last)
    given = _Pool().take(like, 1)

    assert (given.shape, given.stride(), given.dtype) == (like.shape, like.stride(), like.dtype)
    assert given.data_ptr() % 64 == 0


def live_bytes() -> int:
    """Return the bytes of all tensors that are alive."""
    gc.collect()
    storages = {
        storage.data_ptr(): storage.nbytes()
        for thing in gc.get_objects()
        # Not fake or sparse ones, which other tests leave and which have no storage.
        if type(thing) in (Tensor, nn.Parameter) and torch._C._has_storage(thing) and thing.layout == torch.strided
        for storage in [thing.untyped_storage()]
    }
    return sum(storages.values())


@pytest.mark.parametrize("executor", ["loop", "fused"])
@pytest.mark.parametrize("name", ["digits-cnn", "looping"])
def test_iterations_leave_no_memory_behind(executor, name):
    """Neither tensors nor Python objects grow with the number of iterations."""
    torch.manual_seed(0)
    model = (
        OWN_MODELS[name]()
        if name in OWN_MODELS
        else build_model(name, input_shape=(2, 8, 8), n_classes=N_CLASSES, seed=0)
    )
    learners = prepared(model, images(2, 8, 8), executor)
    inputs, targets = learners.batches.take(0, 6)

    def train(iterations: int) -> None:
        for iteration in range(iterations):
            learners.step(inputs, targets, iteration)

    train(5)
    tensors_bytes, objects = live_bytes(), len(gc.get_objects())
    train(40)

    assert live_bytes() == tensors_bytes
    assert len(gc.get_objects()) < objects + 40, "each iteration leaves an object behind"


def test_fused_gives_the_same_bits_again():
    """Two executors made alike, and one called twice on a batch."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 8), nn.Dropout(0.3), nn.Linear(8, N_CLASSES))
    first, second = (prepared(model, images(2, 8, 8), "fused") for _ in range(2))
    losses, gradients = first.gradients(0), first.bank.gradients.clone()

    assert torch.equal(second.gradients(0), losses)
    assert torch.equal(first.gradients(0), losses)
    assert torch.equal(second.bank.gradients[:, : second.bank.n_parameters], gradients[:, : first.bank.n_parameters])
