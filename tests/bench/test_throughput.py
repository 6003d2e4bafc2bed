"""One tiny row end to end: contenders, ratios, tables and JSON."""

import json

import pytest

from crossbow_lab.bench import run_bench
from crossbow_lab.bench.measure import QUICK
from crossbow_lab.bench.subjects import Subject, problem, subject_data, synthetic_mnist
from crossbow_lab.bench.throughput import ROWS, Goal, Row, measure_throughput, throughput_tables
from crossbow_lab.errors import ConfigurationError

TINY = Row(Subject("mlp", "digits", 2, 2), Goal(8, 20), Goal(0.45, 0.8))


@pytest.fixture(scope="module")
def measured():
    """Return the result of one tiny row."""
    return measure_throughput(QUICK, lambda _: None, rows=[TINY])


def test_a_row_times_all_contenders(measured):
    """Ours, naive, S-SGD and vmap are timed, once a round; JAX is timed or its absence is explained."""
    row = measured["rows"][0]

    names = {contender["name"] for contender in row["contenders"]}
    assert {"fused", "loop", "fused S-SGD", "naive", "S-SGD", "vmap"} <= names
    assert "jax" in names or "not installed" in row["skipped"]["jax"]
    assert all(len(contender["iteration_s"]) == QUICK.rounds for contender in row["contenders"])


def test_ratios_and_samples_per_s_follow_from_the_times(measured):
    """Naive is once as fast as itself, and throughput is k·b over the median."""
    row = measured["rows"][0]

    naive = next(contender for contender in row["contenders"] if contender["name"] == "naive")
    assert naive["over_naive"]["median"] == 1.0
    assert naive["samples_per_s"] * naive["summary_s"]["median"] == pytest.approx(4)


def test_results_are_plain_json_and_tables_come_from_them(measured):
    """A recorded result prints as a new one does."""
    recorded = json.loads(json.dumps(measured))

    reached, everything = throughput_tables(recorded)

    assert recorded == measured
    assert reached.row_count == 1
    row = measured["rows"][0]
    assert everything.row_count == len(row["contenders"]) + len(row["skipped"])


def test_rows_are_those_of_the_issue():
    """Six workloads, each asking more of naive's small batches than of large ones."""
    shapes = [(row.subject.model, row.subject.n_learners, row.subject.batch_size) for row in ROWS]

    assert shapes == [
        ("mlp", 16, 4),
        ("digits-cnn", 16, 4),
        ("digits-cnn", 16, 16),
        ("digits-cnn", 32, 2),
        ("lenet", 16, 4),
        ("lenet", 16, 16),
    ]


def test_mnist_is_made_up_and_labelled_when_it_is_not_there(monkeypatch, tmp_path):
    """Without the files the work is the same, and the name says that the data isn't MNIST."""
    monkeypatch.setenv("CROSSBOW_DATA", str(tmp_path))

    data = subject_data(Subject("lenet", "mnist", 1, 1))

    assert "synthetic" in data.name
    assert data.input_shape == (1, 28, 28)


def test_problems_hold_normalised_floats():
    """Baselines are given what the executors compute from bytes: about zero mean and unit variance."""
    made = problem(Subject("mlp", "mnist", 4, 1), synthetic_mnist(50))

    assert made.inputs.shape == (50, 1, 28, 28)
    assert made.inputs.max() == pytest.approx((1 - 0.1307) / 0.3081, abs=1e-3)
    assert made.alpha == 0.25


def test_run_bench_names_the_nearest_bench():
    """A misspelt name is refused before anything runs."""
    with pytest.raises(ConfigurationError, match="did you mean 'throughput'"):
        run_bench(["througput"], None, quick=True)
