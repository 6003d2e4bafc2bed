"""A comparison in words: the tables that a terminal, a report and a plain-text notebook show."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crossbow_lab.runs.comparing.outcomes import EPOCHS, SAMPLES_PER_S, SECONDS, TO_TARGET, Result
from crossbow_lab.runs.comparing.statistics import OLYMPIC_LEAST, Estimate

if TYPE_CHECKING:
    import pandas as pd

    from crossbow_lab.runs.comparing.comparison import Comparison

_HEADS = {SECONDS: "seconds to target", EPOCHS: "epochs to target", SAMPLES_PER_S: "samples/s"}
_UNITS = {SECONDS: " s", EPOCHS: "", SAMPLES_PER_S: ""}
_LONGEST_VALUE = 60
_FILE, _MOST_FILES = "untracked.", 3
METHOD = (
    "Geometric means over seeds (95 % intervals: Student's t on logarithms). Where a seed didn't reach the target, the "
    "median, which counts it as infinitely long (interval by ranks, from six seeds on). Seconds are training time; "
    "evaluation isn't counted. Times are read at evaluations."
)
"""How the numbers were made."""


@dataclass(frozen=True)
class Words:
    """A table of texts.

    Parameters
    ----------
    title : str
    header : tuple of str
    rows : tuple of tuple of str
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def main_table(comparison: "Comparison") -> Words:
    """Return one row per configuration."""
    goal = comparison.target
    is_timed = goal is not None
    has_olympic = is_timed and any(result.n_seeds >= OLYMPIC_LEAST for result in comparison.results)
    header = [*comparison.by, *(["reached"] if is_timed else ["seeds"]), *(_HEADS[m] for m in comparison.measures)]
    header += ["median s", "olympic mean s"] if has_olympic else ["median s"] if is_timed else []
    rows = []
    table = comparison.table
    for result, (_, numbers) in zip(comparison.results, table.iterrows(), strict=True):
        row = [_value(value) for value in result.configuration.values.values()]
        row.append(f"{result.n_reached} of {result.n_seeds}" if is_timed else str(result.n_seeds))
        row += [measure_text(result, measure) for measure in comparison.measures]
        if is_timed:
            row.append(_number(numbers[f"{SECONDS}_median"], "not reached"))
        if has_olympic:
            row.append(_number(numbers[f"{SECONDS}_olympic_mean"], "not reached"))
        rows.append((*row, share_text(float(numbers["final_accuracy"]))))
    title = "No target."
    if goal is not None:
        title = f"Target: {100 * goal.target:.4g} % test accuracy of z, the median of {goal.window} evaluations."
    return Words(title, (*header, "accuracy of z"), tuple(rows))


def speed_up_table(comparison: "Comparison") -> Words:
    """Return one row per pair of configurations that differ in one setting."""
    table = comparison.speed_ups
    columns = {
        "speed_up": "speed-up",
        "p_faster": "P(faster)",
        "epochs_ratio": "fewer epochs",
        "throughput_ratio": "throughput",
    }
    kept = [name for name in columns if name in table.columns]
    rows = []
    for _, row in table.iterrows():
        cells = [
            _interval(Estimate(*(float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))), "-") for name in kept
        ]
        rows.append((f"{row['other']} over {row['base']}", *cells))
    title = "Ratios of geometric means (95 % intervals: Welch on logarithms); none where a run didn't get there."
    return Words(title, ("", *(columns[name] for name in kept)), tuple(rows))


def differences_table(differences: "pd.DataFrame") -> Words:
    """Return one row per thing that differs: its values, each with how many runs have it."""
    runs = list(differences.columns[2:])
    is_file = differences["name"].str.startswith(_FILE)
    files = [name.removeprefix(_FILE) for name in differences["name"][is_file]]
    rows = []
    for _, row in differences[~is_file].iterrows():
        # Where a record doesn't say, pandas has NaN beside texts.
        counted = Counter("not said" if row[run] is None or row[run] != row[run] else _value(row[run]) for run in runs)
        each = [value if len(runs) == 2 else f"{value} ({count} runs)" for value, count in counted.items()]
        rows.append((str(row["kind"]), str(row["name"]), (" | " if len(runs) == 2 else ", ").join(each)))
    if files:
        named = ", ".join(files[:_MOST_FILES]) + (", ..." if len(files) > _MOST_FILES else "")
        rows.append(("code", "untracked files", f"{len(files)}: {named}"))
    values = " | ".join(runs) if len(runs) == 2 else "values"
    return Words(f"What differs between the {len(runs)} runs.", ("kind", "name", values), tuple(rows))


def terminal_tables(comparison: "Comparison") -> tuple[Words, ...]:
    """Return the tables that a terminal shows: rows, speed-ups, and what differs between the runs."""
    tables = (main_table(comparison), speed_up_table(comparison), differences_table(comparison.differences))
    return tuple(words for words in tables if words.rows)


def as_text(comparison: "Comparison") -> str:
    """Return the main tables and the notes as plain text."""
    tables = (words for words in (main_table(comparison), speed_up_table(comparison)) if words.rows)
    return "\n\n".join([*map(_plain_table, tables), "\n".join(f"- {note}" for note in comparison.notes)]).rstrip()


def measure_text(result: Result, measure: str) -> str:
    """Return a configuration's estimate of one measure, and which seeds it lacks."""
    estimate, name = result.headline(measure)
    values = result.values(measure)
    n_missing = sum(math.isinf(value) for value in values) if measure in TO_TARGET else 0
    if n_missing == len(values):
        return "not reached" if values else "-"
    text = _interval(estimate, "not reached", _UNITS[measure])
    return text if not n_missing else f"{name} {text}"


def share_text(share: float) -> str:
    """Return a share in per cent."""
    return "-" if math.isnan(share) else f"{share:.2%}"


def _interval(estimate: Estimate, otherwise: str, unit: str = "") -> str:
    """Return a value with its interval."""
    if not math.isfinite(estimate.value):
        return otherwise
    text = f"{_number(estimate.value)}{unit}"
    if not estimate.has_interval:
        return text
    if estimate.low == estimate.high:
        return f"{text} (all the same)"
    return f"{text} ({_number(estimate.low)} to {_number(estimate.high, 'never')})"


def _number(value: float, otherwise: str = "") -> str:
    """Return a number with three digits, or whole and with separators from a thousand on."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return otherwise
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _value(value: Any) -> str:
    """Return a setting's value."""
    text = "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    if re.fullmatch(r"[0-9a-f]{40,}", text):  # a checksum or a commit, of which a reader needs the beginning
        return text[:12]
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _plain_table(words: Words) -> str:
    """Return a table as aligned text."""
    lines: Sequence[Sequence[str]] = (words.header, *words.rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(words.header))]
    drawn = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([words.title, *drawn])
