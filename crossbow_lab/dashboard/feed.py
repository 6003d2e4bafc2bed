"""Turns what a session tells, snapshots and its record, into rows and marks of the board. No widgets, no threads.

A dashboard that opens late finds the past in the record: a row for each evaluation. From then on every snapshot of
another iteration is a row of "train" and "learners", and every evaluation one of "test".
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossbow_lab.averaging import ALGORITHMS, algorithm_name
from crossbow_lab.dashboard.columns import Floats
from crossbow_lab.dashboard.plots import MarkKind
from crossbow_lab.session import Event, LearnerRow, Row, Snapshot
from crossbow_lab.session.history import Record

TRAIN = ("samples_per_s", "samples_per_s_now", "train_loss", "divergence")
TEST = ("test_accuracy", "test_loss")
LAST_CHECKPOINT = "last.safetensors"  # what a session with a folder overwrites every minute

_ONE_DRAG_S = 1.0
_KINDS: dict[str, MarkKind] = {
    "adjustment": "adjustment",
    "learning_rate": "adjustment",
    "restart": "restart",
    "tuner": "tuner",
    "checkpoint": "checkpoint",
    "restored": "checkpoint",
    "target": "target",
    "failed": "failure",
}
_WORDS = {"batch_size": "batch size", "learning_rate": "learning rate", "sync_period": "τ", "algorithm": ""}
_NAMES = re.compile(r"(?:^|, )(learners|batch_size|learning_rate|sync_period|algorithm|executor) ")
_ALGORITHM = re.compile(rf"({'|'.join(ALGORITHMS)})\((.*?)\)")


def tables(max_learners: int) -> dict[str, tuple[str, ...]]:
    """Return the board's tables and their columns, x axes not among them."""
    numbers = range(1, max_learners + 1)
    per_learner = [f"{what}_{number}" for what in ("loss", "distance") for number in numbers]
    return {"train": TRAIN, "learners": tuple(per_learner), "test": TEST}


@dataclass(frozen=True)
class Mark:
    """Arguments of `crossbow_lab.dashboard.board.Board.mark`."""

    key: str
    x: tuple[float, float, float, float]
    text: str
    kind: MarkKind


@dataclass(frozen=True)
class Refusal:
    """Settings that were asked for and refused, and why."""

    names: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class News:
    """What has happened since the last time.

    Attributes
    ----------
    rows : new rows of each table, float32 (4 + columns, m).
    marks : new ones, and old ones that have moved.
    refusals : what was refused; not what was refused before anyone looked.
    evaluations : the record's new rows.
    """

    rows: dict[str, Floats]
    marks: tuple[Mark, ...]
    refusals: tuple[Refusal, ...]
    evaluations: tuple[Row, ...]


class Feed:
    """Reads one record once, from its beginning.

    Parameters
    ----------
    record : Record
        Grows meanwhile.
    max_learners : int
        Learners that have columns.
    """

    def __init__(self, record: Record, max_learners: int) -> None:
        self.record = record
        self._max_learners = max_learners
        self._n_rows = self._n_events = self._n_marks = 0
        self._is_first = True
        self._iteration = 0
        self._samples, self._elapsed_s = 0, 0.0
        self._drags: dict[tuple[str, ...], tuple[str, float]] = {}

    def take(self, now: Snapshot) -> News:
        """Return what is new, where ``now`` is the session's latest snapshot."""
        evaluations = tuple(self.record.rows.entries[self._n_rows :])
        events = self.record.events.entries[self._n_events :]
        self._n_rows += len(evaluations)
        self._n_events += len(events)
        train, learners = self._past(evaluations) if self._is_first else ([], [])
        refused = () if self._is_first else tuple(_refusal(event) for event in events if event.kind == "refused")
        self._is_first = False
        if now.iteration > self._iteration:
            train.append([*_x_of(now), now.samples_per_s, self._speed(now), now.train_loss, _mean(now.distances)])
            learners.append([*_x_of(now), *self._padded(now.losses), *self._padded(now.distances)])
            self._iteration, self._samples, self._elapsed_s = now.iteration, now.samples, now.elapsed_s
        tests = [[*_x_of(row), row.test_accuracy, row.test_loss] for row in evaluations]
        rows = {"train": train, "learners": learners, "test": tests}
        return News(
            rows={name: np.array(values, np.float32).T for name, values in rows.items() if values},
            marks=tuple(mark for event in events if (mark := self._mark(event, now.epoch_samples)) is not None),
            refusals=refused,
            evaluations=evaluations,
        )

    def _past(self, evaluations: Sequence[Row]) -> tuple[list[list[float]], list[list[float]]]:
        """Return rows of "train" and "learners" from a record that was there before anyone looked."""
        of_learners: dict[int, list[LearnerRow]] = {}
        for entry in list(self.record.learner_rows.entries):
            of_learners.setdefault(entry.iteration, []).append(entry)
        train, learners = [], []
        for row in evaluations:
            x, entries = _x_of(row), of_learners.get(row.iteration, [])
            train.append([*x, row.samples_per_s, row.samples_per_s, row.train_loss, row.divergence])
            losses, distances = [entry.train_loss for entry in entries], [entry.distance for entry in entries]
            learners.append([*x, *self._padded(losses), *self._padded(distances)])
            self._iteration, self._samples, self._elapsed_s = row.iteration, row.samples, row.elapsed_s
        return train, learners

    def _padded(self, values: Sequence[float]) -> list[float]:
        """Return one value for each learner that has a column; NaN for those that aren't there."""
        return [*values[: self._max_learners], *[math.nan] * (self._max_learners - len(values))]

    def _speed(self, now: Snapshot) -> float:
        """Return the throughput since the last row, in samples/s."""
        span_s = now.elapsed_s - self._elapsed_s
        return (now.samples - self._samples) / span_s if span_s > 0 else math.nan

    def _mark(self, event: Event, epoch_samples: int) -> Mark | None:
        """Return the mark of an event, if it has one; the steps of one drag have one key."""
        kind = _KINDS.get(event.kind)
        if kind is None:
            return None
        what = (event.kind, *(_NAMES.findall(event.detail) if event.kind == "adjustment" else (event.detail,)))
        key, last_s = self._drags.get(what, ("", -math.inf))
        is_same = event.elapsed_s - last_s < _ONE_DRAG_S or event.detail == LAST_CHECKPOINT
        if not key or not is_same:
            self._n_marks += 1
            key = f"{event.kind}-{self._n_marks}"
        self._drags[what] = (key, event.elapsed_s)
        x = (float(event.iteration), event.epoch, event.epoch * epoch_samples, event.elapsed_s)
        return Mark(key, x, _label(event), kind)


def _x_of(there: Snapshot | Row) -> tuple[float, float, float, float]:
    """Return how far training had come, on each of the x axes."""
    return float(there.iteration), there.epoch, float(there.samples), there.elapsed_s


def _mean(values: Sequence[float]) -> float:
    """Return the mean; NaN of nothing."""
    return sum(values) / len(values) if values else math.nan


def _refusal(event: Event) -> Refusal:
    """Return what was refused: its detail says names with values, a colon, and why."""
    asked, _, reason = event.detail.partition(": ")
    return Refusal(tuple(_NAMES.findall(asked)), reason or event.detail)


def _label(event: Event) -> str:
    """Return an event in the few words that fit into a plot."""
    match event.kind:
        case "adjustment":
            return in_words(event.detail)
        case "learning_rate":
            return f"learning rate {event.detail.partition(',')[0]}"
        case "checkpoint":
            return "checkpoint not written" if event.detail.startswith("not written") else "checkpoint"
        case "target":
            return "target reached"
        case "tuner":
            return f"auto-tuner: {event.detail.partition(':')[0]}"
        case _:
            return event.kind


def in_words(changes: str) -> str:
    """Say an adjustment as the plots do, and of an algorithm only what differs from its defaults.

    Examples
    --------
    >>> in_words("learners 8, batch_size 4")
    'learners 8, batch size 4'
    >>> in_words("algorithm SMA(alpha=0.1, momentum=0.9, local_momentum=0.0, sync_period=1, restart='on_lr_change')")
    'SMA, α 0.1'
    """
    changes = _ALGORITHM.sub(lambda found: _algorithm_in_words(found[1], found[2]), changes)
    named = _NAMES.sub(lambda found: found[0].replace(found[1], _WORDS.get(found[1], found[1])), changes)
    return re.sub(r"\d+\.\d{4,}(e-?\d+)?", lambda found: f"{float(found[0]):.3g}", named).strip().replace(",  ", ", ")


def _algorithm_in_words(name: str, arguments: str) -> str:
    """Say an algorithm in words."""
    standard = ALGORITHMS[name]()
    symbols = {"alpha": "α", "momentum": "μ", "local_momentum": "local momentum", "sync_period": "τ"}
    symbols |= {"outer_learning_rate": "η", "devices": "simulated devices", "fetch_period": "fetch period"}
    symbols |= {"exchange_period": "exchange period"}
    symbols |= {"local_from_epoch": "local from epoch"}
    given = dict(part.split("=", 1) for part in arguments.split(", ") if part)
    usual = {field.name: repr(getattr(standard, field.name)) for field in dataclasses.fields(standard)}
    others = [f"{symbols[key]} {value}" for key, value in given.items() if key in symbols and value != usual[key]]
    return ", ".join([algorithm_name(standard), *others])
