"""Opening JupyterLab or Voila, as far as that goes without a browser."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crossbow_lab import cli
from crossbow_lab.dashboard import lab
from crossbow_lab.errors import ConfigurationError


def test_the_notebooks_are_copied_and_work_on_them_is_kept(tmp_path: Path) -> None:
    """What is there already stays as it is."""
    folder = tmp_path / "mine"
    new = {path.name for path in lab.fill(folder)}
    assert {"dashboard.ipynb", "01_sma_vs_sgd.ipynb"} <= new
    (folder / "dashboard.ipynb").write_text("worked on")
    (folder / "01_sma_vs_sgd.ipynb").unlink()
    assert [path.name for path in lab.fill(folder)] == ["01_sma_vs_sgd.ipynb"]
    assert (folder / "dashboard.ipynb").read_text() == "worked on"


def test_a_folder_that_can_not_be_written_to_is_refused(tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"can't be copied to .*; give a folder of yours"):
        lab.fill(tmp_path / "file")


@pytest.mark.parametrize("voila", [False, True])
def test_it_listens_on_this_machine_only_and_lets_the_server_make_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, voila: bool
) -> None:
    """A token on the command line could be read by anybody on the machine."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    lab.fill(tmp_path)
    words = list(lab.command(tmp_path, voila=voila, browser=False, port=8123))
    assert words[:3] == [sys.executable, "-m", "voila" if voila else "jupyterlab"]
    assert any(word.endswith(".ip=127.0.0.1") for word in words)
    assert "--port=8123" in words
    assert "--no-browser" in words
    assert ("--Voila.auto_token=True" in words) is voila
    assert not any("token=" in word.lower() for word in words if "auto" not in word)
    assert words[-1] == str(tmp_path / ("dashboard.ipynb" if voila else "00_start_here.ipynb"))


@pytest.mark.parametrize("voila", [False, True])
def test_any_notebook_of_the_folder_can_be_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, voila: bool
) -> None:
    """By its name; a misspelt one is answered with the nearest."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    lab.fill(tmp_path)
    for page in ("07_the_family", "07_the_family.ipynb"):
        words = lab.command(tmp_path, voila=voila, browser=False, port=None, page=page)
        assert words[-1] == str(tmp_path / "07_the_family.ipynb")
    with pytest.raises(ConfigurationError, match=r"has no notebook '07_the_famly'; .*07_the_family"):
        lab.command(tmp_path, voila=voila, browser=False, port=None, page="07_the_famly")


def test_a_server_finds_this_python_and_our_page_and_its_exit_code_is_returned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C goes to the server too, which is waited for; what the user has in JUPYTER_PATH stays."""
    seen: dict[str, Any] = {}
    waits = iter([KeyboardInterrupt, 3])

    def wait() -> int:
        answer = next(waits)
        if isinstance(answer, int):
            return answer
        raise answer

    def start(_: object, env: dict[str, str]) -> object:
        seen.update(env)
        return SimpleNamespace(wait=wait)

    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    monkeypatch.setattr("subprocess.Popen", start)
    monkeypatch.setenv("JUPYTER_PATH", "mine")
    monkeypatch.setattr(sys, "argv", ["crossbow-lab", "lab", str(tmp_path / "mine"), "--voila"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3
    assert (tmp_path / "mine" / "dashboard.ipynb").exists()
    assert seen["JUPYTER_PREFER_ENV_PATH"] == "1"
    ours, theirs = seen["JUPYTER_PATH"].split(os.pathsep)
    assert theirs == "mine"
    page = Path(ours) / "voila" / "templates" / "crossbow-lab" / "index.html.j2"
    assert "data-left-out" in page.read_text(encoding="utf-8")


def test_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither server is in the plain installation."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for voila, name in ((False, "jupyterlab"), (True, "voila")):
        with pytest.raises(ConfigurationError, match=rf"{name} isn't installed; pip install 'crossbow-lab\[lab\]'"):
            lab.command(tmp_path, voila=voila, browser=True, port=None)


def test_the_app_s_notebook_is_stored_without_outputs(tmp_path: Path) -> None:
    """And opens a dashboard."""
    lab.fill(tmp_path)
    cells = json.loads((tmp_path / "dashboard.ipynb").read_text(encoding="utf-8"))["cells"]
    (code,) = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code["outputs"] == []
    assert "session.dashboard(" in "".join(code["source"])
