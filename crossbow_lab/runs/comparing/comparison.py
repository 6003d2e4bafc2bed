"""Comparison of runs: one row per configuration, over seeds, with intervals; and what differs between the runs."""

import math
import statistics as pystatistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossbow_lab.errors import RunError
from crossbow_lab.runs.comparing.configurations import configurations
from crossbow_lab.runs.comparing.gathering import Runs, gather
from crossbow_lab.runs.comparing.outcomes import EPOCHS, SAMPLES_PER_S, SECONDS, TO_TARGET, Result, measure_trial
from crossbow_lab.runs.comparing.statistics import (
    Estimate,
    geometric_mean,
    median,
    olympic_mean,
    probability_less,
    ratio,
)
from crossbow_lab.runs.comparing.trials import TARGET_PARAMETER, Trial
from crossbow_lab.runs.records.manifest import Run

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from crossbow_lab.session.limits import Accuracy

_ENOUGH_SEEDS = 5


@dataclass(frozen=True, repr=False)
class Comparison:
    """What a few runs say together. Shown in a notebook, it is its figure.

    Parameters
    ----------
    by : tuple of str
        The settings that tell rows apart.
    target : Accuracy or None
        What counts as reached.
    results : tuple of Result
        One per row.
    runs : tuple of Run
        The records that were read.
    notes : tuple of str
        What a reader must know: runs that ended early, settings that differ beside those asked for, shared devices.
    """

    by: tuple[str, ...]
    target: "Accuracy | None"
    results: tuple[Result, ...]
    runs: tuple[Run, ...]
    notes: tuple[str, ...]

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what is measured; without a target only the throughput."""
        return (SAMPLES_PER_S,) if self.target is None else (*TO_TARGET, SAMPLES_PER_S)

    @property
    def table(self) -> "pd.DataFrame":
        """One row per configuration.

        Columns: the names in ``by``; ``runs`` and ``seeds`` (how many; several attempts with one seed count as their
        median); ``reached`` (seeds that reached the target); for each of ``seconds_to_target`` [s, training time],
        ``epochs_to_target`` and ``samples_per_s`` the geometric mean, its 95 % interval ``_low`` to ``_high``
        (Student's t on logarithms), ``_median`` with an interval by ranks from six seeds on, and MLPerf's
        ``_olympic_mean`` from five on; ``final_accuracy`` (median, 0..1); ``contended`` (runs on a shared device).
        A target that wasn't reached counts as infinite: means are then infinite and have no interval.
        """
        import pandas as pd

        return pd.DataFrame([self._table_row(result) for result in self.results])

    @property
    def each_run(self) -> "pd.DataFrame":
        """One row per training: run, session, status, seed, all settings, and what was measured."""
        import pandas as pd

        outcomes = [outcome for result in self.results for outcome in result.outcomes]
        return pd.DataFrame(
            {
                "run": outcome.trial.run,
                "session_name": outcome.trial.session,
                "status": outcome.trial.status,
                "seed": outcome.trial.seed,
                **{name: getattr(outcome, name) for name in (*self.measures, "trained_s", "final_accuracy")},
                "contended": outcome.trial.is_contended,
                **outcome.trial.settings,
            }
            for outcome in outcomes
        )

    @property
    def speed_ups(self) -> "pd.DataFrame":
        """Each row against the one that differs in one setting only, which is at its first value.

        Columns: ``base`` and ``other`` (labels); ``speed_up`` (geometric mean time of the base over that of the
        other: above 1 the other is faster) with its 95 % interval (Welch on logarithms); ``p_faster`` (how often a
        run of the other is faster than one of the base), with a bootstrap interval from ten seeds on; then the two
        factors: ``epochs_ratio`` (epochs of the base over those of the other, statistical efficiency) and
        ``throughput_ratio`` (hardware efficiency), likewise. NaN where a run didn't reach the target. Intervals are
        of single ratios: of twenty, one misses by chance.
        """
        import pandas as pd

        return pd.DataFrame([self._speed_up_row(base, other) for base, other in self._pairs()])

    @property
    def differences(self) -> "pd.DataFrame":
        """What differs between the runs, one column each; see `crossbow_lab.runs.comparing.differences.differences`."""
        from crossbow_lab.runs.comparing.differences import differences

        return differences(self.runs)

    @property
    def code_patch(self) -> str:
        """How the code of the newest run differs from that of the oldest, as a patch; empty if it doesn't."""
        from crossbow_lab.runs.comparing.differences import code_patch

        ordered = sorted(self.runs, key=lambda run: str(run.manifest.get("started_utc", "")))
        return code_patch(ordered[0], ordered[-1])

    def figure(self) -> "go.Figure":
        """Draw test accuracy by time, epochs and samples, every run a line, and below what came of it, every run a dot.

        Returns
        -------
        plotly.graph_objects.Figure
            `crossbow_lab.dashboard.static` shows it everywhere.
        """
        from crossbow_lab.dashboard import comparison as drawing
        from crossbow_lab.runs.comparing.report import groups

        return drawing.overview(groups(self), target=self.target)

    def to_html(self, path: str | Path) -> Path:
        """Write tables, figures, every run and the differences as one HTML file that needs no network."""
        from crossbow_lab.runs.comparing.report import write_html

        return write_html(self, Path(path))

    def to_csv(self, path: str | Path) -> Path:
        """Write the table as CSV; `each_run` is the one with every run."""
        from crossbow_lab.runs.comparing.report import write_text

        return write_text(Path(path), self.table.to_csv(index=False))

    def __repr__(self) -> str:
        """Return the table in words and numbers that fit a terminal."""
        from crossbow_lab.runs.comparing.text import as_text

        return as_text(self)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Offer Jupyter the figure as plotly and as a picture, and the table as text."""
        from crossbow_lab.dashboard.still import static

        forms, metadata = static(self.figure())._repr_mimebundle_()
        return {**forms, "text/plain": repr(self)}, metadata

    def _table_row(self, result: Result) -> dict[str, Any]:
        """Return a configuration's row."""
        row: dict[str, Any] = dict(result.configuration.values)
        row |= {"runs": len(result.outcomes), "seeds": result.n_seeds}
        if self.target is not None:
            row["reached"] = result.n_reached
        for measure in self.measures:
            values = result.values(measure)
            row |= _columns(measure, geometric_mean(values)) | _columns(f"{measure}_median", median(values))
            if measure in TO_TARGET:
                row[f"{measure}_olympic_mean"] = olympic_mean(values)
        accuracies = result.values("final_accuracy")
        row["final_accuracy"] = pystatistics.median(accuracies) if accuracies else math.nan
        row["contended"] = sum(outcome.trial.is_contended for outcome in result.outcomes)
        return row

    def _pairs(self) -> Iterator[tuple[Result, Result]]:
        """Give every row that has one its base: the first of those that share all its values but one."""
        for other in self.results:
            for name in self.by:
                kin = [r for r in self.results if _without(r, name) == _without(other, name)]
                if kin[0] is not other:
                    yield kin[0], other

    def _speed_up_row(self, base: Result, other: Result) -> dict[str, Any]:
        """Compare two configurations."""
        row: dict[str, Any] = {"base": base.configuration.label, "other": other.configuration.label}
        if self.target is not None:
            row |= _columns("speed_up", ratio(base.values(SECONDS), other.values(SECONDS)))
            row |= _columns("p_faster", probability_less(other.values(SECONDS), base.values(SECONDS)))
            row |= _columns("epochs_ratio", ratio(base.values(EPOCHS), other.values(EPOCHS)))
        return row | _columns("throughput_ratio", ratio(other.values(SAMPLES_PER_S), base.values(SAMPLES_PER_S)))


def compare(
    runs: Runs,
    by: str | Sequence[str] = ("algorithm", "learners"),
    target: "Accuracy | float | None" = None,
) -> Comparison:
    """Compare runs: over everything but the seed, with intervals, and no run left out.

    Parameters
    ----------
    runs : Run, str, Path, or iterable of these
        Runs, their folders, a folder full of them, or a pattern such as ``"runs/sma-*"``.
    by : str or sequence of str
        What tells rows apart: fields of the recipe or its algorithm, parameters of the notebook, or ``session``,
        ``notebook``, ``machine``, ``revision``. As one text: ``"algorithm,learners"``.
    target : Accuracy or float, optional
        Test accuracy to reach; a number means the median of five evaluations, as in the paper. If it isn't given it
        is the parameter ``target_accuracy`` of the runs' notebooks, where they have one.

    Returns
    -------
    Comparison
        ``.table``, ``.speed_ups``, ``.each_run``, ``.differences``, ``.figure()``, ``.to_html(path)``,
        ``.to_csv(path)``.

    Raises
    ------
    RunError
        If there is nothing to compare, or what would be averaged differs in more than its seeds: in a setting, in
        its device, or real data against synthetic.
    ConfigurationError
        If the target is outside 0 < target <= 1.

    Examples
    --------
    >>> comparison = compare("runs", by="algorithm,learners", target=0.97)  # doctest: +SKIP
    >>> comparison.table[["algorithm", "learners", "reached", "seeds", "seconds_to_target"]]  # doctest: +SKIP
    """
    from crossbow_lab.session.limits import Accuracy

    names = tuple(part.strip() for part in by.split(",")) if isinstance(by, str) else tuple(by)
    found, trials, about_records = gather(runs)
    rows, about_rows = configurations(trials, names)
    if target is None:
        target = _asked_target(trials)
    goal = Accuracy(target) if isinstance(target, (int, float)) else target
    results = tuple(Result(row, tuple(measure_trial(trial, goal) for trial in row.trials)) for row in rows)
    notes = (*about_records, *about_rows, *_about_target(trials, goal), *_about_seeds(results))
    return Comparison(names, goal, results, found, notes)


def _asked_target(trials: Sequence[Trial]) -> float | None:
    """Return the target that the notebooks were given, if they agree."""
    asked = {trial.settings[TARGET_PARAMETER] for trial in trials if TARGET_PARAMETER in trial.settings}
    if len(asked) > 1:
        raise RunError(f"the runs have different targets ({', '.join(map(str, sorted(asked)))}); give target")
    return next(iter(asked), None)


def _about_target(trials: Sequence[Trial], goal: "Accuracy | None") -> list[str]:
    """Note what the target, or the lack of one, means for these runs."""
    if goal is None:
        return ["no target was given, and the runs name none (target_accuracy): times to accuracy are left out"]
    lower = {t.settings[TARGET_PARAMETER] for t in trials if t.settings.get(TARGET_PARAMETER, 1) < goal.target}
    if lower:
        return [
            f"runs that were to stop at {min(lower):g} may have ended before they could reach {goal.target:g}; "
            "they count as not having reached it"
        ]
    return []


def _about_seeds(results: Sequence[Result]) -> list[str]:
    """Note where there are too few seeds, or several attempts with one."""
    notes = []
    fewest = min(result.n_seeds for result in results)
    if fewest == 1:
        notes.append("a row with one seed has no interval; the lab's rule is at least five seeds")
    elif fewest < _ENOUGH_SEEDS:
        notes.append(f"as few as {fewest} seeds in a row; the lab's rule is at least five, ten for small models")
    if any(len(result.outcomes) > result.n_seeds for result in results):
        notes.append("several attempts with one seed count as one, their median: they aren't independent")
    return notes


def _columns(name: str, estimate: Estimate) -> dict[str, float]:
    """Return an estimate as three columns."""
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _without(result: Result, name: str) -> dict[str, Any]:
    """Return what tells a row apart, without one setting."""
    return {other: value for other, value in result.configuration.values.items() if other != name}
