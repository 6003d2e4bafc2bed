"""Runs where nothing can be written: a full disk, a store without rights."""

import errno
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from crossbow_lab.errors import RunError
from crossbow_lab.runs import process, run_notebook, runner
from crossbow_lab.runs.records import collect


def test_it_says_so_when_the_disk_is_full_at_the_start(
    write_notebook: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the folder and what to do, not with a traceback of the file system."""

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(collect, "write", full)
    monkeypatch.setattr(runner, "execute", lambda _job, _say, meanwhile: meanwhile())
    with pytest.raises(RunError, match=r"can't be recorded in .*No space left on device; free space"):
        run_notebook(write_notebook("n: int = 3"), runs_dir=tmp_path / "runs")
    assert list((tmp_path / "runs" / ".leases").iterdir()) == []


def test_it_stops_a_run_whose_log_cannot_be_written(tmp_path: Path) -> None:
    """The lines still arrive, and the reason is given once."""
    lines: list[str] = []
    why: list[str] = []
    process._pass_on(io.StringIO("one\ntwo\n"), tmp_path / "gone" / "log.txt", lines.append, why.append)
    assert lines == ["one", "two"]
    assert len(why) == 1
    assert "can't be written" in why[0]
    outcome = collect.outcome_of(tmp_path, why[0])
    assert outcome["status"] == "failed"
    assert "the notebook was stopped" in outcome["exception"]["message"]
