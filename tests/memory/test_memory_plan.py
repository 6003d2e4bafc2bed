"""Memory plans of models: safe, in bytes that the engine agrees with, and right about how many learners fit."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import crossbow_lab as cb
from crossbow_lab.bench.memory import Point, measure_point
from crossbow_lab.bench.subjects import Subject, subject_data
from crossbow_lab.errors import ConfigurationError, ExecutorError
from crossbow_lab.learners import Work, admit, make_bank
from crossbow_lab.learners.plan import Plan
from crossbow_lab.learners.trace import trace_iteration
from crossbow_lab.memory import clash, memory_plan, naive_bytes, offline_plan, peak_bytes, shared_clash
from crossbow_lab.memory.dataflow import dataflow
from crossbow_lab.memory.engine import make_engine
from crossbow_lab.workloads import MODEL_NAMES, build_model

ZOO = {
    "logreg": (1, 8, 8),
    "mlp": (1, 8, 8),
    "digits-cnn": (1, 8, 8),
    "lenet": (1, 28, 28),
    "lenet-caffe": (1, 28, 28),
    "resnet-8": (3, 8, 8),
    "resnet-20": (3, 8, 8),
    "resnet-32": (3, 8, 8),
    "resnet-50": (3, 33, 33),
    "vgg-16": (3, 32, 32),
}
B = 2


def example(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a model of the zoo with a batch."""
    torch.manual_seed(0)
    model = build_model(name, input_shape=ZOO[name], n_classes=10, seed=0).train()
    return model, torch.randn(B, *ZOO[name]), torch.arange(B)


def test_every_model_of_the_zoo_is_planned_here():
    """A new one belongs into these tests."""
    assert set(ZOO) == set(MODEL_NAMES)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ("resnet-50", "vgg-16") else name for name in ZOO]
)
def test_plans_of_the_zoo_are_safe(name):
    """One learner's, and those of four learners in step, one operator apart and one after the other."""
    operators = dataflow(example(name)[0], "cross_entropy", *example(name)[1:])
    plan = offline_plan(operators)

    assert clash(operators, plan) is None
    assert peak_bytes(operators) <= plan.total_bytes <= naive_bytes(operators)
    for stagger in (0, 1, len(operators)):
        sharing = cb.memory.online_plan(plan, 4, stagger)
        assert shared_clash(operators, plan, sharing, stagger=stagger) is None


@pytest.mark.parametrize("name", ["mlp", "digits-cnn", "lenet", "resnet-8"])
def test_planned_bytes_are_what_the_engine_plans(name):
    """For three learners, to the rounding of small blocks."""
    model, inputs, targets = example(name)
    k = 3
    bank = make_bank(model, max_learners=k)
    admit(bank, 0, k, model, local_momentum=False)
    weights, gradients = bank.views(bank.weights), bank.views(bank.gradients)
    given = [*(weights[slot.name] for slot in bank.slots)]
    batch = [tensor.expand(k, *tensor.shape).contiguous() for tensor in (inputs, targets)]
    keys = torch.zeros(k, dtype=torch.int64)
    work = Work(model, bank, "cross_entropy", 0, has_dropout=False)
    traced = trace_iteration(work, given, list(bank.buffers.values()), *batch, keys)
    engine = Plan(
        traced,
        [*given, *bank.buffers.values(), *batch, keys],
        [torch.zeros(k), *(gradients[slot.name] for slot in bank.slots)],
    )
    operators = dataflow(model, "cross_entropy", inputs, targets)

    predicted = make_engine(operators, "fused", row_bytes=0, buffer_bytes=0, batch_bytes=0).planned_bytes

    assert k * predicted == pytest.approx(engine.planned_bytes, rel=0.03)


def test_operators_of_a_small_model_are_counted_by_hand():
    """One linear layer and a ReLU: outputs of 4 floats per sample forward, and each once."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).train()

    operators = dataflow(model, "mse", torch.randn(B, 3), torch.randn(B, 4))

    sizes = {name: [o.output_bytes for o in operators if o.name == name] for name in ("relu", "baddbmm")}
    assert sizes == {"relu": [B * 4 * 4], "baddbmm": [B * 4 * 4]}
    assert operators[-1].name == "results"


def test_tables_have_units_and_add_up():
    """Bytes of all learners, per learner, and the share of naive; the engine's parts sum up to what is predicted."""
    plan = memory_plan("digits-cnn", "digits", batch_size=8, learners=4)
    table, engine = plan.table, plan.engine_table["bytes"]

    assert list(table) == ["bytes", "bytes_per_learner", "of_naive_percent"]
    assert list(table.index) == ["naive", "offline", "offline + online"]
    assert (table["bytes"] == 4 * table["bytes_per_learner"]).all()
    assert table.loc["naive", "bytes"] == 4 * plan.operator_table["output_bytes"].sum()
    assert table["bytes"].is_monotonic_decreasing
    assert engine["predicted"] == engine.drop("predicted").sum() == plan.predicted_bytes()
    assert "4 learners x 8" in repr(plan)
    assert "measured" not in repr(plan)
    assert "measured" in repr(replace(plan, measured_bytes=1))
    assert replace(plan, measured_bytes=7).engine_table["bytes"]["measured"] == 7


@pytest.mark.parametrize("executor", ["fused", "loop", "streams"])
def test_the_largest_that_fits_fits_and_one_more_does_not(executor):
    """At any budget from one learner's on."""
    plan = memory_plan("mlp", "digits", batch_size=4, executor=executor)

    for budget_bytes in (plan.predicted_bytes(1), plan.predicted_bytes(37), 10**9):
        largest = plan.largest(budget_bytes)
        assert plan.predicted_bytes(largest) <= budget_bytes < plan.predicted_bytes(largest + 1)
    with pytest.raises(ConfigurationError, match=r"one learner takes .* smaller batch_size"):
        plan.largest(plan.predicted_bytes(1) - 1)


def test_a_session_is_planned_with_its_own_settings_and_left_as_it_is():
    """Before, between and after iterations; the fingerprint of a run is that of one without."""
    sessions = [cb.Session("digits-cnn", "digits", learners=3, batch_size=4, executor="loop") for _ in range(2)]

    plans = [cb.memory_plan(sessions[0])]
    for session in sessions:
        session.run(iterations=3)
        if session is sessions[0]:
            plans.append(cb.memory_plan(session, learners=5))
        session.run(iterations=2)

    assert sessions[0].fingerprint() == sessions[1].fingerprint()
    assert [(p.learners, p.batch_size, p.engine.executor) for p in plans] == [(3, 4, "loop"), (5, 4, "loop")]
    assert plans[0].model == "digits-cnn"
    assert plans[0].engine == plans[1].engine


def test_a_model_is_left_as_it_is():
    """Batch norm's statistics too."""
    model, inputs, targets = example("resnet-8")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    dataflow(model, "cross_entropy", inputs, targets)

    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_session_that_trains_is_planned_between_two_iterations():
    """And goes on."""
    with cb.Session("mlp", "digits", learners=2, batch_size=4, executor="fused") as session:
        session.start()
        plan = cb.memory_plan(session)
        session.stop()
        session.wait()

    assert plan.learners == 2
    assert session.error is None


def test_a_model_that_can_not_be_traced_is_refused():
    """With the reason, and what would help."""

    class Choosing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            out = self.layer(x.flatten(1))
            return out if out.sum().item() > 0 else -out

    with pytest.raises(ExecutorError, match=r"Choosing can't be traced .* without Python control flow"):
        memory_plan(Choosing(), "digits")


def test_local_momentum_takes_a_third_row():
    """Of each learner."""
    plain, heavy = (
        cb.memory_plan(cb.Session("mlp", "digits", algorithm=cb.SMA(local_momentum=m), executor="fused", learners=2))
        for m in (0.0, 0.9)
    )

    assert heavy.predicted_bytes() - plain.predicted_bytes() == 2 * plain.engine.row_bytes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learners": 1.5}, "learners is 1.5"),
        ({"stagger": -1}, "stagger is -1"),
        ({"executor": "auto"}, "executor 'auto' measures before it knows"),
        ({"executor": "fussed"}, "did you mean 'fused'"),
        ({"dataset": None}, "give dataset"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    """With what was given and what is needed."""
    with pytest.raises(ConfigurationError, match=message):
        memory_plan("mlp", **({"dataset": "digits"} | arguments))


def test_a_session_takes_no_other_data_and_no_nameless_model_is_measured():
    """Each with what to do."""
    with pytest.raises(ConfigurationError, match="leave out dataset"):
        memory_plan(cb.Session("mlp", "digits", executor="loop"), "digits")
    own = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(ConfigurationError, match="by name"):
        memory_plan(own, "digits").measured()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
@pytest.mark.parametrize(
    ("subject", "executor"),
    [
        (Subject("lenet", "mnist", 32, 4), "fused"),
        (Subject("lenet", "mnist", 16, 32), "fused"),
        (Subject("lenet", "mnist", 32, 4), "loop"),
    ],
    ids=str,
)
def test_the_largest_that_fits_is_within_a_tenth_of_what_really_fits(subject, executor):
    """LeNet: with what m learners took in a fresh process as the budget, the plan says m, give or take a tenth."""
    taken_bytes = measure_point(Point(subject, executor))["measured_bytes"]
    plan = memory_plan(subject.model, subject_data(subject), batch_size=subject.batch_size, executor=executor)

    assert plan.largest(taken_bytes) == pytest.approx(subject.n_learners, rel=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_measured_memory_stands_beside_the_prediction():
    """A named model's, in a process of its own."""
    plan = memory_plan("mlp", "digits", batch_size=4, learners=64, executor="loop").measured()

    measured, predicted = (plan.engine_table["bytes"][name] for name in ("measured", "predicted"))
    assert predicted == pytest.approx(measured, rel=0.25)
    assert "in a fresh process" in repr(plan)
