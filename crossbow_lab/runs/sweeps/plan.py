"""What a sweep would do, before it does anything: each point of the grid as run, cached, stale or failed, and why."""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crossbow_lab.content import sha256_of
from crossbow_lab.errors import RunError
from crossbow_lab.runs.identity import Request, differing_parts, request_for
from crossbow_lab.runs.parameters import read_parameters
from crossbow_lab.runs.records.manifest import load_run
from crossbow_lab.runs.records.store import RunSummary, list_runs, missing_outputs
from crossbow_lab.runs.sweeps.grid import expand

SEED = "seed"
_TO_DO = ("run", "stale")


@dataclass(frozen=True)
class Planned:
    """One run of a sweep, as it is planned.

    Attributes
    ----------
    request : Request
        What is asked.
    point : dict
        Its values on the grid's axes.
    state : str
        ``run`` (no record answers it), ``stale`` (a record did, until something changed), ``cached`` (a record
        answers it) or ``failed`` (it failed before and would fail again).
    why : str
        What makes it so, in words.
    folder : Path or None
        The record that is spoken of.
    repeat : int
        0 for the first run of a request, counting up.
    is_forced : bool
        Whether to run it although a record answers it.
    """

    request: Request
    point: dict[str, Any]
    state: str
    why: str
    folder: Path | None = None
    repeat: int = 0
    is_forced: bool = False

    @property
    def is_to_do(self) -> bool:
        """Whether the sweep has to run it."""
        return self.state in _TO_DO

    @property
    def label(self) -> str:
        """The point as ``learners=2 seed=0``, with the number of the repeat where it isn't the first."""
        words = [
            f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in self.point.items()
        ]
        return " ".join([*words, f"repeat={self.repeat}"] if self.repeat else words)


@dataclass(frozen=True)
class Asked:
    """What a sweep is asked to do, checked.

    Attributes
    ----------
    notebook : Path
        Absolute.
    points : tuple of dict
        The grid's points.
    parameters : dict
        Values that all points share.
    recipe : str or None
        A recipe's JSON text that all points share.
    timeout_s : float or None
        Seconds after which a run is interrupted.
    """

    notebook: Path
    points: tuple[dict[str, Any], ...]
    parameters: dict[str, Any]
    recipe: str | None = None
    timeout_s: float | None = None

    def requests(self, threads: int | None = None) -> list[Request]:
        """Return one request per point, with code, data and device as they are where this is called.

        Parameters
        ----------
        threads : int, optional
            How many threads a run may compute with, if not all: see `with_threads`.
        """
        return [
            with_threads(
                request_for(self.notebook, {**self.parameters, **point}, recipe=self.recipe, timeout_s=self.timeout_s),
                threads,
            )
            for point in self.points
        ]


def ask(
    notebook: str | Path,
    grid: Mapping[str, str | Iterable[Any]],
    parameters: Mapping[str, Any] | None = None,
    *,
    recipe: str | None = None,
    timeout_s: float | None = None,
) -> Asked:
    """Check what is asked of a sweep.

    Raises
    ------
    RunError
        If the notebook, an axis or a parameter is refused.
    """
    path = Path(notebook).resolve()
    fixed = dict(parameters or {})
    points = expand(read_parameters(path), grid, fixed)
    request_for(path, {**fixed, **points[0]}, recipe=recipe, timeout_s=timeout_s)  # refuses what is wrong with all
    return Asked(path, points, fixed, recipe, timeout_s)


def with_threads(request: Request, threads: int | None) -> Request:
    """Make the number of threads part of a request's device, where it isn't the whole machine.

    Two workers with a thread each give other times than one worker with both, and often other bits; so a record of
    the one doesn't answer the other.
    """
    if threads is None or threads == os.cpu_count():
        return request
    device = sha256_of({"device": request.parts["device"], "threads": threads})
    return replace(request, parts={**request.parts, "device": device})


def make_plan(
    asked: Asked,
    runs_dir: str | Path = "runs",
    *,
    requests: Sequence[Request] | None = None,
    force: bool = False,
    retry_failed: bool = False,
    repeats: int = 1,
) -> tuple[Planned, ...]:
    """Hold every point of a sweep against the records, and put what is to do in order.

    Runs are interleaved, so that a machine that gets warmer or busier does so under all settings alike: all settings
    with the first seed, in an order that has nothing to do with their values, then all with the next one. The order
    is the same whenever it is asked for.

    Parameters
    ----------
    asked : Asked
        As `ask` returned it.
    runs_dir : str or Path
        The store.
    requests : sequence of Request, optional
        One per point, where they had to be made on another machine.
    force : bool
        Run everything, whatever the records say.
    retry_failed : bool
        Run again what failed before.
    repeats : int
        How many completed records each point is to have.

    Returns
    -------
    tuple of Planned
        `repeats` for each point.

    Raises
    ------
    RunError
        If `repeats` isn't at least 1.
    """
    if repeats < 1:
        raise RunError(f"repeats must be at least 1, got {repeats}")
    records = list_runs(runs_dir)
    by_key: dict[str | None, list[RunSummary]] = defaultdict(list)
    for record in records:
        by_key[record.key].append(record)
    found = [
        planned
        for request, point in zip(requests or asked.requests(), asked.points, strict=True)
        for planned in _plan_point(
            request,
            point,
            by_key.get(request.key, []),
            records,
            force=force,
            retry_failed=retry_failed,
            repeats=repeats,
        )
    ]
    return tuple(sorted(found, key=_place_in_order))


def count_states(plan: Iterable[Planned]) -> dict[str, int]:
    """Count a plan's runs by their state, in the order run, stale, cached, failed; without zeros."""
    states = [planned.state for planned in plan]
    return {state: states.count(state) for state in (*_TO_DO, "cached", "failed") if state in states}


def _plan_point(
    request: Request,
    point: dict[str, Any],
    same: Sequence[RunSummary],
    records: Sequence[RunSummary],
    *,
    force: bool,
    retry_failed: bool,
    repeats: int,
) -> list[Planned]:
    """Plan the runs of one request: those that the records of the same request answer, then those to do."""
    first = Planned(request, point, "run", "")
    whole = [record for record in same if record.status == "completed" and _is_whole(record)]
    answered = [] if force else whole[-repeats:]
    plan = [
        replace(first, state="cached", why="a record answers it", folder=record.folder, repeat=repeat)
        for repeat, record in enumerate(answered)
    ]
    to_do = _as_to_do(first, same, records, force, retry_failed)
    return plan + [replace(to_do, repeat=repeat, is_forced=force or repeat > 0) for repeat in range(len(plan), repeats)]


def _as_to_do(
    first: Planned, same: Sequence[RunSummary], records: Sequence[RunSummary], force: bool, retry_failed: bool
) -> Planned:
    """Say of a run that no record answers why that is so."""
    request = first.request
    if force:
        return replace(first, why="forced")
    completed = [record for record in same if record.status == "completed"]
    if completed:
        return replace(first, why="one more repeat" if any(map(_is_whole, completed)) else "its record is damaged")
    if same and same[-1].status in ("failed", "timeout") and not retry_failed:
        return replace(first, state="failed", why=same[-1].problem or same[-1].status, folder=same[-1].folder)
    if same:
        return replace(first, why=f"the last one ended as {same[-1].status}", folder=same[-1].folder)
    older = _latest_like(first, records)
    if older is None:
        return replace(first, why="no record of it")
    return replace(first, state="stale", why=f"changed since: {_changes(request, older)}", folder=older.folder)


def _latest_like(planned: Planned, records: Sequence[RunSummary]) -> RunSummary | None:
    """Return the newest completed run of the notebook at the same point, of the same parameters if there is one."""
    request = planned.request
    like = [
        record
        for record in reversed(records)
        if record.notebook == str(request.notebook)
        and record.status == "completed"
        and record.parts
        and planned.point.items() <= record.parameters.items()
    ]
    return next((record for record in like if record.parameters == request.parameters), next(iter(like), None))


def _changes(request: Request, older: RunSummary) -> str:
    """Say which parts of a request have changed since a run, and which of its parameters."""
    names = (name for name, value in request.parameters.items() if older.parameters.get(name) != value)
    parameters = ", ".join(names)
    parts = differing_parts(request.parts, older.parts)
    return ", ".join(f"{part} ({parameters})" if part == "parameters" and parameters else part for part in parts)


def _is_whole(record: RunSummary) -> bool:
    """Whether a record's files are all there."""
    try:
        return not missing_outputs(load_run(record.folder))
    except RunError:
        return False


def _place_in_order(planned: Planned) -> tuple[int, int, str, str]:
    """Return what a plan is sorted by: its block, then a number that its settings decide, but not by their size."""
    seed = planned.point.get(SEED)
    point = json.dumps([planned.repeat, planned.point], sort_keys=True)
    number = hashlib.sha256(point.encode("utf-8")).hexdigest()
    return planned.repeat, seed if type(seed) is int else 0, json.dumps(seed), number
