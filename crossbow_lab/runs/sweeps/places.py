"""Where the runs of a sweep take place: which cores and which GPU each worker has, and whose a GPU is just now."""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossbow_lab.errors import RunError

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Place:
    """Where one run at a time takes place.

    Attributes
    ----------
    threads : int or None
        How many threads a run may compute with; None for as many as it would use by itself.
    cores : tuple of int
        The cores it is confined to; empty leaves it all of its worker's.
    gpu_uuids : tuple of str
        Its GPUs, by the names that survive that GPUs are numbered anew.
    """

    threads: int | None = None
    cores: tuple[int, ...] = ()
    gpu_uuids: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that confine a run to this place."""
        variables = {} if self.threads is None else dict.fromkeys(_THREAD_VARIABLES, str(self.threads))
        if self.gpu_uuids:
            variables |= {"CUDA_VISIBLE_DEVICES": ",".join(self.gpu_uuids), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        return variables


def divide(
    n_workers: int | None, *, gpu_uuids: Sequence[str], cores: Sequence[int], is_shared: bool = False
) -> tuple[Place, ...]:
    """Divide a machine among workers: a GPU each where there are GPUs, and an equal share of the cores.

    Parameters
    ----------
    n_workers : int or None
        None means one per GPU, or one with all cores where there is no GPU.
    gpu_uuids : sequence of str
        The GPUs to use.
    cores : sequence of int
        The cores to divide; neighbours in it go to the same worker.
    is_shared : bool
        Whether several workers may have the same GPU.

    Raises
    ------
    RunError
        If there aren't that many GPUs or cores.

    Examples
    --------
    >>> divide(2, gpu_uuids=(), cores=range(5))
    (Place(threads=2, cores=(0, 1), gpu_uuids=()), Place(threads=2, cores=(2, 3), gpu_uuids=()))
    """
    n_gpus = len(gpu_uuids)
    n = n_workers if n_workers is not None else max(1, n_gpus)
    if not 1 <= n <= len(cores):
        raise RunError(f"{n} workers on {len(cores)} cores: ask for at least one worker, and at most one per core")
    if n_gpus and n > n_gpus and not is_shared:
        raise RunError(
            f"{n} workers on {n_gpus} GPUs: a timed run needs a GPU to itself. Ask for {n_gpus}, or let runs share "
            "GPUs (--shared), or hide the GPUs (CUDA_VISIBLE_DEVICES=) to run on the cores"
        )
    share = len(cores) // n
    return tuple(
        Place(
            share if n > 1 else None,
            tuple(cores[index * share : (index + 1) * share]) if n > 1 else (),
            (gpu_uuids[index % n_gpus],) if n_gpus else (),
        )
        for index in range(n)
    )


def threads_that_count(places: Sequence[Place]) -> int | None:
    """Return the threads of each place where they decide how fast a run is: on cores that are divided, without GPUs."""
    confined = {None if place.gpu_uuids else place.threads for place in places}
    return confined.pop() if len(confined) == 1 else None


def usable_cores() -> list[int]:
    """Return the cores that this process may use, those that share a physical core side by side."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    return sorted(os.sched_getaffinity(0), key=lambda core: (_first_sibling(core), core))


def confine_to(cores: Sequence[int]) -> None:
    """Keep this process, and what it starts from now on, to some cores, where the system can do that."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


@contextlib.contextmanager
def gpu_to_oneself(uuid: str, say: Callable[[str], None], *, folder: Path | None = None) -> Iterator[None]:
    """Hold a GPU of this machine until the block ends, waiting for another sweep's run on it to end first.

    Parameters
    ----------
    uuid : str
        Of the GPU.
    say : callable
        Told once when there is something to wait for.
    folder : Path, optional
        Where the locks lie; the system's folder for temporary files if not given. A lock is the operating system's
        own: it goes with the process that holds it, however that ends.
    """
    import fcntl  # not on Windows, where GPUs aren't locked for lack of it

    name = re.sub(r"[^A-Za-z0-9-]", "-", uuid)
    path = (folder or Path(tempfile.gettempdir())) / f"crossbow-lab-{name}.lock"
    descriptor = _open_for_all(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for {uuid}: another run has it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open_for_all(path: Path) -> int:
    """Open a lock file that other users' processes can open too; it is never written to."""
    with contextlib.suppress(FileNotFoundError):
        # Without O_CREAT first: Linux forbids that for another user's file in a sticky folder.
        return os.open(path, os.O_RDONLY)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644))
    return os.open(path, os.O_RDONLY)


def _first_sibling(core: int) -> int:
    """Return the lowest number among the threads of a core's physical core; its own where the system doesn't say."""
    try:
        listed = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text(encoding="ascii")
        return int(re.split("[,-]", listed.strip())[0])
    except (OSError, ValueError):
        return core
