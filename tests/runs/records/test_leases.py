"""Who may run a request."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crossbow_lab.runs import gc
from crossbow_lab.runs.records.leases import (
    HEARTBEAT_S,
    LeaseHeldError,
    drop_stale,
    lease,
    me,
    process_start,
    processes_of,
)

GONE = {"host": socket.gethostname(), "pid": 2**22 - 1, "started": "1", "nonce": "dead"}


def _leave(tmp_path: Path, holder: dict[str, object]) -> Path:
    """Leave a lease of somebody else's."""
    path = tmp_path / ".leases" / "key.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(holder))
    return path


def test_it_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    """The second is told who has it; afterwards it is free, and nothing is left."""
    with lease(tmp_path, "key"):
        with pytest.raises(LeaseHeldError, match=f"process {os.getpid()} on "), lease(tmp_path, "key"):
            pass
        with lease(tmp_path, "another"):
            pass
    with lease(tmp_path, "key"):
        pass
    assert list((tmp_path / ".leases").iterdir()) == []


def test_it_says_who_holds_it_though_that_is_being_written(tmp_path: Path) -> None:
    """A lease is empty for a moment after it was created."""
    path = _leave(tmp_path, vars(me()))
    written = path.read_text()
    path.write_text("")
    writer = threading.Timer(0.2, path.write_text, (written,))
    writer.start()
    with pytest.raises(LeaseHeldError, match=f"^process {os.getpid()} on "), lease(tmp_path, "key"):
        pass
    writer.join()


def test_it_takes_over_from_a_process_that_is_gone(tmp_path: Path) -> None:
    """Also where another process has its number by now, which started at another time."""
    for holder in (GONE, GONE | {"pid": os.getpid(), "nonce": "dead too"}):
        path = _leave(tmp_path, holder)
        with lease(tmp_path, "key"):
            assert json.loads(path.read_text())["pid"] == os.getpid()
            assert json.loads(path.read_text())["started"] == process_start(os.getpid())


def test_it_trusts_another_host_as_long_as_it_is_heard_of(tmp_path: Path) -> None:
    """After three heartbeats of silence it is taken over."""
    path = _leave(tmp_path, GONE | {"host": "elsewhere"})
    with pytest.raises(LeaseHeldError, match="on elsewhere"), lease(tmp_path, "key"):
        pass
    silent_since = time.time() - 4 * HEARTBEAT_S
    os.utime(path, (silent_since, silent_since))
    with lease(tmp_path, "key"):
        assert json.loads(path.read_text())["host"] == socket.gethostname()


def test_it_is_taken_over_by_one_only(tmp_path: Path) -> None:
    """Of many processes that find the same stale lease at once, none runs beside another."""
    _leave(tmp_path, GONE)
    code = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from crossbow_lab.runs.records.leases import LeaseHeldError, lease\n"
        "store = Path(sys.argv[1])\n"
        "while not (store / 'go').exists(): time.sleep(0.001)\n"
        "try:\n"
        "    with lease(store, 'key'):\n"
        "        (store / 'inside').mkdir()\n"  # fails if somebody else is inside
        "        time.sleep(0.05)\n"
        "        (store / 'inside').rmdir()\n"
        "    print('held')\n"
        "except LeaseHeldError:\n"
        "    print('refused')\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    (tmp_path / "go").touch()
    answers = [process.communicate()[0].strip() for process in started]
    assert set(answers) <= {"held", "refused"}
    assert "held" in answers


def test_it_does_not_take_over_while_another_does(tmp_path: Path) -> None:
    """Whoever is at it has left a file named after the stale lease; gc removes it if that one died too."""
    _leave(tmp_path, GONE)
    token = tmp_path / ".leases" / "key.dead.taken"
    token.write_text(json.dumps(vars(me())))
    with pytest.raises(LeaseHeldError, match="another process is taking over"), lease(tmp_path, "key"):
        pass
    assert drop_stale(tmp_path) == []
    token.write_text(json.dumps(GONE))
    assert drop_stale(tmp_path) == ["key"]
    assert list((tmp_path / ".leases").iterdir()) == []


def test_it_leaves_a_lease_alone_that_was_taken_from_it(tmp_path: Path) -> None:
    """Someone who slept through three heartbeats must not give back what another holds."""
    with lease(tmp_path, "key"):
        path = _leave(tmp_path, GONE | {"host": "elsewhere"})
    assert json.loads(path.read_text())["host"] == "elsewhere"


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes that aren't its own in /proc")
def test_it_finds_the_processes_of_a_run(build_run: Callable[..., Path]) -> None:
    """By the folder in their environment; while there is one, gc leaves the run alone though its runner is gone."""
    one, other = build_run("one", holder=GONE), build_run("other", holder=GONE)
    assert processes_of(one) == []
    with subprocess.Popen(["sleep", "60"], env=os.environ | {"CROSSBOW_RUN_FOLDER": str(one)}) as writer:
        try:
            end_s = time.monotonic() + 5
            while not processes_of(one) and time.monotonic() < end_s:
                time.sleep(0.01)  # the system shows a new process before it shows its environment
            assert processes_of(one) == [writer.pid]
            done = gc(one.parents[1])
            assert (done.running, [run.folder.name for run in done.recovered]) == (("one",), ["other"])
        finally:
            writer.kill()
    assert not other.exists()
    assert [run.folder.name for run in gc(one.parents[1]).recovered] == ["one"]
