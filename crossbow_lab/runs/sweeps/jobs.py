"""What crosses between a sweep and where its runs take place: the job, and how it ended. Plain JSON values only."""

from dataclasses import dataclass, field
from typing import Any

COMPLETED = "completed"
HELD, LOST, SKIPPED, REFUSED = "held", "lost", "skipped", "refused"
"""Ends of a job that leave no record: somebody else runs it; its process died; it was never begun; it can't be run."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep, as it is sent to where it takes place.

    Attributes
    ----------
    label : str
        What it is called in progress and messages.
    notebook, runs_dir : str
        Absolute paths, the same wherever the job goes.
    parameters : dict
        All of them, plain JSON values.
    recipe : str or None
        A recipe's JSON text.
    timeout_s : float or None
        Seconds after which it is interrupted.
    is_forced : bool
        Whether to run it although a record answers it.
    is_patient : bool
        Whether to wait when somebody else runs the same at this moment.
    threads : int or None
        Threads that count as part of the device; see `crossbow_lab.runs.sweeps.plan.with_threads`.
    cores : tuple of int
        Cores that the run is confined to; empty for all.
    gpu_uuids : tuple of str
        GPUs to have to itself while it runs.
    provenance : dict
        Who runs it and as part of what; goes into the record.
    """

    label: str
    notebook: str
    runs_dir: str
    parameters: dict[str, Any]
    recipe: str | None = None
    timeout_s: float | None = None
    is_forced: bool = False
    is_patient: bool = False
    threads: int | None = None
    cores: tuple[int, ...] = ()
    gpu_uuids: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ending:
    """How one run of a sweep ended.

    Attributes
    ----------
    label : str
        As in its plan.
    status : str
        As in `crossbow_lab.runs.Run`; or ``held`` (another sweep runs it at this moment), ``lost`` (its process was
        killed more often than is put up with), ``skipped`` (the sweep ended before its turn) or ``refused``.
    seconds : float
        From beginning to end, waiting for a GPU not counted; 0 where nothing was run.
    folder : str or None
        The record.
    is_cached : bool
        Whether a record that was there already is the answer.
    message : str
        What went wrong.
    """

    label: str
    status: str
    seconds: float = 0.0
    folder: str | None = None
    is_cached: bool = False
    message: str = ""
