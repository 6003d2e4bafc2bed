"""Small executed notebooks."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from crossbow_lab.runs import slim as module
from crossbow_lab.runs.slim import slim

PNG = base64.b64encode(b"\x89PNG" + bytes(3000)).decode()


def _slimmed(tmp_path: Path, *outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the outputs of a notebook with one cell, made small."""
    path = tmp_path / "notebook.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "outputs": list(outputs)}]}))
    slim(path, tmp_path / "outputs")
    return json.loads(path.read_text())["cells"][0]["outputs"]  # type: ignore[no-any-return]


def test_it_leaves_a_small_notebook_alone(tmp_path: Path) -> None:
    """To the byte."""
    output = {"output_type": "display_data", "data": {"image/png": PNG}}
    assert _slimmed(tmp_path, output) == [output]
    assert not (tmp_path / "outputs").exists()


def test_it_drops_live_figures_first_and_keeps_their_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A still figure stays in the notebook when that is enough."""
    monkeypatch.setattr(module, "MOST_BYTES", 8000)
    live = {"data": [{"x": list(range(5000))}]}
    (output,) = _slimmed(tmp_path, {"data": {"application/vnd.plotly.v1+json": live, "image/png": PNG}})
    assert output["data"] == {"image/png": PNG}
    assert not (tmp_path / "outputs").exists()


def test_it_keeps_both_ends_of_long_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says where the middle is."""
    monkeypatch.setattr(module, "MOST_BYTES", 100_000)
    (output,) = _slimmed(tmp_path, {"output_type": "stream", "text": ["begin\n", "x\n" * 200_000, "end\n"]})
    assert output["text"].startswith("begin\n")
    assert output["text"].endswith("end\n")
    assert "360,010 characters are in log.txt only" in output["text"]


def test_it_moves_what_is_still_too_large_to_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture is the same, and the notebook says where it is."""
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    page = "<table>" + "x" * 5000
    outputs = _slimmed(tmp_path, {"data": {"image/png": PNG, "text/plain": "a figure"}}, {"data": {"text/html": page}})
    assert outputs[0]["data"] == {"text/plain": "a figure\n[image/png: see outputs/cell-01-1.png]"}
    assert (tmp_path / "outputs" / "cell-01-1.png").read_bytes() == base64.b64decode(PNG)
    assert (tmp_path / "outputs" / "cell-01-2.html").read_text() == page
    assert (tmp_path / "notebook.ipynb").stat().st_size < 1000
