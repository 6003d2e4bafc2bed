"""Every part of the GPU's bench once, tiny, on the CPU: kernels are emulated, and graphs are their launches."""

import importlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from crossbow_lab.bench.cuda.averaging import averaging_tables, measure_averaging
from crossbow_lab.bench.cuda.baselines import AT_ONCE, Replica, blocks, eager, graphed
from crossbow_lab.bench.cuda.feed import Feed
from crossbow_lab.bench.cuda.kernels import TINY, UPDATES, kernel_tables, measure_kernels
from crossbow_lab.bench.cuda.ours import Shape, ours
from crossbow_lab.bench.cuda.session import (
    CHANGES,
    adjustment_tables,
    host_tables,
    measure_adjustments,
    measure_host,
)
from crossbow_lab.bench.cuda.throughput import Group, measure_throughput, throughput_tables
from crossbow_lab.bench.cuda.timing import Bench
from crossbow_lab.bench.measure import QUICK
from crossbow_lab.bench.subjects import Subject, subject_data, subject_model, synthetic_cifar
from crossbow_lab.kernels import launch as launching
from crossbow_lab.workloads import ArraySplit

CPU = torch.device("cpu")
EMULATOR = Path(__file__).resolve().parents[1] / "kernels"
SUBJECT = Subject("digits-cnn", "digits", 2, 4)
BENCH = Bench(CPU, QUICK, lambda _: None, math.inf)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where data is made up, make little of it."""
    monkeypatch.setattr("crossbow_lab.bench.subjects._SYNTHETIC_SAMPLES", 200)


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let launches run on the CPU."""
    monkeypatch.syspath_prepend(str(EMULATOR))
    module = importlib.import_module("emulated")
    reason = module.why_not()
    if reason is not None:
        pytest.skip(reason)
    monkeypatch.setattr(launching, "launch", module.Emulator().launch)


def recorded(result: dict[str, Any]) -> dict[str, Any]:
    """Write a result as JSON and read it again: tables are made from that alone."""
    return json.loads(json.dumps(result))


def test_kernels_are_timed_beside_a_copy(emulated: None) -> None:
    """Every update and gather, torch's own, and what norms add."""
    found = recorded(measure_kernels(BENCH, TINY))

    names = [case["name"] for case in found["cases"]]
    assert names[0] == "copy"
    assert {str(update) for update in UPDATES} <= set(names)
    assert {"torch's sma k=8", "torch's ssgd k=1", "sma k=8 norms + square_sums"} <= set(names)
    assert sum(name.startswith("gather") for name in names) == 2
    assert found["skipped"] == {}
    assert found["cases"][0]["share_of_copy"]["median"] == 1.0
    assert found["norms_extra"] is not None
    assert [made.row_count for made in kernel_tables(found)] == [len(names), 2]


def test_contenders_are_timed_in_groups(emulated: None) -> None:
    """Ours against one replica and S-SGD; what can't run is skipped with its reason."""
    group = Group(2, amp=False, fused=(1, 2), streams=(2,))
    found = recorded(measure_throughput(BENCH, "mlp", "digits", [group, Group(2, amp=True, fused=(2,), streams=())]))

    plain, mixed = found["groups"]
    kinds = [(contender["kind"], contender["n_learners"]) for contender in plain["contenders"]]
    assert kinds == [
        ("one replica, eager", 1),
        ("one replica, graphed", 1),
        ("fused", 2),
        ("fused", 1),
        ("S-SGD, graphed", 2),
        ("S-SGD, graphed", 1),
        ("streams", 2),
    ]
    assert [contender["samples"] for contender in plain["contenders"]] == [2, 2, 4, 2, 4, 2, 4]
    by_name = {contender["name"]: contender for contender in plain["contenders"]}
    assert by_name["one replica, eager"]["times"]["naive"]["median"] == 1.0
    assert by_name["S-SGD, graphed k=2"]["times"]["s_sgd"]["median"] == 1.0
    assert by_name["one replica, graphed"]["times"]["graphed"]["median"] == 1.0
    assert not by_name["fused k=2"]["s_sgd_is_compiled"]
    assert mixed["amp"] is True
    assert len(mixed["contenders"]) == 4
    assert throughput_tables(found)[0].row_count == 11


def test_averaging_is_a_share_of_an_iteration(emulated: None) -> None:
    """Whole iterations, the same without their update, and the update alone."""
    (row,) = recorded(measure_averaging(BENCH, (SUBJECT,)))["rows"]

    assert [timing["name"] for timing in row["timings"]] == [
        "whole iteration",
        "without its update",
        "update alone",
    ]
    assert 0 < row["share"]["median"] < 1
    assert averaging_tables({"rows": [row]})[0].row_count == 1


def test_adjustments_are_timed_and_no_sample_is_lost() -> None:
    """The first time a setting is seen, and again."""
    found = recorded(measure_adjustments(BENCH, (Subject("mlp", "digits", 4, 16),)))

    assert [row["what"] for row in found["rows"]] == [what for what, _ in CHANGES]
    assert [row["is_new"] for row in found["rows"]] == [True, False, False, False, True, False, False, False]
    assert all(row["samples"] == row["expected_samples"] for row in found["rows"])
    assert adjustment_tables(found)[0].row_count == len(CHANGES)


def test_the_host_and_the_session_are_timed(emulated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Session beside its bare program."""
    monkeypatch.setattr("crossbow_lab.bench.cuda.session._SESSION_BURST_S", 0.0)
    found = recorded(measure_host(BENCH, (Subject("mlp", "digits", 4, 4),), learners=2))

    (row,) = found["rows"]
    assert row["n_learners"] == 2
    assert [timing["name"] for timing in row["timings"]] == ["program", "session"]
    assert row["host_s"]["median"] > 0
    assert host_tables(found)[0].row_count == 1


def test_programs_that_take_turns_share_one_place_in_the_stream(emulated: None) -> None:
    """Each goes on where the last one ended, so the cursor is never written from the host."""
    data = subject_data(SUBJECT)
    feed = Feed(data, CPU, has_augmentation=False)
    first, second = (ours(subject_model(SUBJECT, data), feed, Shape("fused", k, 3)) for k in (1, 2))
    for made, samples in ((first, 24), (second, 72), (first, 96)):
        made.launch()
        assert feed.supply.cursor[0] == samples
    assert feed.supply.cursor[1] == 3 * AT_ONCE


@pytest.mark.parametrize(("executor", "k", "at_once"), [("fused", 64, 8), ("streams", 4, 8), ("streams", 64, 1)])
def test_graphs_have_as_many_iterations_as_a_session_s(executor: str, k: int, at_once: int) -> None:
    """Fewer where each iteration is a graph of its own for many learners."""
    assert Shape(executor, k, 2).at_once == at_once


def replica(*, momentum: float) -> Replica:
    """Return a replica of digits-cnn on 48 samples, in batches of 3."""
    data = subject_data(SUBJECT)
    assert isinstance(data.train, ArraySplit)
    inputs = data.train.inputs[:48].float() / 16
    return Replica(subject_model(SUBJECT, data), inputs, data.train.targets[:48], 3, 0.05, momentum)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_graphed_replica_trains_what_an_eager_one_does(momentum: float) -> None:
    """The baselines' own SGD is torch's: the first block is their warm-up, the second is timed."""
    slow, fast = eager(replica(momentum=momentum)), graphed(replica(momentum=momentum))
    slow.run(2 * AT_ONCE)
    fast.run(AT_ONCE)
    for expected, found in zip(slow.model.parameters(), fast.model.parameters(), strict=True):
        torch.testing.assert_close(found, expected)
    start = subject_model(SUBJECT, subject_data(SUBJECT))
    assert not torch.equal(next(iter(start.parameters())), next(iter(fast.model.parameters())))


def test_blocks_take_each_sample_once_an_epoch() -> None:
    """In a new order every epoch; a block may be longer than an epoch."""
    order = blocks(10, 2, 2, CPU)
    first, second = (torch.cat([next(order).flatten() for _ in range(2)]) for _ in range(2))
    assert len(first.unique()) == len(second.unique()) == 8
    assert not torch.equal(first, second)
    assert next(blocks(5, 3, 4, CPU)).shape == (3, 4)


def test_made_up_cifar_says_so_and_is_varied_as_cifar_is() -> None:
    """The same bytes each time, in the shape that ResNets take."""
    data = synthetic_cifar(20)
    assert data.name == "synthetic bytes shaped like cifar-10"
    assert isinstance(data.train, ArraySplit)
    assert data.train.inputs.shape == (20, 3, 32, 32)
    assert data.augmentation is not None
    assert torch.equal(data.train.inputs, synthetic_cifar(20).train.inputs)  # type: ignore[union-attr]
    inputs = data.train.inputs.double().mean((0, 2, 3)) * torch.tensor(data.scale) + torch.tensor(data.shift)
    assert bool((inputs.abs() < 1).all())
