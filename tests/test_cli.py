"""The command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import crossbow_lab
from crossbow_lab import cli
from crossbow_lab.errors import DataError
from crossbow_lab.resources import resource


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["crossbow-lab", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_it_answers_help_without_importing_what_is_slow() -> None:
    """Torch, pandas and the notebook tools load only when a command needs them."""
    code = (
        "import sys; sys.argv = ['crossbow-lab', '--help']\n"
        "from crossbow_lab.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "slow = {'torch', 'pandas', 'numpy', 'plotly', 'papermill', 'nbformat', 'matplotlib', 'rich'}\n"
        "print('loaded:', sorted(slow & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "loaded: []" in answer
    for command in (
        "demo",
        "run",
        "runs",
        "show",
        "verify",
        "replay",
        "gc",
        "sweep",
        "compare",
        "watch",
        "train",
        "lab",
        "data",
        "doctor",
        "bench",
    ):
        assert f"  {command} " in answer


def test_it_prints_its_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` is all that is needed."""
    assert _main(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == crossbow_lab.__version__


def test_it_refuses_a_misspelt_parameter_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit code 2, the nearest name, no traceback, and nothing has run."""
    notebook = resource("notebooks", "01_sma_vs_sgd.ipynb")
    assert _main(monkeypatch, "run", str(notebook), "-p", "lerners=8", "--runs-dir", str(tmp_path / "runs")) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: the notebook has no parameter 'lerners': did you mean 'learners'?")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_it_tells_a_failure_from_a_refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What goes wrong on the way ends with exit code 1."""

    def fail() -> None:
        raise DataError("mnist isn't here")

    monkeypatch.setattr(cli, "app", fail)
    assert _main(monkeypatch) == 1
    assert capsys.readouterr().err == "error: mnist isn't here\n"


def test_it_refuses_a_recipe_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With the path."""
    assert _main(monkeypatch, "train", str(tmp_path / "recipe.json")) == 2
    assert "the recipe can't be read" in capsys.readouterr().err


def test_it_trains_a_recipe_to_the_same_fingerprint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """``train`` prints the fingerprint of the session that the recipe came from."""
    from crossbow_lab.session import Session

    session = Session("mlp", "digits", learners=2, batch_size=8, executor="loop", threads=1).run(iterations=5)
    path = tmp_path / "recipe.json"
    path.write_text(session.recipe.to_json())
    assert _main(monkeypatch, "train", str(path)) == 0
    assert f"fingerprint {session.fingerprint()}" in capsys.readouterr().out


def test_it_lists_the_data_sets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Digits are always there."""
    assert _main(monkeypatch, "data") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("ok" in line and "digits" in line and "1,437 + 360 samples 1x8x8" in line for line in lines)


def test_it_passes_a_bench_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves with the status that the bench returns."""
    import crossbow_lab.bench

    seen: list[object] = []
    monkeypatch.setattr(crossbow_lab.bench, "run_bench", lambda *arguments: seen.extend(arguments) or 3)
    assert _main(monkeypatch, "bench", "memory", "--json", "out.json", "--quick") == 3
    assert seen == [["memory"], Path("out.json"), True]


@pytest.mark.slow
def test_it_runs_a_notebook_and_says_where_the_record_is(tmp_path: Path) -> None:
    """The exit code and the last lines tell how it ended, also when the notebook failed."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cell = {"cell_type": "code", "id": "a", "metadata": {"tags": ["parameters"]}, "execution_count": None}
    cells = [{**cell, "outputs": [], "source": "n: int = 0"}]
    cells.append({**cell, "id": "b", "metadata": {}, "outputs": [], "source": "print('got', n, 1 / n)"})
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    path = tmp_path / "small.ipynb"
    path.write_text(json.dumps(notebook))
    command = [sys.executable, "-m", "crossbow_lab", "run", str(path), "--runs-dir", str(tmp_path / "runs")]
    done = subprocess.run([*command, "-p", "n=1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "got 1 1.0" in done.stdout
    assert "status    completed" in done.stdout
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr == "error: the notebook failed in cell 2: ZeroDivisionError: division by zero\n"
    assert "status    failed" in failed.stdout
