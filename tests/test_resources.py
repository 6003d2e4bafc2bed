"""Files that ship beside the code."""

from pathlib import Path

import pytest

from crossbow_lab import resources
from crossbow_lab.resources import resource


def test_resource_finds_the_shipped_digits():
    """In a checkout as in an installed wheel."""
    assert resource("data", "digits.csv.gz").is_file()
    assert resource("data").is_dir()


def test_resource_prefers_what_lies_inside_the_package(tmp_path, monkeypatch):
    """A wheel's own files, not those of a folder that happens to lie beside it."""
    package = tmp_path / "crossbow_lab"
    for folder in (package / "data", tmp_path / "data", tmp_path / "cuda"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", package)

    assert resource("data") == package / "data"
    assert resource("cuda") == tmp_path / "cuda"


def test_resource_says_what_is_missing():
    """And what to do."""
    with pytest.raises(FileNotFoundError, match=r"data/nothing\.bin is missing from this installation; reinstall"):
        resource("data", "nothing.bin")


def test_resource_gives_absolute_paths():
    """Whatever the working directory."""
    assert isinstance(resource("data"), Path)
    assert resource("data").is_absolute()
