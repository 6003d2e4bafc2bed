"""A device that is killed, stopped or fails: the session says which and why, keeps its record, and leaves nobody."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import is_there, workers_of
from small_models_of_two import FailsElsewhere, blobs, slow_loss

from crossbow_lab.errors import ConfigurationError, DeviceLost
from crossbow_lab.session import Session

MakeTwo = Callable[..., Session]


def test_a_killed_worker_fails_the_session_which_restores(
    make_two: MakeTwo, wait_until: Callable[..., float], tmp_path: Path
) -> None:
    """Within seconds, with rank, device and signal; record and last checkpoint are kept, and nobody is left behind."""
    session = make_two(folder=tmp_path / "record", evaluate_every=0.1)
    session.start()
    wait_until(lambda: len(session.history) > 3)
    (pid,) = workers_of(session)
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: session.state == "failed") < 10
    assert session.error is not None
    assert session.error.startswith(f"rank 1 (cpu, process {pid}) was killed by SIGKILL.")
    assert session.events.kind.iloc[-1] == "failed"
    assert not is_there(pid)
    with pytest.raises(ConfigurationError, match=r"while the session is failed .*restore a checkpoint"):
        session.start()
    assert session.central_model().training is False  # what is left can be looked at
    assert session.fingerprint()
    with Session.restore(tmp_path / "record" / "last.safetensors") as again:
        assert again.run(iterations=5).state == "finished"
        assert again.snapshot.devices == 2


def test_a_stopped_worker_is_taken_for_lost(make_two: MakeTwo, wait_until: Callable[..., float]) -> None:
    """Once it has shown no sign of life for as long as the session was told to wait; it is ended, too."""
    session = make_two(lost_after_s=1.5)
    session.start()
    wait_until(lambda: session.snapshot.iteration > 5)
    (pid,) = workers_of(session)
    os.kill(pid, signal.SIGSTOP)
    assert 1.0 < wait_until(lambda: session.state == "failed") < 10
    assert "rank 1 (cpu" in str(session.error)
    assert "has shown no sign of life for 1.5 s: it hangs, or has been stopped" in str(session.error)
    assert not is_there(pid)


def test_an_exception_of_one_device_is_told(make_two: MakeTwo) -> None:
    """With its type and text, where the session runs in the foreground, too."""
    session = make_two(FailsElsewhere(), blobs(), batch_size=4)
    with pytest.raises(DeviceLost, match=r"rank 1 \(cpu, process \d+\) failed: ValueError: .*out of luck"):
        session.run(iterations=100)
    assert session.state == "failed"
    assert 5 < session.snapshot.iteration <= 30


def test_a_worker_lost_while_nobody_trains_fails_the_session(
    make_two: MakeTwo, wait_until: Callable[..., float]
) -> None:
    """Paused in the background, where the training thread waits; or before training has begun."""
    session = make_two()
    session.start()
    session.pause()
    wait_until(lambda: session.state == "paused")
    os.kill(workers_of(session)[0], signal.SIGKILL)
    wait_until(lambda: session.state == "failed")
    assert "was killed by SIGKILL" in str(session.error)
    other = make_two()
    os.kill(workers_of(other)[0], signal.SIGTERM)
    wait_until(lambda: other.state == "failed")
    assert "was killed by SIGTERM" in str(other.error)


def test_long_iterations_are_no_fault(make_two: MakeTwo) -> None:
    """A worker shows signs of life while it computes."""
    session = make_two("logreg", blobs(), loss=slow_loss, lost_after_s=0.7, learners=1, batch_size=2, evaluate_every=99)
    assert session.run(iterations=2).state == "finished"  # of 0.4 s at least


def test_a_worker_that_cannot_start_says_why(
    make_two: MakeTwo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's code, which only this process has."""
    module = tmp_path / "vanishing_net.py"
    module.write_text("from torch import nn\n\n\nclass Net(nn.Linear):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    from vanishing_net import Net  # type: ignore[import-not-found]

    module.unlink()
    with pytest.raises(DeviceLost, match=r"rank 1 .* failed: ModuleNotFoundError: No module named 'vanishing_net'"):
        make_two(Net(5, 3), blobs())


PARENT = """
import os, sys, time
from crossbow_lab.session import Session

session = Session("logreg", learners=1, devices=["cpu", "cpu"], executor="loop", threads=1)
session.start()
while session.snapshot.iteration < 3:
    time.sleep(0.01)
print(*session._loop.trainer.together.group.workers.pids, flush=True)
{then}
"""


def test_a_parent_that_is_gone_leaves_no_orphan(wait_until: Callable[..., float]) -> None:
    """Killed, as when a kernel is restarted, or come to its end without closing the session."""
    scripts = [PARENT.format(then=then) for then in ("time.sleep(60)", "pass")]
    parents = [subprocess.Popen([sys.executable, "-c", each], stdout=subprocess.PIPE, text=True) for each in scripts]
    statuses = []
    for parent in parents:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if not statuses:
            assert is_there(pid)
            parent.kill()
        statuses.append(parent.wait(30))
        parent.stdout.close()
        assert wait_until(lambda pid=pid: not is_there(pid)) < 5
    assert statuses == [-signal.SIGKILL, 0]


def test_a_session_that_is_forgotten_ends_its_processes(wait_until: Callable[..., float]) -> None:
    """As one that is closed."""
    session: Any = Session("logreg", devices=["cpu", "cpu"], executor="loop", threads=1)
    (pid,) = workers_of(session)
    assert is_there(pid)
    del session
    gc.collect()
    wait_until(lambda: not is_there(pid))
