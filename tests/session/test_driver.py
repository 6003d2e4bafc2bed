"""States and their transitions, in the foreground and the background, and who may do what when."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session import Accuracy, Session

Make = Callable[..., Session]


def paused(make: Make, wait_for: Any, **settings: Any) -> Session:
    """Return a session that is paused in the background."""
    session = make(**settings).start()
    session.pause()
    wait_for(lambda: session.state == "paused")
    return session


def test_a_new_session_is_ready(make: Make) -> None:
    """Nothing has been trained, and nothing is to be stopped."""
    session = make()
    assert session.state == session.snapshot.state == "ready"
    assert session.snapshot.iteration == 0
    session.stop()
    assert session.state == "ready"
    assert session.wait(0) == "ready"
    assert session.history.empty


def test_run_finishes_and_can_go_on(make: Make) -> None:
    """Limits count from now, and run returns the session."""
    session = make()
    assert session.run(iterations=3) is session
    assert (session.state, session.snapshot.iteration) == ("finished", 3)
    assert session.run(iterations=4).snapshot.iteration == 7
    assert session.start(iterations=2).wait() == "finished"
    assert session.snapshot.iteration == 9
    assert session.history.iteration.tolist() == [3, 7, 9]


def test_run_by_epochs_counts_samples(make: Make) -> None:
    """Half an epoch of digits is 719 samples, in whole iterations."""
    session = make().run(epochs=0.5)
    assert session.snapshot.iteration == 45  # x 16 = 720
    assert session.history.epoch.tolist() == [720 / 1437]


def test_run_by_seconds_counts_training_time(make: Make) -> None:
    """It ends within the iteration that passes the limit."""
    session = make().run(seconds=0.05)
    assert session.state == "finished"
    assert 0.05 <= session.snapshot.elapsed_s < 2
    assert session.snapshot.iteration > 0


def test_the_first_limit_ends_it(make: Make) -> None:
    """Whichever it is."""
    assert make().run(epochs=5, iterations=2, seconds=100).snapshot.iteration == 2


def test_start_trains_in_the_background_until_stopped(make: Make, wait_for: Any) -> None:
    """It returns at once; stop waits, evaluates, and the session can go on."""
    session = make()
    assert session.start() is session
    assert session.state == "running"
    wait_for(lambda: session.snapshot.iteration > 5)
    assert session.wait(0.01) == "running"
    session.stop()
    assert session.state == session.snapshot.state == "stopped"
    assert session.history.iteration.iloc[-1] == session.snapshot.iteration
    session.stop()
    assert session.state == "stopped"
    before = session.snapshot.iteration
    assert session.run(iterations=3).snapshot.iteration == before + 3


def test_pause_and_resume(make: Make, wait_for: Any) -> None:
    """Nothing moves while paused, time neither; pausing again or resuming twice does no harm."""
    session = paused(make, wait_for)
    session.pause()
    before, mark = session.snapshot, session.fingerprint()
    time.sleep(0.03)
    assert session.snapshot == before
    assert session.fingerprint() == mark
    session.resume()
    session.resume()
    wait_for(lambda: session.snapshot.iteration > before.iteration)
    assert session.state == "running"
    session.pause()
    wait_for(lambda: session.state == "paused")
    session.stop()
    assert session.state == "stopped"


def test_step_from_ready_trains_here_and_pauses(make: Make) -> None:
    """No thread is left, stepping goes on, and run goes on from there."""
    session = make()
    session.step()
    assert (session.state, session.snapshot.iteration) == ("paused", 1)
    session.step(4)
    assert (session.state, session.snapshot.iteration) == ("paused", 5)
    session.pause()
    assert session.history.empty
    assert session.run(iterations=1).snapshot.iteration == 6


def test_resume_after_a_step_goes_on_in_the_background(make: Make, wait_for: Any) -> None:
    """Until it is stopped."""
    session = make()
    session.step(2)
    session.resume()
    wait_for(lambda: session.snapshot.iteration > 4)
    session.stop()
    assert session.state == "stopped"


def test_stop_after_a_step_evaluates_as_any_stop_does(make: Make) -> None:
    """The session is stopped, with a row of the history."""
    session = make()
    session.step(2)
    session.stop()
    assert session.state == "stopped"
    assert session.history.iteration.tolist() == [2]


def test_step_in_a_paused_thread_trains_exactly_n(make: Make, wait_for: Any) -> None:
    """And returns when they are done; a pause that hasn't taken effect yet counts."""
    session = paused(make, wait_for)
    before = session.snapshot.iteration
    session.step(3)
    assert (session.state, session.snapshot.iteration) == ("paused", before + 3)
    session.resume()
    session.pause()
    session.step(2)
    assert session.state == "paused"
    session.stop()


def test_a_step_that_reaches_the_limit_finishes(make: Make, wait_for: Any) -> None:
    """It doesn't wait for iterations that will never come."""
    session = make()
    session.step(1)
    session.start(iterations=5)
    session.pause()
    wait_for(lambda: session.state != "running")
    if session.state == "paused":
        session.step(10)
    assert (session.wait(), session.snapshot.iteration) == ("finished", 6)


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "2", None])
def test_step_wants_a_whole_number(make: Make, wait_for: Any, n: Any) -> None:
    """Refused in either kind of pause, and the session is as before."""
    for session in (make(), paused(make, wait_for)):
        with pytest.raises(ConfigurationError, match=r"n is .*; it must be a whole number >= 1"):
            session.step(n)
    session.stop()
    assert make().run(iterations=1).state == "finished"


def test_calls_that_make_no_sense_say_what_would(make: Make, wait_for: Any) -> None:
    """Each names the state and the way on."""
    session = make()
    for call in (session.pause, session.resume):
        with pytest.raises(ConfigurationError, match=r"\(\) while the session is ready; start\(\) or run\(\) it"):
            call()
    session.start()
    with pytest.raises(ConfigurationError, match=r"start\(\) while the session is running; pause\(\) or stop\(\)"):
        session.start()
    with pytest.raises(ConfigurationError, match=r"run\(\) while the session is running; pause\(\) or stop\(\)"):
        session.run()
    with pytest.raises(ConfigurationError, match=r"step\(1\) while the session is running; pause\(\) it first"):
        session.step()
    session.pause()
    wait_for(lambda: session.state == "paused")
    with pytest.raises(ConfigurationError, match=r"start\(\) while the session is paused; resume\(\) or stop\(\)"):
        session.start()
    session.stop()
    with pytest.raises(ConfigurationError, match=r"resume\(\) while the session is stopped; start\(\) or run\(\)"):
        session.resume()
    session.run(iterations=1)
    with pytest.raises(ConfigurationError, match=r"pause\(\) while the session is finished; start\(\) or run\(\)"):
        session.pause()


def test_a_closed_session_trains_no_more_but_stays_readable(make: Make) -> None:
    """Closing twice does no harm."""
    session = make().run(iterations=2)
    session.close()
    session.close()
    for call in (session.run, session.start, session.step, lambda: session.adjust(learners=3)):
        with pytest.raises(ConfigurationError, match=r"\(\) on a closed session; make a new one"):
            call()
    assert session.state == "finished"
    assert len(session.history) == 1
    assert len(session.fingerprint()) == 64
    assert session.recipe.iterations == 2


def test_closing_stops_the_thread(make: Make, wait_for: Any) -> None:
    """The context manager closes, also when an error passes through, and no thread is left."""
    session = make().start()
    wait_for(lambda: session.snapshot.iteration > 1)
    with pytest.raises(ZeroDivisionError), session:
        _ = 1 / 0
    assert session.state == "stopped"
    assert not [thread for thread in threading.enumerate() if thread.name == "crossbow-training"]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "nothing says when to end; give epochs=, iterations= or seconds="),
        ({"until": 0.9}, "nothing says when to end"),
        ({"epochs": 0}, "epochs, counted from now, is 0; it must be a finite number > 0"),
        ({"epochs": float("nan")}, "epochs, counted from now, is nan"),
        ({"epochs": "1"}, "epochs, counted from now, is '1'"),
        ({"iterations": 1.5}, "iterations, counted from now, is 1.5; it must be a whole number >= 1"),
        ({"iterations": True}, "iterations, counted from now, is True"),
        ({"iterations": 0}, "iterations, counted from now, is 0"),
        ({"seconds": -1}, "seconds, counted from now, is -1"),
        ({"seconds": float("inf")}, "seconds, counted from now, is inf"),
        ({"epochs": 1, "until": 99}, r"target accuracy 99 is outside 0 < target <= 1; write 99 % as cb.Accuracy"),
        ({"epochs": 1, "until": True}, "target accuracy is True"),
        ({"epochs": 1, "until": "high"}, "target accuracy is 'high'"),
    ],
)
def test_limits_are_checked_before_anything_trains(make: Make, limits: dict[str, Any], message: str) -> None:
    """The session is as ready as before."""
    session = make()
    with pytest.raises(ConfigurationError, match=message):
        session.run(**limits)
    assert session.state == "ready"
    if limits.keys() - {"until"}:
        with pytest.raises(ConfigurationError, match=message):
            session.start(**limits)
    assert session.run(iterations=1).state == "finished"


@pytest.mark.parametrize("kind", ["regression", "no test data"])
def test_a_target_that_can_never_be_reached_is_refused(make: Make, kind: str) -> None:
    """Without test accuracies, it says why there are none."""
    inputs = torch.rand(30, 4)
    targets, loss = (torch.rand(30), "mse") if kind == "regression" else (torch.arange(30) % 3, "cross_entropy")
    data = ((inputs, targets), (inputs, targets)) if kind == "regression" else (inputs, targets)
    session = make("mlp", data, loss=loss)
    with pytest.raises(ConfigurationError, match=r"can't be reached: own data has (real targets|no test data)"):
        session.run(epochs=1, until=0.9)
    assert session.run(epochs=1).state == "finished"


def test_until_stops_at_the_evaluation_that_reaches_the_target(make: Make) -> None:
    """The median of the last evaluations is at the target for the first time, and it is an event."""
    session = make(learners=1, learning_rate=0.1, evaluate_every=0.2).run(epochs=20, until=Accuracy(0.8, window=3))
    assert session.state == "finished"
    accuracies = session.history.test_accuracy
    medians = accuracies.rolling(3).median()
    assert medians.iloc[-1] >= 0.8
    assert not (medians.iloc[:-1] >= 0.8).any()
    assert session.events.kind.iloc[-1] == "target"
    found = session.time_to_accuracy(0.8, window=3)
    assert found is not None
    assert found.epochs == session.history.epoch.iloc[-1]
    assert found.seconds == session.history.elapsed_s.iloc[-1]
    assert found.samples == session.history.samples.iloc[-1]
    assert session.time_to_accuracy(1.0) is None
    before = session.snapshot.iteration
    assert session.run(epochs=1, until=Accuracy(0.8, window=3)).snapshot.iteration == before


def test_start_with_only_a_target_is_bounded_by_it(make: Make) -> None:
    """In the background a target suffices."""
    session = make(learners=1, learning_rate=0.1, evaluate_every=0.1)
    assert session.start(until=Accuracy(0.5, window=1)).wait(20) == "finished"
    assert session.history.test_accuracy.iloc[-1] >= 0.5


def test_progress_prints_at_most_every_two_seconds(make: Make, capsys: Any, monkeypatch: Any) -> None:
    """A line says how far it is; without it nothing is printed."""
    make().run(iterations=50)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("crossbow_lab.session.loop._PROGRESS_EVERY_S", 0.0)
    make().run(epochs=1, progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(re.match(r"SMA     epoch [01]\.\d\d/1  iteration \d+  ", line) for line in lines)


def test_progress_is_printed_where_nobody_looks(make: Make, capsys: Any, monkeypatch: Any) -> None:
    """Unless it is unwanted: under our runner a long cell says how far it is without being asked."""
    monkeypatch.setattr("crossbow_lab.session.loop._PROGRESS_EVERY_S", 0.0)
    monkeypatch.setenv("CROSSBOW_HEADLESS", "1")
    make().run(iterations=50, progress=False)
    assert capsys.readouterr().out == ""
    make().run(iterations=50)
    assert "iteration" in capsys.readouterr().out


def test_a_session_asked_from_inside_its_own_loss_does_not_hang(make: Make, blobs: Any) -> None:
    """Waiting for oneself would take for ever; it is an error instead."""
    asked: list[Session] = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        for session in asked:
            session.stop()
        return functional.cross_entropy(output, target)

    session = make(nn.Linear(5, 3), blobs, loss=loss)
    asked.append(session)
    with pytest.raises(ConfigurationError, match="from inside its own model, loss or data"):
        session.run(iterations=3)
    assert session.state == "failed"


def test_a_script_may_end_while_a_session_trains(tmp_path: Path) -> None:
    """The interpreter stops it and leaves without a word."""
    script = tmp_path / "script.py"
    script.write_text(
        "import torch; torch.set_num_threads(1)\n"
        "import crossbow_lab as cb\n"
        "session = cb.Session('logreg', 'digits', executor='loop', threads=1)\n"
        "session.start()\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
