"""Which trainings may be averaged: those that differ in nothing but their seeds.

Everything that would make an average mean nothing is refused here, with what to do: settings that differ within a
row, unlike devices, made-up beside real data, one attempt in two copies.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crossbow_lab.errors import RunError, nearest
from crossbow_lab.runs.comparing.trials import CHOOSABLE, TARGET_PARAMETER, Trial

# Names to tell trainings apart by that don't make two of them different ones by themselves.
_LABELS_ONLY = ("session", "notebook", "revision")
# Between rows these must be asked for: nothing that differs beside them could be put down to what the rows are about.
_WORKLOAD = ("dataset", "model", "data_sha256", "machine")
# What training itself can end with: a loss that isn't finite, and whatever ended an interactive session.
_OUTCOMES = ("DivergedError", "failed")
_MOST_NAMED = 4
_ASKED_BY = {"data_sha256": ("dataset",), "machine": ("device",)}


@dataclass(frozen=True)
class Configuration:
    """Trainings that differ in nothing but their seeds: one row of a comparison.

    Parameters
    ----------
    values : mapping of str to value
        What tells this row from the others, by name.
    label : str
        The same in words.
    trials : tuple of Trial
    """

    values: Mapping[str, Any]
    label: str
    trials: tuple[Trial, ...]


def configurations(trials: Sequence[Trial], by: Sequence[str]) -> tuple[tuple[Configuration, ...], tuple[str, ...]]:
    """Sort trainings into rows.

    Parameters
    ----------
    trials : sequence of Trial
        At least one of them with a history.
    by : sequence of str
        Names of settings. The first varies slowest in the rows' order, which is ascending, S-SGD before the others.

    Returns
    -------
    tuple of Configuration, tuple of str
        The rows, and what a reader must know about them.

    Raises
    ------
    RunError
        If a name is unknown, or trainings can't be averaged or compared.
    """
    _check_names(trials, by)
    trials, notes = _without_superseded(trials, by)
    rows: dict[tuple[Any, ...], list[Trial]] = {}
    for trial in trials:
        key = tuple(trial.settings.get(name) for name in by)
        if any(name not in trial.settings for name in by) and trial.history is None:
            notes.append(
                f"{trial.name} {_ending(trial)} before it recorded a session, and its parameters don't say which "
                f"row it belongs to ({', '.join(by)}): it is in none"
            )
            continue
        rows.setdefault(key, []).append(trial)
    made = [
        Configuration(dict(zip(by, key, strict=True)), "", tuple(rows[key]))
        for key in sorted(rows, key=lambda key: [_rank(value) for value in key])
    ]
    for row in made:
        _check_row(row, by)
    _check_rows(made, by)
    told = [name for name in by if len({row.values[name] for row in made}) > 1] or list(by)
    labelled = tuple(replace(row, label=_label({name: row.values[name] for name in told})) for row in made)
    return labelled, (*notes, *_differing(labelled, by), *_about_runs(trials))


def _check_names(trials: Sequence[Trial], by: Sequence[str]) -> None:
    """Refuse a name that no training has."""
    known = {name for trial in trials for name in trial.settings}
    for name in by:
        if name not in known:
            raise RunError(f"runs can't be told apart by {name!r}; {nearest(name, known)}")
    if not by or len(set(by)) < len(by):
        raise RunError(f"by is {list(by)}; give names of settings, each once, such as algorithm,learners")


def _without_superseded(trials: Sequence[Trial], by: Sequence[str]) -> tuple[list[Trial], list[str]]:
    """Leave out attempts that ended from outside and whose request was later completed, and say so.

    A loss that wasn't finite, and a time limit, are outcomes of training: another attempt doesn't undo them.
    """

    def request(trial: Trial) -> tuple[Any, ...]:
        return (trial.seed, *(trial.settings.get(name) for name in by))

    completed = {request(trial) for trial in trials if trial.status == "completed"}
    kept, notes = [], []
    for trial in trials:
        is_outcome = trial.status in {"completed", "timeout"} or trial.exception in _OUTCOMES
        if is_outcome or request(trial) not in completed:
            kept.append(trial)
        else:
            notes.append(f"{trial.name} {_ending(trial)} and was completed by another run of the same request")
    return kept, notes


def _check_row(row: Configuration, by: Sequence[str]) -> None:
    """Refuse to average trainings that differ in more than their seeds."""
    trials = row.trials
    machines = {trial.device: trial.name for trial in trials}
    here = ", ".join(f"{name} {value}" for name, value in row.values.items())
    if len(machines) > 1:
        found = "; ".join(f"{machine} ({name})" for machine, name in machines.items())
        raise RunError(f"runs of {here} are on unlike devices: {found}. Compare them apart, with machine in by")
    if len({trial.is_synthetic for trial in trials}) > 1:
        made_up = next(trial.name for trial in trials if trial.is_synthetic)
        raise RunError(f"runs of {here} mix synthetic data ({made_up}) with real data; compare them apart")
    # Noted only: until a run stops it is the same whatever target it stops at; and what was chosen by measuring.
    noted = {TARGET_PARAMETER, *(name for name in CHOOSABLE if all(name in trial.chosen for trial in trials))}
    ignored = {*by, *_LABELS_ONLY, *noted, "machine"}
    for name in sorted({name for trial in trials for name in trial.settings} - ignored):
        # A notebook that doesn't have a parameter says nothing about it; a recipe that lacks a field does.
        having = [trial for trial in trials if name in trial.settings]
        asked = (
            having
            if all(name in trial.parameters for trial in having)
            else [t for t in trials if t.history is not None]
        )
        values = _distinct(trial.settings.get(name) for trial in asked)
        if len(values) > 1:
            shown = ", ".join(_shown(value) for value in values)
            raise RunError(
                f"runs of {here} differ in {name} ({shown}), so an average over them means nothing; "
                f"add {name} to by, or give fewer runs"
            )


def _check_rows(rows: Sequence[Configuration], by: Sequence[str]) -> None:
    """Refuse rows between which the workload or the device changes unasked."""
    if len({trial.is_synthetic for row in rows for trial in row.trials}) > 1 and "dataset" not in by:
        raise RunError(
            "some runs are on synthetic data and some on real data; compare them apart, or add dataset to by"
        )
    for name in _WORKLOAD:
        if name in by or any(other in by for other in _ASKED_BY.get(name, ())):
            continue
        values = _distinct(t.settings[name] for row in rows for t in row.trials if name in t.settings)
        if len(values) > 1:
            what = {"data_sha256": "the data's content", "machine": "device"}.get(name, name)
            shown = ", ".join(_shown(value)[:60] for value in values)
            raise RunError(
                f"the runs differ in {what} ({shown}), which would be mixed up with {', '.join(by)}; "
                f"add {name} to by, or give runs that share it"
            )


def _differing(rows: Sequence[Configuration], by: Sequence[str]) -> list[str]:
    """Note the settings that differ between rows beside those asked for, and executors that differ within one."""
    notes = []
    ignored = {*by, *_LABELS_ONLY, *_WORKLOAD}
    every = [trial for row in rows for trial in row.trials]
    for name in sorted({name for trial in every for name in trial.settings} - ignored):
        values = _distinct(trial.settings[name] for trial in every if name in trial.settings)
        if len(values) > 1:
            having = {
                value: [row for row in rows if any(t.settings.get(name) == value for t in row.trials)]
                for value in values
            }
            shown = "; ".join(f"{_shown(value)} ({_those(having[value], rows)})" for value in values)
            notes.append(f"{name} differs too: {shown}")
    revisions = _distinct(trial.settings["revision"] for trial in every)
    if len(revisions) > 1:
        notes.append(f"the code differs: revisions {', '.join(_shown(revision) for revision in revisions)}")
    return notes


def _those(some: Sequence[Configuration], rows: Sequence[Configuration]) -> str:
    """Name some of the rows: by one value that they alone have in common, or each by its label."""
    if len(some) == len(rows) > 1:
        return "every row"
    for name, value in some[0].values.items():
        if [row for row in rows if row.values[name] == value] == some:
            return _label({name: value})
    return ", and ".join(row.label for row in some)


def _about_runs(trials: Sequence[Trial]) -> list[str]:
    """Note runs that ended early and runs that shared their device."""
    notes = [
        f"{trial.name} {_ending(trial)}: it counts as a run that hasn't reached the target, unless it had"
        for trial in trials
        if trial.status != "completed"
    ]
    runs = {trial.run: trial.is_contended for trial in trials}
    contended = [run for run, is_contended in runs.items() if is_contended]
    if contended:
        named = f" ({', '.join(contended)})" if len(contended) <= _MOST_NAMED else ""
        notes.append(
            f"{len(contended)} of {len(runs)} runs shared their device with something else{named}: their times are "
            "longer than they need be"
        )
    return notes


def _ending(trial: Trial) -> str:
    """Say how a run ended that wasn't completed."""
    endings: dict[str, str] = {"interrupted": "was interrupted", "timeout": "took too long"}
    return endings.get(trial.status, f"failed ({trial.exception})" if trial.exception else "failed")


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Return the different values in the order of the rows; 1 and 1.0 are one, 1 and True are two."""
    return list({(isinstance(value, bool), value): value for value in values}.values())


def _shown(value: Any) -> str:
    """Return a value as a message gives it."""
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value in {None, "", "[]"} else str(value)


def _label(values: Mapping[str, Any]) -> str:
    """Name a row: an algorithm by its name alone, other settings with theirs."""
    bare = ("algorithm", "session", "model", "dataset", "notebook", "machine", "device")
    return ", ".join(_shown(value) if name in bare else f"{name} {_shown(value)}" for name, value in values.items())


def _rank(value: Any) -> tuple[int, float, str]:
    """Order numbers by size and texts by alphabet, but S-SGD first: it is the baseline."""
    if isinstance(value, (int, float)):
        return 1, float(value), ""
    return (0, 0.0, "") if value == "S-SGD" else (2, 0.0, str(value))
