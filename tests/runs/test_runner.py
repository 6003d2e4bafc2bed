"""A notebook as a run: its process, its folder and its status."""

import errno
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from crossbow_lab.errors import RunError
from crossbow_lab.runs import Run, gc, identity, list_runs, load_run, process, run_notebook, runner
from crossbow_lab.runs.identity import Request
from crossbow_lab.runs.records import collect
from crossbow_lab.runs.records.leases import processes_of
from crossbow_lab.runs.records.store import find_finished
from crossbow_lab.runs.records.verifying import verify
from crossbow_lab.runs.worker import write_report

WRITER = """
from pathlib import Path
import os, beside
print("n is", n)
Path("made.txt").write_text(beside.word)
Path(os.environ["CROSSBOW_RUN_FOLDER"], "result.json").write_text('{"table": null}')
"""


@pytest.fixture(scope="module")
def completed(
    tmp_path_factory: pytest.TempPathFactory, make_notebook: Callable[..., dict[str, Any]]
) -> tuple[Run, list[str], list[str]]:
    """Run a notebook once for several tests; also what it printed, and what the runs folder held meanwhile."""
    folder = tmp_path_factory.mktemp("completed")
    (folder / "beside.py").write_text("word = 'found'")
    notebook = folder / "small.ipynb"
    notebook.write_text(json.dumps(make_notebook("n: int = 3  # how many", "n + 1", WRITER)))
    lines: list[str] = []
    published: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        published.extend(path.name for path in (folder / "runs").iterdir() if not path.name.startswith("."))

    run = run_notebook(notebook, {"n": "5"}, runs_dir=folder / "runs", on_line=on_line)
    return run, lines, published


def test_it_completes_with_an_executed_notebook_and_a_report(completed: tuple[Run, list[str], list[str]]) -> None:
    """The outputs are in the executed notebook and in the HTML report."""
    run = completed[0]
    assert run.status == "completed"
    assert run.manifest["exception"] is None
    executed = json.loads(run.notebook.read_text())
    assert any("n is 5" in str(cell.get("outputs")) for cell in executed["cells"])
    assert "n is 5" in run.report.read_text()


def test_it_runs_this_package_and_not_one_in_the_working_folder(
    write_notebook: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a clone in which the package is installed: what is hashed is what runs."""
    decoy = tmp_path / "elsewhere" / "crossbow_lab"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise RuntimeError('another package')")
    monkeypatch.chdir(decoy.parent)
    assert run_notebook(write_notebook("n: int = 3", "n + 1"), runs_dir=tmp_path / "runs").status == "completed"


def test_it_needs_no_network_to_read_the_report(completed: tuple[Run, list[str], list[str]]) -> None:
    """A report without TeX loads nothing from anywhere."""
    report = completed[0].report.read_text()
    assert "<script src=" not in report
    assert "mathjax" not in report.lower()
    assert "<title>small</title>" in report


def test_it_loads_mathjax_only_for_a_notebook_with_tex(
    tmp_path: Path, make_notebook: Callable[..., dict[str, Any]]
) -> None:
    """Formulas are set where there is a network, and stay readable where there isn't."""
    tex = {"cell_type": "markdown", "id": "m", "metadata": {}, "source": "$x^2$"}
    (tmp_path / "tex.ipynb").write_text(json.dumps({**make_notebook(), "cells": [tex]}))
    write_report(tmp_path / "tex.ipynb", tmp_path / "tex.html", title="tex")
    assert "mathjax" in (tmp_path / "tex.html").read_text().lower()


def test_it_passes_on_lines_as_they_come(completed: tuple[Run, list[str], list[str]]) -> None:
    """Cells are announced, and what they print arrives."""
    lines = completed[1]
    assert "n is 5" in lines
    assert any(line.startswith("[cell 3 of 4] n + 1") for line in lines)
    assert (completed[0].folder / "log.txt").read_text().splitlines() == lines


def test_it_publishes_nothing_before_it_is_over(completed: tuple[Run, list[str], list[str]]) -> None:
    """While the notebook runs there is no run folder; afterwards nothing is left where it was built."""
    run, _, published = completed
    assert published == []
    assert list((run.folder.parent / ".tmp").iterdir()) == []
    assert list((run.folder.parent / ".leases").iterdir()) == []


def test_it_records_what_was_asked_and_what_happened(completed: tuple[Run, list[str], list[str]]) -> None:
    """The manifest has parameters with defaults, the notebook's hash, versions, hardware, times and file hashes."""
    run = completed[0]
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert manifest == run.manifest
    assert manifest["schema"] == 2
    assert manifest["parameters"] == {"n": 5}
    notebook = Path(manifest["notebook"]["path"])
    assert manifest["notebook"]["sha256"] == hashlib.sha256(notebook.read_bytes()).hexdigest()
    assert manifest["packages"]["papermill"]
    assert manifest["hardware"]["cores"] >= 1
    assert manifest["started_utc"] < manifest["finished_utc"]
    assert manifest["timing_s"]["notebook"] > 0
    on_disk = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    assert set(manifest["outputs"]) == on_disk - {"manifest.json"}
    assert not {"outcome.json", "request.json"} & on_disk
    assert verify(run) == ()


def test_it_works_in_a_folder_of_its_own_with_modules_beside_the_notebook(
    completed: tuple[Run, list[str], list[str]],
) -> None:
    """What a notebook writes is kept with the run, and it can import what lies beside it."""
    assert (completed[0].folder / "files" / "made.txt").read_text() == "found"


def test_it_is_read_again_from_its_folder(completed: tuple[Run, list[str], list[str]]) -> None:
    """``load_run`` returns what ``run_notebook`` returned."""
    assert load_run(completed[0].folder) == completed[0]
    assert completed[0].result == {"table": None}


def test_it_answers_the_same_request_from_the_record(
    completed: tuple[Run, list[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is run again, whatever way the value is written."""
    run = completed[0]
    # Somebody may be editing the package while its tests run.
    monkeypatch.setattr(identity, "code_sha256", lambda: run.manifest["parts"]["code"])
    again = run_notebook(run.manifest["notebook"]["path"], {"n": 5}, runs_dir=run.folder.parent)
    assert again.is_cached
    assert again.folder == run.folder
    assert not run.is_cached


def test_it_takes_no_damaged_record_for_an_answer(completed: tuple[Run, list[str], list[str]], tmp_path: Path) -> None:
    """A record that lost a file is passed over."""
    run = completed[0]
    shutil.copytree(run.folder, tmp_path / run.folder.name)
    assert find_finished(tmp_path, str(run.key)) is not None
    (tmp_path / run.folder.name / "result.json").unlink()
    assert find_finished(tmp_path, str(run.key)) is None


def test_it_refuses_a_misspelt_parameter_before_anything_runs(
    write_notebook: Callable[..., Path], tmp_path: Path
) -> None:
    """No process is started and no folder made."""
    with pytest.raises(RunError, match="did you mean 'learners'"):
        run_notebook(write_notebook("learners: int = 3"), {"lerners": 4}, runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "../up"}, "can't name a folder"),
        ({"name": ".hidden"}, "can't name a folder"),
        ({"timeout_s": 0}, "timeout_s must be greater than 0"),
        ({"runs_dir": __file__}, "runs can't be written to"),
    ],
)
def test_it_refuses_options_it_cannot_follow(
    write_notebook: Callable[..., Path], tmp_path: Path, options: dict[str, object], message: str
) -> None:
    """A name that leaves the folder, no time at all, a file for a folder."""
    with pytest.raises(RunError, match=message):
        run_notebook(write_notebook("n: int = 3"), **{"runs_dir": tmp_path / "runs", **options})  # type: ignore[arg-type]


def test_it_publishes_a_failed_run_with_its_partial_notebook(
    write_notebook: Callable[..., Path], tmp_path: Path
) -> None:
    """The record says which cell raised what; cells before it kept their outputs, cells after it did not run."""
    notebook = write_notebook("n: int = 3", "print('before')", "1 / (n - 3)", "print('after')")
    run = run_notebook(notebook, runs_dir=tmp_path / "runs")
    assert run.status == "failed"
    assert run.manifest["exception"] == {"name": "ZeroDivisionError", "message": "division by zero", "cell": 3}
    assert "before" in run.report.read_text()
    log = (run.folder / "log.txt").read_text().splitlines()
    assert "before" in log
    assert "after" not in log


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes that aren't its own in /proc")
def test_it_publishes_a_run_whose_process_was_killed(write_notebook: Callable[..., Path], tmp_path: Path) -> None:
    """Even when the worker left no account of itself, the record says so; nobody writes into it any more."""
    writer = "import time; [(time.sleep(0.05), open(f'late-{n}.txt', 'w').close()) for n in range(200)]"
    start_and_kill = (
        "import os, signal, subprocess, sys\n"
        "quiet = dict.fromkeys(('stdin', 'stdout', 'stderr'), subprocess.DEVNULL)\n"
        f"writer = subprocess.Popen([sys.executable, '-c', {writer!r}], start_new_session=True, **quiet)\n"
        "os.kill(os.getppid(), signal.SIGKILL)"
    )
    run = run_notebook(write_notebook("n: int = 3", "print('before')", start_and_kill), runs_dir=tmp_path / "runs")
    assert run.status == "failed"
    assert run.manifest["exception"]["name"] == "WorkerDied"
    assert "before" in run.notebook.read_text()
    time.sleep(0.3)
    assert verify(run) == ()
    assert processes_of(tmp_path / "runs" / ".tmp" / run.folder.name) == []


@pytest.mark.slow
def test_it_interrupts_at_ctrl_c_and_keeps_the_record(write_notebook: Callable[..., Path], tmp_path: Path) -> None:
    """Ctrl-C reaches the cell that runs, and ends the run at once with status interrupted."""
    notebook = write_notebook("n: int = 3", "import time; print('go', flush=True); time.sleep(60)", "print('after')")

    def on_line(line: str) -> None:
        if line == "go":
            os.kill(os.getpid(), signal.SIGINT)

    started = time.monotonic()
    run = run_notebook(notebook, runs_dir=tmp_path / "runs", on_line=on_line)
    assert time.monotonic() - started < 30
    assert run.status == "interrupted"
    assert run.manifest["exception"]["name"] == "KeyboardInterrupt"
    assert "after" not in (run.folder / "log.txt").read_text().splitlines()


@pytest.mark.slow
def test_it_ends_a_notebook_that_does_not_hear_the_interrupt(
    write_notebook: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time limit and its grace the kernel is killed, and the record says timeout."""
    monkeypatch.setattr(process, "_GRACE_S", 1.0)
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('go', flush=True); time.sleep(60)"
    started = time.monotonic()
    run = run_notebook(write_notebook("n: int = 3", deaf), runs_dir=tmp_path / "runs", timeout_s=4)
    assert time.monotonic() - started < 30
    assert run.status == "timeout"
    assert run.manifest["exception"]["name"] == "DeadKernelError"


def test_it_leaves_ctrl_c_alone_on_other_threads() -> None:
    """A run that a pool's thread executes can't and doesn't take over the interrupt."""
    seen: list[object] = []

    def work() -> None:
        with process._on_interrupt(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes that aren't its own in /proc")
def test_it_leaves_no_process_and_no_run_when_it_is_killed(write_notebook: Callable[..., Path], tmp_path: Path) -> None:
    """After kill -9 of the runner its worker and its kernel end too, and nothing unfinished looks like a run."""
    say = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(60)"
    notebook = write_notebook("n: int = 3", say)
    code = (
        "import sys; from crossbow_lab.runs import run_notebook; "
        "run_notebook(sys.argv[1], runs_dir=sys.argv[2], on_line=lambda line: print(line, flush=True))"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code, str(notebook), str(tmp_path / "runs")], stdout=subprocess.PIPE, text=True
    )
    with driver:
        assert driver.stdout is not None
        kernel = next(int(line.split()[1]) for line in driver.stdout if line.startswith("pid "))
        driver.kill()
    assert _ends(kernel, within_s=10)
    assert list_runs(tmp_path / "runs") == []
    (building,) = (tmp_path / "runs" / ".tmp").iterdir()
    assert all(_ends(pid, within_s=10) for pid in processes_of(building))
    recovered = gc(tmp_path / "runs").recovered
    assert [run.status for run in recovered] == ["interrupted"]
    assert "pid " in (recovered[0].folder / "log.txt").read_text()
    assert verify(recovered[0]) == ()


def _ends(pid: int, *, within_s: float) -> bool:
    """Wait for a process that isn't our child to end."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(") ")[2].startswith("Z"):
            return True
        time.sleep(0.1)
    return False


def test_it_runs_a_request_once_though_two_ask(
    write_notebook: Callable[..., Path],
    make_run: Callable[..., Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second waits for the first, says so once, and returns its record."""
    notebook, lines, answers = write_notebook("n: int = 3"), [], []
    is_waiting = threading.Event()

    def run(request: Request, *_: object) -> Run:
        assert is_waiting.wait(10)
        return make_run(key=request.key)

    def on_line(line: str) -> None:
        lines.append(line)
        is_waiting.set()

    def ask() -> None:
        answers.append(run_notebook(notebook, runs_dir=tmp_path / "runs", on_line=on_line))

    monkeypatch.setattr(runner, "_run", run)
    monkeypatch.setattr(runner, "_ASK_AGAIN_S", 0.01)
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.is_cached for run in answers) == [False, True]
    assert answers[0].folder == answers[1].folder
    assert len(lines) == 1
    assert lines[0].startswith(f"waiting: process {os.getpid()} on ")


@pytest.mark.slow
def test_it_keeps_what_a_session_recorded_before_its_kernel_was_killed(
    write_notebook: Callable[..., Path], tmp_path: Path
) -> None:
    """Its history, events, recipe and last checkpoint are in the record, without the notebook's doing."""
    train = (
        "import os, signal, crossbow_lab as cb\n"
        "session = cb.Session('logreg', 'digits', learners=2, batch_size=8, executor='loop', threads=1)\n"
        "session.run(epochs=2)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    run = run_notebook(write_notebook("n: int = 3", train), runs_dir=tmp_path / "runs")
    assert run.status == "failed"
    assert "the kernel died" in run.manifest["exception"]["message"]
    assert list(run.sessions) == ["unrecorded-1"]
    names = {path.name for path in run.sessions["unrecorded-1"].iterdir()}
    assert names >= {"history.parquet", "events.parquet", "recipe.json", "last.safetensors"}
    assert len(pd.read_parquet(run.sessions["unrecorded-1"] / "history.parquet")) == 2
    assert run.manifest["data"]["digits"]
    assert verify(run) == ()


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


def test_it_answers_from_a_store_that_it_cannot_write(
    completed: tuple[Run, list[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is found; only a new run is refused, with another place to go."""
    run = completed[0]
    monkeypatch.setattr(identity, "code_sha256", lambda: run.manifest["parts"]["code"])
    shutil.copytree(run.folder, tmp_path / "runs" / run.folder.name)
    (tmp_path / "runs" / ".leases").write_text("in the way")
    notebook = run.manifest["notebook"]["path"]
    assert run_notebook(notebook, {"n": 5}, runs_dir=tmp_path / "runs").is_cached
    with pytest.raises(RunError, match=r"runs can't be written to .*; choose another --runs-dir"):
        run_notebook(notebook, {"n": 6}, runs_dir=tmp_path / "runs")
