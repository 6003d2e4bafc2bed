"""Every shipped notebook: its form, and that it runs."""

import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tiny import TINY

import crossbow_lab
from crossbow_lab.resources import resource
from crossbow_lab.runs import run_notebook
from crossbow_lab.runs.parameters import read_parameters

NOTEBOOKS = sorted(resource("notebooks").glob("*.ipynb"))
FIRST = resource("notebooks", "01_sma_vs_sgd.ipynb")
ORDER = ["Parameters", "Method", "Run", "Check", "Result", "Provenance"]


def _cells(path: Path, kind: str) -> list[dict[str, object]]:
    """Return the cells of one kind, with their sources as one text each."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells if cell["cell_type"] == kind]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Path:
    """Return each notebook in turn."""
    return request.param  # type: ignore[no-any-return]


def test_it_is_stored_without_outputs(notebook: Path) -> None:
    """Executed copies belong in run folders."""
    for cell in _cells(notebook, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


def test_it_has_stable_cell_ids_and_a_kernel(notebook: Path) -> None:
    """Ids are words, so that a diff of two versions is readable; papermill needs the language."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert content["metadata"]["kernelspec"] == {"display_name": "Python 3", "language": "python", "name": "python3"}
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(name.replace("-", "").isalpha() for name in ids)


def test_it_keeps_to_the_order_of_sections(notebook: Path) -> None:
    """Title and question first, then the sections that every notebook has."""
    texts = [str(cell["source"]) for cell in _cells(notebook, "markdown")]
    assert texts[0].startswith("# ")
    assert texts[0].rstrip().endswith("?")
    assert [text.split("\n")[0].removeprefix("## ") for text in texts if text.startswith("## ")] == ORDER


def test_it_has_short_cells(notebook: Path) -> None:
    """Longer code belongs in the package, with a test."""
    lengths = [len(str(cell["source"]).splitlines()) for cell in _cells(notebook, "code")]
    assert max(lengths) <= 25
    assert statistics.median(lengths) <= 8


def test_its_first_code_cell_declares_its_parameters(notebook: Path) -> None:
    """Typed literals with a help text, and one equals sign a line, so that papermill's own inspection works too."""
    first = _cells(notebook, "code")[0]
    assert first["metadata"] == {"tags": ["parameters"]}
    assert all(line.count("=") == 1 and "|" not in line for line in str(first["source"]).splitlines())
    assert all(parameter.help for parameter in read_parameters(notebook))


def test_it_names_no_path_of_a_machine(notebook: Path) -> None:
    """Nothing in a notebook says where its author works."""
    for place in (str(Path.home()), str(Path(crossbow_lab.__file__).parent.parent), sys.prefix):
        assert f"{place}/" not in notebook.read_text(encoding="utf-8")


def test_its_tiny_parameters_are_its_own(notebook: Path) -> None:
    """And legal, or the tests below would refuse them."""
    parameters = {parameter.name: parameter for parameter in read_parameters(notebook)}
    assert set(TINY[notebook.stem]) <= set(parameters)


@pytest.mark.slow
def test_it_runs_with_tiny_parameters(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the runner: its check holds, its last figures are pictures too, and the result is small."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = run_notebook(notebook, TINY[notebook.stem], runs_dir=tmp_path / "runs")
    assert run.status == "completed", run.manifest["exception"]
    assert run.notebook.stat().st_size < 1_500_000
    assert "data:image/png;base64," in run.report.read_text(encoding="utf-8")
    assert run.result is not None


@pytest.mark.slow
def test_the_first_notebook_answers_its_question_under_the_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With tiny parameters: small, readable without a network, with its figure, and everything recorded."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = run_notebook(FIRST, TINY[FIRST.stem], runs_dir=tmp_path / "runs")
    assert run.status == "completed", run.manifest["exception"]
    assert run.notebook.stat().st_size < 1_000_000
    report = run.report.read_text(encoding="utf-8")
    assert "data:image/png;base64," in report
    assert 'alt="Figure: test accuracy of z (%) by passes' in report
    assert "<script src=" not in report
    assert run.result is not None
    assert [row["algorithm"] for row in run.result["table"]] == ["SMA", "S-SGD"]
    assert set(run.result["fingerprints"]) == {"SMA-seed0", "SMA-seed1", "S-SGD-seed0", "S-SGD-seed1"}
    history = pd.read_parquet(run.folder / "sessions" / "SMA-seed1" / "history.parquet")
    assert math.isclose(history["test_accuracy"].iloc[-1], run.result["table"][0]["final_accuracy"], abs_tol=0.2)


@pytest.mark.slow
def test_the_first_notebook_runs_under_plain_papermill(tmp_path: Path) -> None:
    """Without our runner everything is the same, but that nothing is recorded."""
    out = tmp_path / "out.ipynb"
    parameters = [text for name, value in TINY[FIRST.stem].items() for text in ("-p", name, str(value))]
    command = [sys.executable, "-m", "papermill", str(FIRST), str(out), "--cwd", str(tmp_path), *parameters]
    checkout = str(Path(crossbow_lab.__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": checkout, "JUPYTER_PREFER_ENV_PATH": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "unknown parameter" not in done.stderr
    assert "by epochs, " in out.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["out.ipynb"]
