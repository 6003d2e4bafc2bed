"""Which runs are meant: records, folders, folders full of them, and patterns."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from crossbow_lab.errors import RunError
from crossbow_lab.runs.comparing.trials import Trial, read_trials, run_id
from crossbow_lab.runs.records.manifest import MANIFEST, Run, load_run

Runs = Run | str | Path | Iterable[Run | str | Path]
"""A run, its folder, a folder of runs, a pattern such as ``runs/sma-*``, or several of these."""


def gather(runs: Runs) -> tuple[tuple[Run, ...], tuple[Trial, ...], tuple[str, ...]]:
    """Read every run that is meant, each attempt once.

    Parameters
    ----------
    runs : Run, str, Path, or iterable of these
        See `Runs`.

    Returns
    -------
    tuple of Run, tuple of Trial, tuple of str
        The runs, the trainings in them, and what was found on the way: attempts given more than once, and damaged
        records in a folder that was given as a whole.

    Raises
    ------
    RunError
        If there is no run, one that was named can't be read, or two different ones claim to be the same attempt.
    """
    given = [runs] if isinstance(runs, (Run, str, Path)) else list(runs)
    notes: list[str] = []
    found: dict[str, Run] = {}
    trials: list[Trial] = []
    for item in given:
        candidates = [(item, True)] if isinstance(item, Run) else _candidates(item)
        for candidate, is_named in candidates:
            try:
                run = candidate if isinstance(candidate, Run) else load_run(candidate)
                of_run = () if run_id(run) in found else read_trials(run)
            except RunError as error:
                if is_named:
                    raise
                notes.append(f"not compared: {error}")
                continue
            if run_id(run) in found:
                notes.append(_about_copy(found[run_id(run)], run))
                continue
            found[run_id(run)] = run
            trials.extend(of_run)
    if not found:
        raise RunError(
            f"there is no run in {', '.join(map(str, given)) or 'an empty list'}" + "".join(f"; {n}" for n in notes)
        )
    if all(trial.history is None for trial in trials):
        endings = ", ".join(sorted({run.status for run in found.values()}))
        raise RunError(
            f"none of the {len(found)} runs recorded a session ({endings}); a notebook hands its sessions to cb.record"
        )
    _refuse_copies(trials)
    return tuple(found.values()), tuple(trials), tuple(dict.fromkeys(notes))


def _candidates(given: str | Path) -> Sequence[tuple[Path, bool]]:
    """Return the folders that may be runs, each with whether it was named itself."""
    path = Path(given)
    if (path / MANIFEST).exists():
        return [(path, True)]
    if path.is_dir():
        inside = sorted(child for child in path.iterdir() if (child / MANIFEST).is_file())
        if not inside:
            raise RunError(f"{path} is neither a run nor a folder of runs: no {MANIFEST} in it or one level below")
        return [(child, False) for child in inside]
    matches = sorted(Path(match) for match in glob.glob(str(given)) if (Path(match) / MANIFEST).is_file())  # noqa: PTH207
    if not matches:
        raise RunError(f"no run is at {given}; give run folders, a folder of runs, or a pattern such as 'runs/sma-*'")
    return [(match, False) for match in matches]


def _about_copy(first: Run, second: Run) -> str:
    """Say that an attempt was given twice; refuse if the two differ."""
    if first.manifest != second.manifest:
        raise RunError(
            f"{first.folder} and {second.folder} both say that they are {run_id(first)}, but differ; "
            "one was changed: give only the one that you trust"
        )
    return f"{run_id(first)} was given more than once, and counts once"


def _refuse_copies(trials: Sequence[Trial]) -> None:
    """Refuse two runs whose clocks read the very same, as far as both go: one is a copy, or goes on with the other."""
    seen: dict[tuple[int | None, float], tuple[Trial, list[float]]] = {}
    for trial in trials:
        if trial.history is None:
            continue
        clock = [float(value) for value in trial.history["elapsed_s"]]
        first, other = seen.setdefault((trial.seed, clock[0]), (trial, clock))
        n_both = min(len(clock), len(other))
        if first.run != trial.run and clock[:n_both] == other[:n_both]:
            raise RunError(
                f"{first.name} and {trial.name} hold the very same measurement, to the last digit of its clock: one "
                "is a copy of the other or goes on with it, and both would count one attempt twice. Give one of them"
            )
