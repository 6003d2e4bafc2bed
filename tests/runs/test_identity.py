"""What makes two requests the same."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from crossbow_lab import content
from crossbow_lab.errors import RunError
from crossbow_lab.runs import identity
from crossbow_lab.runs.identity import PARTS, Request, differing_parts, request_for

CELL = "n: int = 3\npath: str = ''\ndevice: str = 'cpu'\nshares: list[float] = []"


@pytest.fixture
def notebook(write_notebook: Callable[..., Path]) -> Path:
    """Return a small notebook."""
    return write_notebook(CELL, "n + 1")


def _changed(before: Request, after: Request) -> tuple[str, ...]:
    """Return which parts differ, having seen that the keys differ just when a part does."""
    parts = differing_parts(before.parts, after.parts)
    assert (before.key != after.key) == bool(parts)
    return parts


def test_it_is_the_same_whichever_way_it_is_asked(notebook: Path) -> None:
    """Defaults are filled in, texts are read as their types, and a time limit is no part of the question."""
    plain = request_for(notebook)
    assert set(plain.parts) == set(PARTS)
    assert plain.parameters == {"n": 3, "path": "", "device": "cpu", "shares": []}
    assert plain.injected == {}
    asked = request_for(notebook, {"n": "3", "shares": ()}, timeout_s=5)
    assert asked.key == plain.key
    assert asked.injected == {}
    assert len(plain.key) == 20


def test_it_is_another_with_other_parameters(notebook: Path) -> None:
    """Only those that differ from the defaults are injected."""
    asked = request_for(notebook, {"n": 4})
    assert _changed(request_for(notebook), asked) == ("parameters",)
    assert asked.injected == {"n": 4}


def test_it_is_another_when_a_cell_changes_but_not_its_outputs(notebook: Path) -> None:
    """Outputs, execution counts and cell ids say nothing about what is asked."""
    before = request_for(notebook)
    content = json.loads(notebook.read_text())
    content["cells"][1] |= {"outputs": [{"output_type": "stream", "text": "4"}], "execution_count": 7, "id": "other"}
    notebook.write_text(json.dumps(content))
    assert _changed(before, request_for(notebook)) == ()
    content["cells"][1]["source"] = "n + 2"
    notebook.write_text(json.dumps(content))
    assert _changed(before, request_for(notebook)) == ("notebook",)


def test_it_is_another_when_a_module_beside_the_notebook_changes(notebook: Path) -> None:
    """The notebook may import it; packages beside it count too."""
    before = request_for(notebook)
    (notebook.parent / "beside.py").write_text("x = 1")
    with_module = request_for(notebook)
    assert _changed(before, with_module) == ("notebook",)
    (notebook.parent / "package").mkdir()
    (notebook.parent / "package" / "__init__.py").write_text("")
    assert _changed(with_module, request_for(notebook)) == ("notebook",)


def test_it_is_another_when_the_package_changes(
    notebook: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Source files count, whether git knows them or not; caches and notes don't."""
    package = tmp_path / "crossbow_lab"
    (package / "cuda").mkdir(parents=True)
    (package / "module.py").write_text("x = 1")
    monkeypatch.setattr(content, "PACKAGE", package)
    before = request_for(notebook)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "module.py").write_text("cached")
    (package / "notes.txt").write_text("notes")
    assert _changed(before, request_for(notebook)) == ()
    (package / "cuda" / "new.cu").write_text("__global__")
    with_kernel = request_for(notebook)
    assert _changed(before, with_kernel) == ("code",)
    (package / "module.py").write_text("x = 2")
    assert _changed(with_kernel, request_for(notebook)) == ("code",)


def test_code_is_the_same_in_a_wheel_as_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels' sources lie in the package in one, beside it in the other."""
    found = []
    for name, kernels in (("wheel", "crossbow_lab/cuda"), ("checkout", "cuda")):
        package = tmp_path / name / "crossbow_lab"
        package.mkdir(parents=True)
        (package / "module.py").write_text("x = 1")
        (tmp_path / name / kernels).mkdir()
        (tmp_path / name / kernels / "sma.cu").write_text("__global__")
        monkeypatch.setattr(content, "PACKAGE", package)
        found.append(content.code_sha256())
    assert found[0] == found[1]


def test_it_passes_over_what_goes_while_it_looks(
    notebook: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An editor's scratch file or a folder that is listed and then gone is no error."""
    package = tmp_path / "crossbow_lab"
    for name in ("a.py", "b.py", "sub/c.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(name)
    plain = content._content_sha256

    def hash_and_remove(path: str, size: int, mtime_ns: int) -> str:
        shutil.rmtree(package / "sub", ignore_errors=True)
        (package / "b.py").unlink(missing_ok=True)
        return plain(path, size, mtime_ns)

    monkeypatch.setattr(content, "PACKAGE", package)
    monkeypatch.setattr(content, "_content_sha256", hash_and_remove)
    assert list(content.sources_below(package)) == ["a.py"]
    assert request_for(notebook).parts["code"]


def test_it_is_another_when_a_file_changes_that_a_parameter_names(notebook: Path, tmp_path: Path) -> None:
    """A file by its content; a folder by the names, sizes and times of what is in it."""
    file = tmp_path / "data" / "file.csv"
    file.parent.mkdir()
    file.write_text("1,2")
    for path in (file, file.parent):
        file.write_text("1,2")
        before = request_for(notebook, {"path": str(path)})
        assert _changed(before, request_for(notebook, {"path": str(path)})) == ()
        file.write_text("1,23")
        assert _changed(before, request_for(notebook, {"path": str(path)})) == ("data",)


def test_it_is_another_on_another_class_of_device(notebook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor counts for a run on the CPU, the GPU's model for one on a GPU; how many GPUs doesn't."""
    before = {device: request_for(notebook, {"device": device}) for device in ("cpu", "cuda:0")}
    monkeypatch.setattr(identity, "gpus", lambda: ({"name": "A100"}, {"name": "A100"}))
    assert _changed(before["cpu"], request_for(notebook, {"device": "cpu"})) == ()
    on_two = request_for(notebook, {"device": "cuda:0"})
    assert _changed(before["cuda:0"], on_two) == ("device",)
    monkeypatch.setattr(identity, "gpus", lambda: ({"name": "A100"},))
    assert _changed(on_two, request_for(notebook, {"device": "cuda:0"})) == ()
    monkeypatch.setattr(identity, "cpu_model", lambda: "another")
    assert _changed(before["cpu"], request_for(notebook, {"device": "cpu"})) == ("device",)


def test_it_is_another_with_another_torch(notebook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers may be others."""
    before = request_for(notebook)
    monkeypatch.setattr(identity, "_decisive_versions", lambda: {"torch": "99"})
    assert _changed(before, request_for(notebook)) == ("environment",)


def test_it_reads_a_file_again_only_when_it_has_changed(tmp_path: Path) -> None:
    """The same size with another time is another file."""
    path = tmp_path / "file"
    path.write_text("one")
    first = content.file_sha256(path)
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert content.file_sha256(path) != first


def test_it_takes_little_time_for_many_requests(notebook: Path) -> None:
    """Two hundred requests read the notebook and the package's files once."""
    request_for(notebook)
    identity._read_notebook.cache_clear()
    before = content._content_sha256.cache_info().misses
    for n in range(200):
        request_for(notebook, {"n": n})
    assert identity._read_notebook.cache_info().misses == 1
    assert content._content_sha256.cache_info().misses - before <= 1


@pytest.mark.parametrize("timeout_s", [-1, 0])
def test_it_refuses_no_time(notebook: Path, timeout_s: float) -> None:
    """A time limit is greater than 0."""
    with pytest.raises(RunError, match=f"timeout_s must be greater than 0, got {timeout_s}"):
        request_for(notebook, timeout_s=timeout_s)


def test_it_refuses_a_notebook_that_is_not_there(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(RunError, match=r"there is no notebook at .*none\.ipynb"):
        request_for(tmp_path / "none.ipynb")
