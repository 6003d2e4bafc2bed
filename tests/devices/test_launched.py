"""``torchrun … -m crossbow_lab train``: a record by rank 0, the bits of a session, and on from the last checkpoint."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import HashStore

from crossbow_lab.devices.meeting import Hello, hello_of, meet
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session import Recipe, Session
from crossbow_lab.session.group import launched

RECIPE: dict[str, Any] = {
    "learners": 2,
    "batch_size": 8,
    "executor": "loop",
    "threads": 1,
    "evaluate_every": 0.25,
    "dtype": "float64",
}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def launch(recipe: Path, folder: Path, *options: str) -> "subprocess.Popen[str]":
    """Start two processes that train a recipe."""
    command = [*TORCHRUN, *options, "-m", "crossbow_lab", "train", str(recipe), "--folder", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def written(tmp_path: Path, iterations: int, **settings: Any) -> Path:
    """Write a recipe that ends somewhere."""
    path = tmp_path / "recipe.json"
    recipe = Recipe("logreg", "digits", iterations=iterations, **{**RECIPE, **settings})
    path.write_text(recipe.to_json())
    return path


def fingerprint_in(printed: str) -> str:
    """Return the fingerprint that a run has printed."""
    return next(line.split()[1] for line in printed.splitlines() if line.startswith("fingerprint"))


def test_two_processes_train_to_the_bits_of_a_session(tmp_path: Path) -> None:
    """And rank 0 alone writes the record, which says on what."""
    process = launch(written(tmp_path, 60), tmp_path / "record")
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert printed.count("fingerprint") == 1
    recipe = Recipe.from_json((tmp_path / "record" / "recipe.json").read_text())
    assert (recipe.devices, recipe.iterations) == (("cpu", "cpu"), 60)
    with Session(recipe) as session:
        assert session.run().fingerprint() == fingerprint_in(printed)


def children_of(pid: int) -> list[int]:
    """Return a process's children, oldest first."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(each) for each in found.stdout.split()]


def epochs_in(record: Path) -> float:
    """Return how far the history in a folder has come."""
    path = record / "history.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return float(json.loads(lines[-1])["epoch"]) if lines else 0.0


@pytest.mark.slow
def test_after_a_lost_worker_all_go_on_from_the_last_checkpoint(
    tmp_path: Path, wait_until: Callable[..., float]
) -> None:
    """To the bits of a run that lost none; the interrupted record is set aside."""
    record = tmp_path / "record"
    process = launch(written(tmp_path, 900), record, "--max-restarts=1")
    wait_until(lambda: (record / "last.safetensors").exists() and epochs_in(record) > 1, 60)
    os.kill(children_of(process.pid)[-1], signal.SIGKILL)
    printed, _ = process.communicate(timeout=180)
    assert process.returncode == 0, printed
    assert (record / "interrupted-1" / "history.jsonl").exists()
    events = [json.loads(line) for line in (record / "events.jsonl").read_text().splitlines()]
    assert [event["kind"] for event in events].count("restored") == 1
    with Session(Recipe.from_json((record / "recipe.json").read_text())) as session:
        assert session.run().fingerprint() == fingerprint_in(printed)


def launched_as(monkeypatch: pytest.MonkeyPatch, **variables: object) -> None:
    """Let this process look as if torchrun had started it."""
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))


def test_a_process_knows_that_it_was_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside others; alone it is an ordinary one."""
    assert not launched.is_launched()
    launched_as(monkeypatch, RANK=0, WORLD_SIZE=1)
    assert not launched.is_launched()
    launched_as(monkeypatch, WORLD_SIZE=2)
    assert launched.is_launched()


def test_a_recipe_of_another_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than trained with other learners than it says."""
    launched_as(monkeypatch, RANK=0, WORLD_SIZE=3, LOCAL_RANK=0)
    recipe = Recipe("logreg", "digits", devices=("cpu", "cpu"))
    with pytest.raises(ConfigurationError, match="the recipe is for 2 devices, but 3 processes were started"):
        launched._own_device(recipe)
    with pytest.raises(ConfigurationError, match=r"was trained on cpu, cpu, but here are cpu, cpu, cpu; start as many"):
        launched._check_fits(recipe, ("cpu",) * 3, "last.safetensors")
    with pytest.raises(Exception, match=r"local rank 0 has no GPU: torch finds 0 here"):
        launched._own_device(Recipe("logreg", "digits", device="cuda:0"))


def test_a_port_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        launched_as(monkeypatch, RANK=0, WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        with pytest.raises(ConfigurationError, match=rf"no meeting at 127.0.0.1:{port} .*give another: torchrun"):
            launched._join("cpu")


def test_members_that_are_gone_are_not_met() -> None:
    """What an earlier attempt left in the store is overwritten, and answers to nothing."""
    store, found = HashStore(), {}
    own = hello_of("cpu")
    store.set("hello/1", json.dumps({"number": "gone", **vars(own)}))
    store.set("roll", json.dumps([{"number": "gone, too", **vars(own)}, {"number": "gone", **vars(own)}]))

    def attend(rank: int) -> None:
        found[rank] = meet(store, rank, 2, own)

    members = [threading.Thread(target=attend, args=(rank,)) for rank in (0, 1)]
    for member in members:
        member.start()
        time.sleep(0.1)
    for member in members:
        member.join(10)
    found[0][1].set("here", "yes")
    assert found[1][1].get("here") == b"yes"
    assert found[0][0] == found[1][0] == ("cpu", "cpu")


def test_other_code_on_another_node_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 and the odd one both say so before anything trains."""
    store, own = HashStore(), hello_of("cpu")
    other = Hello(own.device, own.kind, "0" * 64, own.torch)
    store.set("hello/1", json.dumps({"number": "1", **vars(other)}))
    with pytest.raises(ConfigurationError, match="rank 1 has another version of crossbow_lab: 000"):
        meet(store, 0, 2, own)
