"""Where runs take place: cores and GPUs divided, GPUs held one run at a time."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from crossbow_lab.errors import RunError
from crossbow_lab.runs.sweeps.places import (
    Place,
    divide,
    gpu_to_oneself,
    threads_that_count,
    usable_cores,
)

GPUS = ("GPU-aa", "GPU-bb")


def test_it_divides_the_cores_evenly_and_without_overlap() -> None:
    """Each worker has its own; what doesn't divide stays free."""
    places = divide(3, gpu_uuids=(), cores=[0, 8, 1, 9, 2, 10, 3])
    assert [place.cores for place in places] == [(0, 8), (1, 9), (2, 10)]
    assert {place.threads for place in places} == {2}
    assert places[0].environment["OMP_NUM_THREADS"] == "2"
    assert "CUDA_VISIBLE_DEVICES" not in places[0].environment
    assert threads_that_count(places) == 2


def test_it_gives_one_worker_the_whole_machine() -> None:
    """Unconfined, so that its runs are those of ``crossbow-lab run``."""
    assert divide(None, gpu_uuids=(), cores=range(4)) == (Place(),)
    assert threads_that_count([Place()]) is None
    assert Place().environment == {}


def test_it_gives_each_worker_a_gpu_of_its_own() -> None:
    """By UUID, as many workers as GPUs unless fewer are asked for; the number of workers doesn't count as a device."""
    places = divide(None, gpu_uuids=GPUS, cores=range(8))
    assert [place.gpu_uuids for place in places] == [("GPU-aa",), ("GPU-bb",)]
    assert places[1].environment["OMP_NUM_THREADS"] == "4"
    assert places[1].environment["CUDA_VISIBLE_DEVICES"] == "GPU-bb"
    assert threads_that_count(places) is None
    assert [place.gpu_uuids for place in divide(1, gpu_uuids=GPUS, cores=range(8))] == [("GPU-aa",)]
    shared = divide(3, gpu_uuids=GPUS, cores=range(8), is_shared=True)
    assert [place.gpu_uuids for place in shared] == [("GPU-aa",), ("GPU-bb",), ("GPU-aa",)]


@pytest.mark.parametrize(
    ("n_workers", "gpus", "message"),
    [(0, (), "0 workers on 4 cores"), (5, (), "5 workers on 4 cores"), (3, GPUS, "3 workers on 2 GPUs: .*--shared")],
)
def test_it_refuses_workers_that_would_get_in_each_others_way(
    n_workers: int, gpus: tuple[str, ...], message: str
) -> None:
    """More than there are cores, or GPUs."""
    with pytest.raises(RunError, match=message):
        divide(n_workers, gpu_uuids=gpus, cores=range(4))


def test_it_finds_the_cores_that_it_may_use() -> None:
    """Each once."""
    cores = usable_cores()
    assert len(set(cores)) == len(cores) >= 1


@pytest.mark.skipif(sys.platform == "win32", reason="GPUs aren't locked there")
def test_it_holds_a_gpu_until_the_block_ends_and_frees_it_with_a_killed_process(tmp_path: Path) -> None:
    """A second run waits and says so; a holder that is killed leaves nothing to clean up."""
    code = (
        "import sys, time; from pathlib import Path; from crossbow_lab.runs.sweeps.places import gpu_to_oneself\n"
        "with gpu_to_oneself('GPU-aa', print, folder=Path(sys.argv[1])): print('got it', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    said: list[str] = []
    got = threading.Event()

    def wait_for_it() -> None:
        with gpu_to_oneself("GPU-aa", said.append, folder=tmp_path):
            got.set()

    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "got it\n"
        with gpu_to_oneself("GPU-bb", said.append, folder=tmp_path):
            assert said == []
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        assert not got.wait(0.3)
        assert said == ["waiting for GPU-aa: another run has it"]
        holder.kill()
        assert got.wait(5)
        waiting.join()
