"""Notebooks as runs, measured: what is planned and listed are real records, and the tables show every number."""

import json
from pathlib import Path

import pytest

from crossbow_lab.bench import runs as bench
from crossbow_lab.bench.runs import QUICK, Size, measure_runs, plan_seconds, runs_tables, write_notebook
from crossbow_lab.runs import list_runs
from crossbow_lab.runs.records.manifest import sealed
from crossbow_lab.runs.sweeps.plan import ask, count_states, make_plan


@pytest.fixture
def commands(monkeypatch):
    """Count commands instead of running them; a run leaves a record, as it would."""
    found = []

    def run_nothing(command, *, must_print=""):
        found.append(command)
        if "--force" in command:
            folder = Path(command[command.index("--runs-dir") + 1]) / "bench-1"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "log.txt").write_text("said")
            manifest = {"schema": 2, "status": "completed", "started_utc": "", "outputs": {"log.txt": {"bytes": 4}}}
            (folder / "manifest.json").write_text(sealed(manifest | {"notebook": {"path": command[4]}}))
        return float(len(found))

    monkeypatch.setattr(bench, "_seconds", run_nothing)
    return found


def test_the_records_that_are_planned_answer_the_plan(tmp_path, commands):
    """All that is planned is cached, and the list is as long as it says."""
    notebook = write_notebook(tmp_path / "bench.ipynb")
    bench.overhead_seconds(notebook, 1)

    found = plan_seconds(notebook, Size(rounds=1, n_planned=3, n_listed=5))

    assert count_states(make_plan(ask(notebook, {"n": "0:3"}), tmp_path / "many")) == {"cached": 3}
    assert len(list_runs(tmp_path / "many")) == 5
    assert (found["plan_s"]["median"], found["list_s"]["median"]) == (3.0, 4.0)


def test_measured_runs_are_plain_json_and_their_tables_show_every_number(commands, monkeypatch):
    """On two cores; a single core has no second worker."""
    monkeypatch.setattr(bench.os, "cpu_count", lambda: 2)

    result = json.loads(json.dumps(measure_runs(QUICK, lambda _: None)))

    costs, sweep = runs_tables(result)
    assert (costs.row_count, sweep.row_count) == (5, 3)
    assert result["overhead"]["difference_s"]["median"] == 1.0
    assert result["sweep"]["times_as_fast"] == pytest.approx(5 / 6)
    monkeypatch.setattr(bench.os, "cpu_count", lambda: 1)
    assert len(runs_tables(measure_runs(QUICK, lambda _: None))) == 1


def test_a_command_that_does_not_say_what_it_must_is_no_measurement(monkeypatch):
    """A sweep that failed quickly isn't a fast one."""
    monkeypatch.setattr(bench, "output_of", lambda *_, **__: "status    failed")

    with pytest.raises(RuntimeError, match="should have printed 'status    completed'"):
        bench._seconds(["crossbow-lab"], must_print="status    completed")
