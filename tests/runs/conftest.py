"""Notebooks small enough to be written by a test."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossbow_lab.content import sha256_of
from crossbow_lab.runs import Run
from crossbow_lab.runs.identity import PARTS
from crossbow_lab.runs.records.collect import finish, write_asked
from crossbow_lab.runs.records.leases import me
from crossbow_lab.runs.records.publish import building_folder


@pytest.fixture(scope="session")
def make_notebook() -> Callable[..., dict[str, Any]]:
    """Return a function that makes a notebook of some code cells; the first is tagged as its parameters cell."""

    def make(*cells: str, tagged: int = 1) -> dict[str, Any]:
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        made = [
            {
                "cell_type": "code",
                "id": f"cell-{index}",
                "metadata": {"tags": ["parameters"]} if index < tagged else {},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for index, source in enumerate(cells)
        ]
        return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": made}

    return make


@pytest.fixture
def write_notebook(tmp_path: Path, make_notebook: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    """Return a function that writes such a notebook into the test's folder."""

    def write(*cells: str, tagged: int = 1) -> Path:
        path = tmp_path / "small.ipynb"
        path.write_text(json.dumps(make_notebook(*cells, tagged=tagged)), encoding="utf-8")
        return path

    return write


@pytest.fixture
def build_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes the folder of a run that is over but not published, without running anything."""

    def build(name: str = "small-20260101T000000-abcdef", **asked: Any) -> Path:
        building = building_folder(tmp_path / "runs", name)
        (building / "log.txt").write_text("said\n")
        (building / "notebook.ipynb").write_text("{}")
        hardware = {"system": "s", "cpu": "c", "cores": 1, "memory_bytes": None, "load_average": None, "gpus": []}
        plain = {
            "schema": 2,
            "id": name,
            "kind": "notebook",
            "key": sha256_of(name)[:20],
            "parts": {part: sha256_of(part) for part in PARTS},
            "notebook": {"path": str(tmp_path / "small.ipynb"), "sha256": sha256_of("notebook")},
            "parameters": {"n": 3},
            "timeout_s": None,
            "provenance": {},
            "started_utc": "2026-01-01T00:00:00.000+00:00",
            "code": {"version": "0", "revision": None, "is_dirty": None},
            "packages": {"python": "3.11"},
            "environment": {},
            "hardware": hardware,
            "holder": vars(me()),
        }
        write_asked(building, plain | asked)
        return building

    return build


@pytest.fixture
def make_run(build_run: Callable[..., Path]) -> Callable[..., Run]:
    """Return a function that publishes such a run."""

    def make(name: str = "small-20260101T000000-abcdef", status: str = "completed", **asked: Any) -> Run:
        exception = None if status == "completed" else {"name": "ValueError", "message": "bad", "cell": 2}
        happened = {"status": status, "exception": exception, "timing_s": {}, "load": {"is_contended": False}}
        return finish(build_run(name, **asked), happened)

    return make
