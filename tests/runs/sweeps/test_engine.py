"""Runs of a sweep on a cluster of real processes: killed, interrupted, failing, held by others."""

import contextlib
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crossbow_lab.runs import load_run
from crossbow_lab.runs.records.leases import lease
from crossbow_lab.runs.sweeps.jobs import Ending, Job
from crossbow_lab.runs.sweeps.places import Place
from crossbow_lab.runs.sweeps.plan import ask
from crossbow_lab.runs.sweeps.progress import Progress, seconds_left

distributed = pytest.importorskip("distributed", reason="sweeps need the extra 'cluster'")

from crossbow_lab.runs.sweeps.cluster import Connected, embedded  # noqa: E402 (only where Dask is)
from crossbow_lab.runs.sweeps.engine import run_jobs  # noqa: E402

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")

WAIT = """
import os, pathlib, time
here = pathlib.Path(folder.removeprefix("at "))
(here / f"began-{n}").write_text(os.environ["OMP_NUM_THREADS"])
while (here / "hold").exists(): time.sleep(0.05)
assert n >= 0
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Connected]:
    """Start two workers once for this module."""
    with embedded([Place(1, (core,)) for core in (0, 0)], is_shared=False) as connected:
        yield connected


@pytest.fixture
def job(tmp_path: Path, write_notebook: Callable[..., Path]) -> Callable[[int], Job]:
    """Return a function that makes a job; it fails for a negative number, and waits while ``hold`` is there."""
    notebook = write_notebook("n: int = 0\nfolder: str = ''", WAIT)

    def make(n: int) -> Job:
        values = {"n": n, "folder": f"at {tmp_path}"}  # a folder's path alone would make its files part of the key
        return Job(f"n={n}", str(notebook), str(tmp_path / "runs"), values, threads=1)

    return make


def began(folder: Path, n: int, *, within_s: float = 60.0) -> bool:
    """Wait for a job's notebook to begin."""
    deadline = time.monotonic() + within_s
    while not (folder / f"began-{n}").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def published(folder: Path) -> list[str]:
    """Return the statuses of all published runs."""
    return sorted(load_run(path.parent).status for path in (folder / "runs").glob("*/manifest.json"))


def runs_of(worker: int) -> list[int]:
    """Return the processes that a worker has started for runs."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(") ")[2].split()[:2]
            if int(parent) == worker and state != "Z" and b"job_process" in stat.with_name("cmdline").read_bytes():
                found.append(int(stat.parent.name))
    return found


def meanwhile(action: Callable[[], Any]) -> threading.Thread:
    """Do something on another thread while jobs run on this one."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def test_it_goes_on_after_a_failure_and_tells_how_each_ended(
    cluster: Connected, job: Callable[[int], Job], tmp_path: Path
) -> None:
    """Each run has its own end and its record, made with the threads of its place; progress ends at the end."""
    seen: list[Progress] = []
    jobs = [job(-1), job(1), replace(job(2), notebook=str(tmp_path / "none.ipynb"))]
    endings, is_interrupted = run_jobs(cluster, jobs, on_progress=seen.append)
    assert not is_interrupted
    by_label = {ending.label: ending for ending in endings}
    assert {label: ending.status for label, ending in by_label.items()} == {
        "n=-1": "failed",
        "n=1": "completed",
        "n=2": "refused",
    }
    assert by_label["n=-1"].message.startswith("AssertionError")
    assert "there is no notebook" in by_label["n=2"].message
    run = load_run(by_label["n=1"].folder or "")
    assert run.manifest["provenance"]["worker"] in ("cpu0", "cpu1")
    assert (tmp_path / "began-1").read_text() == "1"
    asked = ask(jobs[1].notebook, {"n": [1]}, {"folder": f"at {tmp_path}"})
    assert run.key == asked.requests(threads=1)[0].key
    assert [len(progress.ended) for progress in seen][-1] == seen[-1].n_total == 3
    assert seen[-1].n_failed == 2
    assert any("n=1" in progress.running for progress in seen)


def test_it_begins_nothing_after_the_first_failure_when_told_to(cluster: Connected, job: Callable[[int], Job]) -> None:
    """What comes after the two that were handed out is never begun."""
    jobs = [replace(job(n), notebook="/none.ipynb") for n in range(6)]
    endings, _ = run_jobs(cluster, jobs, fails_fast=True)
    statuses = [ending.status for ending in endings]
    assert statuses[0] == "refused"
    assert statuses.count("refused") <= 2
    assert statuses[-4:] == ["skipped"] * 4
    assert sorted(ending.label for ending in endings) == [f"n={n}" for n in range(6)]


def test_it_runs_a_job_again_whose_worker_was_killed(
    cluster: Connected, job: Callable[[int], Job], tmp_path: Path
) -> None:
    """Kill -9 of the Dask worker: the run's processes end with it, and the run takes place once more, on another."""
    (tmp_path / "hold").touch()
    killed: list[int] = []

    def kill() -> None:
        if began(tmp_path, 1):
            killed.extend(worker for worker in cluster.client.run(os.getpid).values() if runs_of(worker))
        (tmp_path / "hold").unlink()
        for worker in killed:
            os.kill(worker, signal.SIGKILL)

    thread = meanwhile(kill)
    endings, _ = run_jobs(cluster, [job(1)])
    thread.join()
    assert len(killed) == 1
    assert [ending.status for ending in endings] == ["completed"]
    assert published(tmp_path) == ["completed"]


def test_it_runs_a_job_again_whose_own_process_was_killed_but_not_for_ever(
    cluster: Connected, job: Callable[[int], Job], tmp_path: Path
) -> None:
    """Once is put up with, twice is not: the second time it is lost, and the message says what is known."""
    over = threading.Event()

    def keep_killing() -> None:
        workers = list(cluster.client.run(os.getpid).values())
        while not over.wait(0.05):
            for pid in itertools.chain.from_iterable(map(runs_of, workers)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    thread = meanwhile(keep_killing)
    endings, _ = run_jobs(cluster, [job(1)])
    over.set()
    thread.join()
    assert [ending.status for ending in endings] == ["lost"]
    assert endings[0].message == "the process of the run was lost (exit status -9)"
    assert published(tmp_path) == []


def test_it_does_something_else_while_another_sweep_runs_the_same(
    cluster: Connected, job: Callable[[int], Job], tmp_path: Path
) -> None:
    """What is held comes last, and waits for its holder; then it is run, because the holder has left no record."""
    first, second = job(1), job(2)
    key = ask(first.notebook, {"n": [1]}, {"folder": f"at {tmp_path}"}).requests(threads=1)[0].key
    others_went_first = threading.Event()

    def hold() -> None:
        with lease(tmp_path / "runs", key):
            if began(tmp_path, 2) and not (tmp_path / "began-1").exists():
                others_went_first.set()
            time.sleep(1)

    thread = meanwhile(hold)
    time.sleep(0.5)
    endings, _ = run_jobs(cluster, [first, second])
    thread.join()
    assert others_went_first.is_set()
    assert endings[-1].label == "n=1"
    assert [ending.status for ending in endings] == ["completed"] * 2


def test_it_counts_the_time_left_from_what_has_run() -> None:
    """Cached and failed runs say nothing about how long one takes; without any other nothing is claimed."""
    ended = [Ending("a", "completed", 10.0), Ending("b", "completed", 0.1, is_cached=True), Ending("c", "failed", 1.0)]
    assert seconds_left(ended, {"d": 4.0, "e": 30.0}, n_waiting=3, n_workers=2) == (6.0 + 30.0) / 2
    assert seconds_left(ended[1:], {}, n_waiting=3, n_workers=2) is None


def test_it_writes_jobs_as_plain_json(job: Callable[[int], Job]) -> None:
    """What crosses to the run's process is text, and comes back the same."""
    sent = job(1)
    assert Job(**json.loads(json.dumps(vars(sent)))).parameters == sent.parameters
