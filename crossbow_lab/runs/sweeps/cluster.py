"""The Dask cluster that a sweep runs on: one of its own on this machine, or one that is there already."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distributed import Client

from crossbow_lab.errors import RunError
from crossbow_lab.runs.environment import python_path
from crossbow_lab.runs.sweeps.dask_worker import Described, RunStarter, describe_worker
from crossbow_lab.runs.sweeps.places import Place, threads_that_count

CONNECT_S = 10
_START_ONE = "start one with `dask scheduler`, or leave --scheduler out to run on this machine"


@dataclass(frozen=True)
class Connected:
    """A cluster that is ready for sweeps.

    Attributes
    ----------
    client : Client
    address : str
        The scheduler's, as messages say it.
    threads : int or None
        Threads that count as part of the device of a run; None for all of a machine's, or where a GPU computes.
    places : dict of str to Place
        Where runs take place, by the worker's name; empty where the workers are somebody else's.
    is_shared : bool
        Whether GPUs may be shared with other runs.
    """

    client: Client
    address: str
    threads: int | None
    places: dict[str, Place]
    is_shared: bool


@contextlib.contextmanager
def embedded(places: Sequence[Place], *, is_shared: bool) -> Iterator[Connected]:
    """Run a cluster on this machine while the block lasts, with a worker per place.

    It listens on the loopback interface only, and ends with this process, however that ends.

    Raises
    ------
    RunError
        If it can't be started.
    """
    named = {f"{'gpu' if place.gpu_uuids else 'cpu'}{index}": place for index, place in enumerate(places)}
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(_started(list(named)))
        client = stack.enter_context(Client(address, timeout=CONNECT_S, set_as_default=False))
        client.wait_for_workers(len(places), timeout=CONNECT_S)
        yield Connected(client, address, threads_that_count(places), named, is_shared)


@contextlib.contextmanager
def _started(names: list[str]) -> Iterator[str]:
    """Start the process that holds this machine's cluster, and yield the scheduler's address."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            [sys.executable, "-P", "-m", "crossbow_lab.runs.sweeps.local_cluster", *names],
            env=os.environ | {"PYTHONPATH": python_path()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            text=True,
        )
        assert process.stdin is not None  # noqa: S101 (both are pipes)
        assert process.stdout is not None  # noqa: S101
        try:
            address = process.stdout.readline().strip()
            if not address:
                log.seek(0)
                raise RunError(f"the cluster on this machine couldn't be started: {log.read().strip()[-2000:]}")
            yield address
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=CONNECT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


@contextlib.contextmanager
def remote(address: str, paths: tuple[Path, ...], *, is_shared: bool) -> Iterator[Connected]:
    """Use a cluster that somebody else has started, while the block lasts.

    Parameters
    ----------
    address : str
        Its scheduler's, such as ``tcp://10.0.0.1:8786``.
    paths : tuple of Path
        What its workers must see under the same names: the notebook and the store.
    is_shared : bool
        Whether GPUs may be shared with other runs.

    Raises
    ------
    RunError
        If the scheduler can't be reached, has no workers, or they can't run the sweep.
    """
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(Client(address, timeout=CONNECT_S, set_as_default=False))
        except (OSError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RunError(f"no Dask scheduler answers at {address} ({reason}); {_START_ONE}") from error
        described = _describe(client, address, paths)
        yield Connected(client, address, described.threads, {}, is_shared)


def _describe(client: Client, address: str, paths: tuple[Path, ...]) -> Described:
    """Return what all workers of a cluster are, or say why they can't run a sweep."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_S)
    except TimeoutError as error:
        advice = f"start one with `dask worker {address} --nthreads 1`"
        raise RunError(f"the scheduler at {address} has no workers; {advice}") from error
    try:
        workers = client.run(describe_worker, tuple(map(str, paths)))
    except Exception as error:  # whatever a worker without crossbow_lab, or with another version of it, makes of it
        raise RunError(
            f"the workers at {address} can't run crossbow_lab ({type(error).__name__}: {error}); install the same "
            "versions of crossbow-lab, dask and Python on all machines"
        ) from error
    for worker, described in workers.items():
        if described.missing:
            raise RunError(
                f"worker {worker} doesn't see {' and '.join(described.missing)}; the notebook and the runs folder must "
                "lie on a file system that all machines share, under the same names"
            )
    kinds = sorted({described.kind for described in workers.values()})
    if len(kinds) > 1:
        raise RunError(
            f"the workers at {address} are of unlike kinds ({'; '.join(kinds)}), and times of unlike devices can't be "
            "compared; give the sweep workers of one kind"
        )
    return next(iter(workers.values()))  # type: ignore[no-any-return]


@contextlib.contextmanager
def joined(cluster: Connected, sweep: str) -> Iterator[None]:
    """Put a sweep's part on every worker, also on those that come later, while the block lasts."""
    cluster.client.register_plugin(RunStarter(sweep, cluster.places, is_shared=cluster.is_shared), name=sweep)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError, TimeoutError):  # where the cluster is gone, so is its part
            cluster.client.unregister_worker_plugin(sweep)
