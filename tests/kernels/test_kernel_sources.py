"""The text that the compiler gets."""

from pathlib import Path

import pytest

from crossbow_lab.errors import KernelError
from crossbow_lab.kernels import sources
from crossbow_lab.resources import resource

FILES = sorted(path.name for path in resource("cuda").glob("*.cu"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Look for sources in an empty folder."""
    monkeypatch.setattr(sources, "resource", lambda _, file: tmp_path / file)
    return tmp_path


def _source(file: str) -> str:
    """Read a source, whatever was read before."""
    return sources.source.__wrapped__(file)


@pytest.mark.parametrize("file", FILES)
def test_a_source_needs_no_file_of_ours_beside_it(file: str) -> None:
    """NVRTC gets a text, not a folder: what is left to include is in angle brackets, for the toolkit's headers."""
    text = _source(file)
    assert '#include "' not in text
    assert "__global__" in text


def test_the_header_takes_the_place_of_its_include_and_lines_keep_their_numbers(folder: Path) -> None:
    """A compiler's message names the file and line on disk, before, in and after the header."""
    (folder / "lanes.cuh").write_text("int h1;\nint h2;\n")
    (folder / "a.cu").write_text('// a\n#include <b>\n#include "lanes.cuh"\nint a4;\n')
    assert _source("a.cu").splitlines() == [
        '#line 1 "a.cu"',
        "// a",
        "#include <b>",
        '#line 1 "lanes.cuh"',
        "int h1;",
        "int h2;",
        '#line 4 "a.cu"',
        "int a4;",
    ]


def test_an_edit_of_the_header_changes_the_text(folder: Path) -> None:
    """CuPy's cache of machine code is keyed by the text."""
    (folder / "a.cu").write_text('#include "lanes.cuh"\n')
    (folder / "lanes.cuh").write_text("int before;\n")
    before = _source("a.cu")
    (folder / "lanes.cuh").write_text("int after;\n")
    assert _source("a.cu") != before


def test_a_missing_source_says_so() -> None:
    """And what to do."""
    with pytest.raises(KernelError, match=r"nothing\.cu is missing from this installation; reinstall crossbow-lab"):
        _source("nothing.cu")
