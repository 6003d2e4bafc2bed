"""Notebooks small enough to be written by a test."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


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
