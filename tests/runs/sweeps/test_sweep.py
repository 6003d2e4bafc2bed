"""Sweeps as a whole: through ``cb.sweep`` and through the command line, killed and asked for again."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crossbow_lab import cli
from crossbow_lab.errors import RunError
from crossbow_lab.runs import list_runs, sweep
from crossbow_lab.runs.sweeps.jobs import Ending
from crossbow_lab.runs.sweeps.places import Place
from crossbow_lab.runs.sweeps.plan import ask, make_plan
from crossbow_lab.runs.sweeps.progress import Progress
from crossbow_lab.runs.sweeps.showing import ending_line, shown_progress
from crossbow_lab.runs.sweeps.sweeping import Sweep

WAIT = """
import os, pathlib, time
here = pathlib.Path(folder.removeprefix("at "))
(here / f"began-{seed}").write_text(str(os.getpid()))
while (here / f"hold-{seed}").exists(): time.sleep(0.05)
"""


@pytest.fixture
def waiting_notebook(write_notebook: Callable[..., Path]) -> Path:
    """Write a notebook that waits while a file named after its seed is there."""
    return write_notebook("seed: int = 0\nfolder: str = ''", WAIT)


@pytest.fixture
def cluster_address() -> Iterator[str]:
    """Start somebody's cluster of one worker."""
    pytest.importorskip("distributed", reason="sweeps need the extra 'cluster'")
    from crossbow_lab.runs.sweeps.cluster import embedded

    with embedded([Place()], is_shared=False) as cluster:
        yield cluster.address


def command(notebook: Path, *options: str) -> list[str]:
    """Return the command line of a sweep over a notebook's seeds."""
    runs_dir = str(notebook.parent / "runs")
    fixed = f"folder=at {notebook.parent}"
    return [sys.executable, "-m", "crossbow_lab", "sweep", str(notebook), "-p", fixed, "--runs-dir", runs_dir, *options]


def descendants(pid: int) -> set[int]:
    """Return the processes that stem from one, itself among them."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(") ")[2].split()[:2]
            if state != "Z":
                parents[int(stat.parent.name)] = int(parent)
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def is_there(pid: int) -> bool:
    """Say whether a process still runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_it_leaves_no_process_when_the_driver_is_killed_and_finishes_the_rest_when_asked_again(
    waiting_notebook: Path,
) -> None:
    """Kill -9 in the second of two runs: all processes end at once; the same command runs the second one only."""
    pytest.importorskip("distributed", reason="sweeps need the extra 'cluster'")
    folder = waiting_notebook.parent
    (folder / "hold-1").touch()
    line = command(waiting_notebook, "-g", "seed=0:2")
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
        deadline = time.monotonic() + 90
        while not (folder / "began-1").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        family = descendants(driver.pid)
        assert len(family) >= 6, driver.stdout.read() if driver.poll() is not None and driver.stdout else family
        assert int((folder / "began-1").read_text()) in family
        driver.kill()
    killed = time.monotonic()
    while any(map(is_there, family)) and time.monotonic() < killed + 10:
        time.sleep(0.05)
    assert not any(map(is_there, family))
    assert [one.parameters["seed"] for one in list_runs(folder / "runs")] == [0]
    (folder / "hold-1").unlink()
    again = subprocess.run(line, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.startswith("2 runs: 1 run, 1 cached\n1/1  completed  seed=1")
    assert "status    completed: 2 of 2 runs" in again.stdout
    assert [one.parameters["seed"] for one in list_runs(folder / "runs")] == [0, 1]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_it_ends_at_ctrl_c_with_a_record_of_what_ran(waiting_notebook: Path) -> None:
    """A terminal sends Ctrl-C to the whole group; the sweep says what was never begun, and leaves with 130."""
    pytest.importorskip("distributed", reason="sweeps need the extra 'cluster'")
    folder = waiting_notebook.parent
    (folder / "hold-0").touch()
    line = command(waiting_notebook, "-g", "seed=0:2")
    driver = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 90
    while not (folder / "began-0").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    family = descendants(driver.pid)
    os.killpg(driver.pid, signal.SIGINT)
    printed, complained = driver.communicate(timeout=60)
    assert driver.returncode == 130, printed + complained
    assert complained.startswith("error: seed=0: interrupted: KeyboardInterrupt")
    assert "never begun: 1;" in printed
    assert [one.status for one in list_runs(folder / "runs")] == ["interrupted"]
    assert not any(map(is_there, family))


@pytest.mark.slow
def test_it_runs_on_somebody_elses_cluster(cluster_address: str, waiting_notebook: Path) -> None:
    """The plan is made on a worker, for its threads; a second sweep is answered from the records alone."""
    folder = waiting_notebook.parent
    plans: list[str] = []
    options = {"runs_dir": folder / "runs", "scheduler": cluster_address, "progress": False}
    fixed = {"folder": f"at {folder}"}
    done = sweep(waiting_notebook, {"seed": [3]}, fixed, on_plan=lambda plan: plans.append(plan[0].state), **options)  # type: ignore[arg-type]
    again = sweep(waiting_notebook, {"seed": [3]}, fixed, on_plan=lambda plan: plans.append(plan[0].state), **options)  # type: ignore[arg-type]
    assert (done.status, again.status) == ("completed", "completed")
    assert plans == ["run", "cached"]
    assert [run.folder for run in done.runs] == [run.folder for run in again.runs]
    assert done.runs[0].manifest["provenance"]["worker"] == "cpu0"
    assert list(done.table["status"]) == list(again.table["status"]) == ["completed"]
    with pytest.raises(RunError, match=r"worker .* doesn't see .*not-shared.ipynb"):
        _sweep_unseen(folder, cluster_address)


def _sweep_unseen(folder: Path, address: str) -> None:
    """Sweep a notebook that the workers don't see."""
    from crossbow_lab.runs.sweeps.cluster import remote

    with remote(address, (folder / "not-shared.ipynb",), is_shared=False):
        pass


def test_it_says_that_a_scheduler_can_not_be_reached(
    waiting_notebook: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the address, and how to get one; nothing has run."""
    pytest.importorskip("distributed", reason="sweeps need the extra 'cluster'")
    from crossbow_lab.runs.sweeps import cluster

    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    for address in ("tcp://127.0.0.1:1", "nonsense://x:1"):
        with pytest.raises(RunError, match=f"no Dask scheduler answers at {address} .*`dask scheduler`"):
            sweep(waiting_notebook, {"seed": "0:2"}, scheduler=address, runs_dir=tmp_path / "runs")
    assert list_runs(tmp_path / "runs") == []


def test_it_refuses_what_contradicts_or_can_not_be_written(waiting_notebook: Path, tmp_path: Path) -> None:
    """Workers of this machine on another's scheduler; a file where the store should be."""
    with pytest.raises(RunError, match="leave one of them out"):
        sweep(waiting_notebook, {"seed": "0:2"}, scheduler="tcp://x:1", workers=2)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"runs can't be written to .*file"):
        sweep(waiting_notebook, {"seed": "0:2"}, runs_dir=tmp_path / "file")


def test_it_says_how_to_get_dask_where_it_is_missing(
    waiting_notebook: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The plan needs no Dask; running does."""
    for name in [name for name in sys.modules if name.startswith(("crossbow_lab.runs.sweeps.cluster", "distributed"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)
    planned = sweep(waiting_notebook, {"seed": "0:2"}, runs_dir=tmp_path / "runs", plan_only=True)
    assert planned.status == "planned"
    with pytest.raises(RunError, match=r"pip install 'crossbow-lab\[cluster\]'"):
        sweep(waiting_notebook, {"seed": "0:2"}, runs_dir=tmp_path / "runs")


def test_it_shows_the_plan_in_the_terminal(
    waiting_notebook: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line a run with its state and why, in the order in which they would be begun, and their number."""
    monkeypatch.setattr(sys, "argv", ["crossbow-lab", *command(waiting_notebook, "-g", "seed=0:3", "--plan")[3:]])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["seed=0", "run"], ["seed=1", "run"], ["seed=2", "run"]]
    assert lines[4] == "3 runs: 3 run"


def test_it_refuses_a_grid_in_one_line(
    waiting_notebook: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and the nearest name."""
    monkeypatch.setattr(sys, "argv", ["crossbow-lab", *command(waiting_notebook, "-g", "sed=0:3")[3:]])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "did you mean 'seed'" in capsys.readouterr().err


def test_it_sums_up_how_a_sweep_ended(waiting_notebook: Path, tmp_path: Path) -> None:
    """Completed only if every run of the plan has its record."""
    plan = make_plan(ask(waiting_notebook, {"seed": "0:2"}), tmp_path)
    good = Ending("seed=0", "completed", 1.0, folder=str(tmp_path))
    assert Sweep(plan).status == "planned"
    assert Sweep(plan, (good,), is_interrupted=True).status == "interrupted"
    half = Sweep(plan, (good, Ending("seed=1", "lost", message="killed")))
    assert half.status == "failed"
    assert list(half.table["message"]) == ["", "killed"]
    assert Sweep(plan, (good, Ending("seed=1", "completed", 1.0, folder=str(tmp_path / "b")))).status == "completed"
    assert repr(half) == "<Sweep of 2 runs, failed: 1 completed, 1 lost>"


def test_it_shows_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With how many are done, the time left and what runs, and a line above it for each run that has ended."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    good = Ending("seed=[1]", "completed", 3.0)
    with shown_progress() as show:
        show(Progress(4, (good,), {"seed=[2]": "[cell 3 of 4] train"}, 4.0, 100.0))
    printed = capsys.readouterr().out
    assert "1/4  completed  seed=[1]  3.0 s  100 s left" in printed
    assert "100 s left  seed=[2] [cell 3 of 4] train" in printed


def test_it_tells_in_a_line_how_a_run_ended() -> None:
    """With the reason where it went wrong, and with the time left where that is known."""
    lost = Ending("seed=1", "failed", 3.0, message="ValueError: bad\nmore")
    assert ending_line(lost, 2, Progress(3, (lost,), {}, 4.0, 7200.0)) == "2/3  failed  seed=1  3.0 s  ValueError: bad"
    good = Ending("seed=2", "completed", 3.0)
    assert ending_line(good, 3, Progress(4, (good,), {}, 4.0, 7200.0)).endswith("3.0 s  2 h left")
    json.dumps(vars(good))
