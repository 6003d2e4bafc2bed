"""The commands that list, read and check runs."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import crossbow_lab as cb
from crossbow_lab import cli, runs
from crossbow_lab.runs import replaying

NOTEBOOK_CELL = "n: int = 3\nrate: float = 0.5"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with one run in it, an interactive session's, which costs no kernel."""
    session = cb.Session("logreg", "digits", learners=2, batch_size=8, executor="loop", threads=1)
    return session.run(iterations=20).save_run(tmp_path_factory.mktemp("store"), name="first").folder


@pytest.fixture
def store(saved: Path, tmp_path: Path) -> Path:
    """Return a copy of that store."""
    shutil.copytree(saved.parent, tmp_path / "runs")
    return tmp_path / "runs"


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["crossbow-lab", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_it_lists_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path) -> None:
    """One line each; a status that none has is said."""
    assert _main(monkeypatch, "runs", "--runs-dir", store) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.startswith("run ")
    assert line.startswith("first-")
    assert "completed" in line
    assert _main(monkeypatch, "runs", "--runs-dir", store, "--status", "failed") == 0
    assert "no runs in" in capsys.readouterr().out
    path = next(store.glob("first-*")) / "manifest.json"
    failed = {"status": "failed", "exception": {"name": "ValueError", "message": "one\ntwo", "cell": 1}}
    path.write_text(json.dumps(json.loads(path.read_text()) | failed))
    assert _main(monkeypatch, "runs", "--runs-dir", store) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("ValueError: one two")


def test_it_says_what_was_killed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path
) -> None:
    """``runs`` points to ``gc``, which makes a record of it; ``watch`` shows only what is alive."""
    building = store / ".tmp" / "killed"
    shutil.copytree(next(store.glob("first-*")), building)
    (building / "manifest.json").unlink()
    asked = json.loads((building / "asked.json").read_text())
    (building / "asked.json").write_text(json.dumps(asked | {"holder": asked["holder"] | {"started": "0"}}))
    assert _main(monkeypatch, "runs", "--runs-dir", store) == 0
    assert "killed  unfinished" in capsys.readouterr().out
    assert _main(monkeypatch, "watch", "--runs-dir", store) == 0
    assert "nothing is running" in capsys.readouterr().out
    assert _main(monkeypatch, "gc", "--runs-dir", store) == 0
    assert "recovered killed (interrupted)" in capsys.readouterr().out
    assert _main(monkeypatch, "gc", "--runs-dir", store) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_it_shows_a_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path) -> None:
    """In words, or as the whole manifest."""
    assert _main(monkeypatch, "show", "first", "--runs-dir", store) == 0
    said = capsys.readouterr().out
    assert "an interactive session answers no request" in said
    assert "logreg on digits, seed 0, loop, 1 threads" in said
    assert _main(monkeypatch, "show", "first", "--runs-dir", store, "--json") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "session"
    assert _main(monkeypatch, "show", "second", "--runs-dir", store) == 2
    assert "there is no run 'second'" in capsys.readouterr().err


def test_it_verifies_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path) -> None:
    """Exit code 1 and one line for each thing that is wrong."""
    assert _main(monkeypatch, "verify", "--runs-dir", store) == 0
    assert "1 of 1 runs are as they were written" in capsys.readouterr().out
    (next(store.glob("first-*")) / "recipe.json").write_text("{}")
    assert _main(monkeypatch, "verify", "first", "--runs-dir", store) == 1
    printed = capsys.readouterr()
    assert printed.err == "error: first: recipe.json was changed\n"
    assert "0 of 1 runs" in printed.out


def test_it_replays_a_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path) -> None:
    """The exit code says whether z is the same."""
    again = SimpleNamespace(status="completed", folder=Path("again"), fingerprints={"session": "other"})
    monkeypatch.setattr(replaying, "run_request", lambda *_, **__: again)
    assert _main(monkeypatch, "replay", "first", "--runs-dir", store) == 1
    assert "session: ANOTHER z" in capsys.readouterr().out


def test_it_runs_with_a_file_of_parameters_and_a_recipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """-p wins over -y; both are passed on with the recipe's text."""
    seen: dict[str, Any] = {}
    run = SimpleNamespace(status="completed", manifest={"exception": None, "started_utc": "2026-01-01T00:00:00"})
    run.is_cached, run.folder, run.notebook, run.report = True, tmp_path, tmp_path / "no", tmp_path / "no"

    def run_notebook(notebook: Path, parameters: dict[str, Any], **options: Any) -> Any:
        seen.update(options, parameters=parameters)
        return run

    monkeypatch.setattr(runs, "run_notebook", run_notebook)
    (tmp_path / "values.yaml").write_text("n: 4\nrate: 0.25\n")
    (tmp_path / "recipe.json").write_text("{}")
    files = ["-y", tmp_path / "values.yaml", "--recipe", tmp_path / "recipe.json"]
    assert _main(monkeypatch, "run", "some.ipynb", *files, "-p", "n=5", "--force") == 0
    assert seen["parameters"] == {"n": "5", "rate": 0.25}
    assert (seen["recipe"], seen["force"]) == ("{}", True)
    assert "status    completed (cached: it ran 2026-01-01T00:00 UTC; --force repeats it)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [("- 1\n", "must map names to values"), ("a: [", "can't be read"), ("!!python/name:os.system ''", "can't be read")],
)
def test_it_refuses_a_file_of_something_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, said: str
) -> None:
    """Nothing in it is executed."""
    (tmp_path / "values.yaml").write_text(content)
    assert _main(monkeypatch, "run", "some.ipynb", "-y", tmp_path / "values.yaml") == 2
    assert said in capsys.readouterr().err


def test_it_repeats_a_request_until_there_are_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Completed runs of the same request count; the rest is run anew."""
    cell = {"cell_type": "code", "id": "a", "metadata": {"tags": ["parameters"]}, "outputs": [], "source": "n: int = 3"}
    notebook = tmp_path / "small.ipynb"
    notebook.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}))
    forced: list[bool] = []
    run = SimpleNamespace(status="completed", manifest={"exception": None}, is_cached=False)
    run.folder = run.notebook = run.report = tmp_path / "no"
    monkeypatch.setattr(runs, "run_notebook", lambda *_, force, **__: forced.append(force) or run)
    from crossbow_lab.runs.identity import request_for
    from crossbow_lab.runs.records import store as stores

    key = request_for(notebook).key
    for n_there, expected in ((0, [True] * 3), (2, [True]), (3, [False])):
        forced.clear()
        there = {key: [None] * n_there}
        monkeypatch.setattr(stores, "finished_by_key", lambda _, there=there: there)
        assert _main(monkeypatch, "run", notebook, "--repeats", "3") == 0
        assert forced == expected
        assert f"{n_there} of 3 runs are there already" in capsys.readouterr().out
