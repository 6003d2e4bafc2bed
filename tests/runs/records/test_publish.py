"""How a record gets to disk: whatever fails or is killed when, a run that can be read is the one that was written."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossbow_lab.errors import RunError
from crossbow_lab.runs import Run, gc, list_runs, load_run
from crossbow_lab.runs.records import publish
from crossbow_lab.runs.records.collect import finish
from crossbow_lab.runs.records.verifying import verify

HAPPENED: dict[str, Any] = {
    "status": "completed",
    "exception": None,
    "timing_s": {},
    "load": {"is_contended": None},
}
STEPS = ("write", "sync", "rename")


def _count_steps(building: Path, at_step: Callable[[int, str, Path], None]) -> None:
    """Have `at_step` called before each write, sync and rename of publishing, with its number from 0."""
    done: list[str] = []
    for name in STEPS:
        plain = getattr(publish, name)

        def step(path: Path, *rest: Any, name: str = name, plain: Callable[..., None] = plain) -> None:
            done.append(name)
            at_step(len(done) - 1, name, path)
            plain(path, *rest)

        setattr(publish, name, step)


@pytest.fixture(autouse=True)
def _restored() -> Any:
    """Put the steps back that a test replaced."""
    before = {name: getattr(publish, name) for name in STEPS}
    yield
    for name, plain in before.items():
        setattr(publish, name, plain)


def _fill(building: Path) -> Path:
    """Give a run a session, so that publishing has folders within folders."""
    session = building / "sessions" / "SMA"
    session.mkdir()
    (session / "recipe.json").write_text(json.dumps({"seed": 4, "dataset": "digits", "data_sha256": "0" * 64}))
    (building / "result.json").write_text(json.dumps({"fingerprints": {"SMA": "1" * 64}}))
    return building


def _steps(build_run: Callable[..., Path]) -> list[tuple[str, Path]]:
    """Return the steps of publishing one run, in order."""
    steps: list[tuple[str, Path]] = []
    building = _fill(build_run("counted"))
    _count_steps(building, lambda _, name, path: steps.append((name, path.relative_to(building.parents[1]))))
    finish(building, HAPPENED)
    return steps


def test_it_brings_everything_to_disk_before_the_rename(build_run: Callable[..., Path]) -> None:
    """Every file and folder is synchronised, then the folder gets its name, then that is brought to disk too."""
    steps = _steps(build_run)
    renames = [index for index, (name, _) in enumerate(steps) if name == "rename"]
    building = Path(".tmp/counted")
    assert [steps[index][1] for index in renames] == [building / "manifest.json.draft", building]
    synced = {path for name, path in steps[: renames[1]] if name in ("sync", "write")}
    published = steps[0][1].parents[0]
    assert published == building
    files = {"asked.json", "log.txt", "notebook.ipynb", "result.json", "sessions/SMA/recipe.json", "SHA256SUMS"}
    assert synced >= {building / name for name in files} | {building / "manifest.json.draft", building / "sessions"}
    assert steps[renames[1] + 1 :] == [("sync", Path())]


def test_it_leaves_a_whole_run_or_none_wherever_a_step_fails(build_run: Callable[..., Path], tmp_path: Path) -> None:
    """Each write, sync and rename fails once, as on a full disk; afterwards gc makes the run of what is there."""
    n_steps = len(_steps(build_run))
    plain = {name: getattr(publish, name) for name in STEPS}
    for fails_at in range(n_steps):
        for name, function in plain.items():
            setattr(publish, name, function)
        building = _fill(build_run(f"run-{fails_at}", holder={"host": "h", "pid": 1, "started": "", "nonce": "n"}))

        def fail(number: int, name: str, path: Path, fails_at: int = fails_at) -> None:
            if number == fails_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        _count_steps(building, fail)
        with pytest.raises(RunError, match=r"No space left.*Nothing is lost.*`crossbow-lab gc`"):
            finish(building, HAPPENED)
        published = tmp_path / "runs" / building.name
        assert published.exists() == (fails_at == n_steps - 1)
        if published.exists():
            assert verify(load_run(published)) == ()


def test_it_leaves_a_whole_run_or_none_wherever_it_is_killed(build_run: Callable[..., Path], tmp_path: Path) -> None:
    """Kill -9 at every step, half of a write done; gc then publishes what was not, and all of it is as written."""
    n_steps = len(_steps(build_run))
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from crossbow_lab.runs.records import publish\n"
        "from crossbow_lab.runs.records.collect import finish\n"
        "def dying(plain, name):\n"
        "    def step(path, *rest):\n"
        "        global left\n"
        "        left -= 1\n"
        "        if left < 0:\n"
        "            if name == 'write':\n"
        "                path.write_text(rest[0][: len(rest[0]) // 2])\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        plain(path, *rest)\n"
        "    return step\n"
        "for name in ('write', 'sync', 'rename'):\n"
        "    setattr(publish, name, dying(getattr(publish, name), name))\n"
        f"happened = {HAPPENED!r}\n"
        "for left, folder in enumerate(sys.argv[1:]):\n"
        "    if os.fork() == 0:\n"
        "        finish(Path(folder), happened)\n"
        "        os._exit(0)\n"
        "    assert os.wait()[1] == signal.SIGKILL\n"
    )
    gone = {"host": os.uname().nodename, "pid": 2**22 - 1, "started": "1", "nonce": "n"}
    buildings = [_fill(build_run(f"run-{index}", holder=gone)) for index in range(n_steps)]
    subprocess.run([sys.executable, "-c", code, *map(str, buildings)], check=True)
    store = tmp_path / "runs"
    whole = [run.name for run in list_runs(store) if run.name != "counted"]
    assert whole == [f"run-{n_steps - 1}"]
    assert verify(load_run(store / whole[0])) == ()
    done = gc(store)
    assert len(done.recovered) == n_steps - 1
    assert done.kept == ()
    for run in done.recovered:
        assert verify(run) == ()
        assert run.manifest["seeds"] == [4]
    assert {run.status for run in done.recovered} == {"interrupted", "completed"}


def test_it_never_replaces_a_run(make_run: Callable[..., Run]) -> None:
    """A second run of the same name is refused, and the first stays as it is."""
    run = make_run("taken")
    with pytest.raises(RunError, match="the record can't be written"):
        make_run("taken")
    assert verify(run) == ()
