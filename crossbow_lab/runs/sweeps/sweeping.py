"""A sweep: one notebook, run once for every point of a grid, on as many workers as there are."""

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossbow_lab.errors import RunError
from crossbow_lab.runs.environment import visible_gpus
from crossbow_lab.runs.identity import Request
from crossbow_lab.runs.records.manifest import Run, load_run
from crossbow_lab.runs.sweeps.jobs import COMPLETED, Ending, Job
from crossbow_lab.runs.sweeps.places import Place, divide, threads_that_count, usable_cores
from crossbow_lab.runs.sweeps.plan import Asked, Planned, ask, count_states, make_plan
from crossbow_lab.runs.sweeps.progress import Progress
from crossbow_lab.runs.sweeps.showing import shown_progress

if TYPE_CHECKING:
    import pandas as pd

    from crossbow_lab.runs.sweeps.cluster import Connected

_MISSING = "a sweep runs on Dask, which isn't installed: pip install 'crossbow-lab[cluster]'"


@dataclass(frozen=True)
class Sweep:
    """What came of a sweep.

    Attributes
    ----------
    plan : tuple of Planned
        What it set out to do.
    endings : tuple of Ending
        How each run of the plan that had to be done ended, in that order; empty where only a plan was asked for.
    is_interrupted : bool
        Whether Ctrl-C ended it.
    """

    plan: tuple[Planned, ...]
    endings: tuple[Ending, ...] = ()
    is_interrupted: bool = False

    @property
    def runs(self) -> list[Run]:
        """The completed runs, cached ones among them, in the order of the plan: what `cb.compare` takes."""
        return [load_run(folder) for folder in dict.fromkeys(self._answers().values())]

    @property
    def status(self) -> str:
        """``completed`` if every run of the plan has its record; else ``planned``, ``interrupted`` or ``failed``."""
        if self.is_interrupted:
            return "interrupted"
        if not self.endings and any(planned.is_to_do for planned in self.plan):
            return "planned"
        return "completed" if len(self._answers()) == len(self.plan) else "failed"

    @property
    def table(self) -> "pd.DataFrame":
        """One row per run of the plan: its point, state, why, status, seconds and folder."""
        import pandas as pd  # here, so that planning doesn't wait for it

        by_label = {ending.label: ending for ending in self.endings}
        rows = []
        for planned in self.plan:
            ending = by_label.get(planned.label)
            row = {**planned.point, "repeat": planned.repeat, "state": planned.state, "why": planned.why}
            row["status"] = ending.status if ending else ("completed" if planned.state == "cached" else planned.state)
            row["seconds"] = ending.seconds if ending else None
            row["message"] = ending.message if ending else ""
            folder = ending.folder if ending else planned.folder
            row["folder"] = None if folder is None else str(folder)
            rows.append(row)
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        """Say how many runs ended how."""
        counts = Counter(ending.status for ending in self.endings) or Counter(count_states(self.plan))
        return f"<Sweep of {len(self.plan)} runs, {self.status}: {', '.join(f'{n} {s}' for s, n in counts.items())}>"

    def _answers(self) -> dict[str, Path]:
        """Map the labels of the runs that have completed to their folders."""
        ended = {ending.label: ending for ending in self.endings}
        found = {}
        for planned in self.plan:
            ending = ended.get(planned.label)
            if planned.state == "cached" and planned.folder:
                found[planned.label] = planned.folder
            elif ending is not None and ending.status == COMPLETED and ending.folder:
                found[planned.label] = Path(ending.folder)
        return found


def sweep(
    notebook: str | Path,
    grid: Mapping[str, str | Iterable[Any]],
    parameters: Mapping[str, Any] | None = None,
    *,
    recipe: str | None = None,
    timeout_s: float | None = None,
    runs_dir: str | Path = "runs",
    workers: int | None = None,
    scheduler: str | None = None,
    shared: bool = False,
    force: bool = False,
    retry_failed: bool = False,
    repeats: int = 1,
    fail_fast: bool = False,
    plan_only: bool = False,
    progress: bool = True,
    on_plan: Callable[[tuple[Planned, ...]], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Sweep:
    """Run a notebook once for every point of a grid, and return when all have ended.

    What a record answers already isn't run again; so a sweep that was cut off, however that happened, is finished by
    asking for it once more. Runs are begun in an order that interleaves all settings, seed by seed. Each has a
    process of its own, with a GPU to itself or an equal share of the cores.

    Parameters
    ----------
    notebook : str or Path
        It isn't changed.
    grid : mapping of str to values
        Values by parameter: a list, a range, or a text as ``-g`` takes it: ``"1,2,4"``, ``"0:5"``.
    parameters : mapping of str to value, optional
        Values that all runs share.
    recipe : str, optional
        A recipe as JSON text that all runs share.
    timeout_s : float, optional
        Seconds after which a run is interrupted.
    runs_dir : str or Path
        The store.
    workers : int, optional
        How many runs at a time on this machine. One per GPU, or one where there is no GPU, if not given.
    scheduler : str, optional
        Address of a Dask scheduler, such as ``tcp://host:8786``, whose workers run in place of this machine.
    shared : bool
        Let runs share a GPU.
    force, retry_failed : bool
        Run again what has completed; what has failed.
    repeats : int
        How many completed runs each point is to have.
    fail_fast : bool
        Begin no more runs after the first that doesn't complete.
    plan_only : bool
        Return the plan, and run nothing.
    progress : bool
        Show a progress bar in a terminal, and elsewhere a line for each run that ends.
    on_plan : callable, optional
        Gets the plan before anything runs.
    on_progress : callable, optional
        Gets a `Progress` every second, and whenever something has changed.

    Returns
    -------
    Sweep
        Also when runs failed, or Ctrl-C ended it: see ``status``.

    Raises
    ------
    RunError
        Before anything runs, if the notebook, an axis, a parameter, the workers or the scheduler is refused; later
        only if the cluster goes away.

    Examples
    --------
    >>> from crossbow_lab.resources import resource
    >>> notebook = resource("notebooks", "01_sma_vs_sgd.ipynb")
    >>> planned = sweep(notebook, {"learners": [2, 4], "seed": "0:3"}, plan_only=True, runs_dir="no-such-folder")
    >>> planned
    <Sweep of 6 runs, planned: 6 run>
    """
    asked = ask(notebook, grid, parameters, recipe=recipe, timeout_s=timeout_s)
    store = Path(runs_dir).resolve()
    if scheduler is not None and workers is not None:
        raise RunError("workers are this machine's, and with a scheduler its own workers run; leave one of them out")
    with contextlib.ExitStack() as stack:
        if scheduler is None:
            places = divide(workers, gpu_uuids=visible_gpus(), cores=usable_cores(), is_shared=shared)
            requests = asked.requests(threads_that_count(places))
        else:
            cluster = stack.enter_context(_remote(scheduler, asked.notebook, store, shared))
            requests = _request_there(cluster, asked)
        plan = make_plan(asked, store, requests=requests, force=force, retry_failed=retry_failed, repeats=repeats)
        if on_plan is not None:
            on_plan(plan)
        to_do = [planned for planned in plan if planned.is_to_do]
        if plan_only or not to_do:
            return Sweep(plan)
        if scheduler is None:
            cluster = stack.enter_context(_embedded(places, store, shared))
        listeners = [on_progress] if on_progress else []
        if progress:
            listeners.append(stack.enter_context(shown_progress()))
        jobs = [_job(planned, asked, store, cluster.threads) for planned in to_do]
        endings, is_interrupted = _run_jobs(cluster, jobs, fail_fast, listeners)
    return Sweep(plan, endings, is_interrupted)


@contextlib.contextmanager
def _embedded(places: tuple[Place, ...], store: Path, is_shared: bool) -> Iterator["Connected"]:
    """Start this machine's own cluster for a store that can be written to."""
    _make_store(store)
    with _needing_dask():
        from crossbow_lab.runs.sweeps.cluster import embedded
    with embedded(places, is_shared=is_shared) as cluster:
        yield cluster


@contextlib.contextmanager
def _remote(scheduler: str, notebook: Path, store: Path, is_shared: bool) -> Iterator["Connected"]:
    """Connect to another cluster, whose workers must see the notebook and the store."""
    with _needing_dask():
        from crossbow_lab.runs.sweeps.cluster import remote
    _make_store(store)
    with remote(scheduler, (notebook, store), is_shared=is_shared) as cluster:
        yield cluster


@contextlib.contextmanager
def _needing_dask() -> Iterator[None]:
    """Say how to get Dask where it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in ("dask", "distributed"):
            raise
        raise RunError(_MISSING) from error


def _request_there(cluster: "Connected", asked: Asked) -> list[Request]:
    """Make the requests on a worker: the code, versions and device that count are those of where they will run."""
    made: list[Request] = cluster.client.submit(asked.requests, cluster.threads, pure=False).result()
    return made


def _run_jobs(
    cluster: "Connected", jobs: list[Job], fails_fast: bool, listeners: list[Callable[[Progress], None]]
) -> tuple[tuple[Ending, ...], bool]:
    """Run jobs, and tell all listeners how far they are."""
    from crossbow_lab.runs.sweeps.engine import run_jobs

    def tell(progress: Progress) -> None:
        for listener in listeners:
            listener(progress)

    return run_jobs(cluster, jobs, fails_fast=fails_fast, on_progress=tell)


def _job(planned: Planned, asked: Asked, store: Path, threads: int | None) -> Job:
    """Return what a worker needs to know of a run."""
    return Job(
        label=planned.label,
        notebook=str(asked.notebook),
        runs_dir=str(store),
        parameters=planned.request.parameters,
        recipe=asked.recipe,
        timeout_s=asked.timeout_s,
        is_forced=planned.is_forced,
        threads=threads,
        provenance={"engine": "dask", "repeat": planned.repeat},
    )


def _make_store(store: Path) -> None:
    """Create the folder for runs, or say why nothing can be written to it."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=store):
            pass
    except OSError as error:
        raise RunError(f"runs can't be written to {store}: {error}; choose another --runs-dir") from error
