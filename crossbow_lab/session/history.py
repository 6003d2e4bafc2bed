"""What happened: one row per evaluation, one per event, kept in memory and appended to disk as it happens."""

import itertools
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

import pandas as pd

from crossbow_lab.errors import ConfigurationError, RunError
from crossbow_lab.session.limits import Accuracy, TimeToAccuracy
from crossbow_lab.session.recipe import Recipe


@dataclass(frozen=True)
class Row:
    """One evaluation of z.

    Attributes
    ----------
    iteration, epoch, samples : how far training had come.
    elapsed_s : training time; evaluation and pauses not counted.
    evaluation_s : time spent in evaluations until now, this one included.
    samples_per_s : throughput since the previous row, on the training clock.
    train_loss : mean loss over learners and iterations since the previous row.
    test_loss, test_accuracy : of z; NaN without test data, accuracy NaN for regression.
    divergence : mean over learners of the Euclidean distance to z.
    learners, batch_size, learning_rate, algorithm : the setting at that moment; learners are those of each device.
    noise_scale_learners, noise_scale_probe : gradient noise scale in samples, where `Session.gradient_noise` measures
        it, else NaN. The learners' is biased, too large, once they have diverged; the probe's is not.
    devices : how many devices trained.
    samples_per_s_per_device : throughput of each: they keep step, so all have the same.
    """

    iteration: int
    epoch: float
    samples: int
    elapsed_s: float
    evaluation_s: float
    samples_per_s: float
    train_loss: float
    test_loss: float
    test_accuracy: float
    divergence: float
    learners: int
    batch_size: int
    learning_rate: float
    algorithm: str
    noise_scale_learners: float = math.nan
    noise_scale_probe: float = math.nan
    devices: int = 1
    samples_per_s_per_device: float = math.nan


@dataclass(frozen=True)
class LearnerRow:
    """One learner at one evaluation: its mean loss since the one before, and its Euclidean distance to z."""

    iteration: int
    learner: int
    train_loss: float
    distance: float


@dataclass(frozen=True)
class Event:
    """Something that happened: an adjustment, a restart, a choice of executor, a checkpoint, a failure."""

    iteration: int
    epoch: float
    elapsed_s: float
    kind: str
    detail: str


Entry = Row | LearnerRow | Event


class Log:
    """Entries of one kind. With a path, each is appended to a file of JSON lines at once: a crash loses none.

    Parameters
    ----------
    kind : the entries' class
    path : a file that doesn't exist yet, or None
    entries : what happened before, to begin with
    """

    def __init__(self, kind: type[Entry], path: Path | None = None, entries: Sequence[Entry] = ()) -> None:
        self.kind = kind
        self.entries: list[Any] = []
        self._path = path
        self._file: IO[str] | None = None if path is None else path.open("x", encoding="utf-8")
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Append one entry."""
        self.entries.append(entry)
        if self._file is not None:
            with _writing(self._path):
                self._file.write(json.dumps(to_json(entry)) + "\n")
                self._file.flush()

    def frame(self) -> pd.DataFrame:
        """Return all entries as a table, whose columns have the fields' types also where there are none."""
        entries = list(self.entries)
        return pd.DataFrame(
            {
                field.name: pd.Series([getattr(entry, field.name) for entry in entries], dtype=field.type)
                for field in fields(self.kind)
            }
        )

    def close(self) -> None:
        """Close the file, and write the whole table as Parquet beside it."""
        if self._file is not None and self._path is not None:
            self._file.close()
            self._file = None
            write_table(self.frame(), self._path.with_suffix(".parquet"))


class Record:
    """Everything that happened in one session: in memory, and as it happens in a folder if there is one.

    Parameters
    ----------
    folder : Path or None
        Gets ``history.jsonl``, ``learners.jsonl``, ``events.jsonl`` and ``recipe.json``, and Parquet when closed.
    past : name -> entries
        What happened before, as `entries_from_json` gives it.

    Raises
    ------
    ConfigurationError
        If the folder can't be written to, or holds the record of another session.
    """

    def __init__(self, folder: Path | None, past: dict[str, list[Any]] | None = None) -> None:
        past = past or {name: [] for name in _KINDS}
        paths = {name: None if folder is None else folder / f"{name}.jsonl" for name in _KINDS}
        for path in paths.values():
            if path is not None and path.exists():
                raise ConfigurationError(
                    f"{path} is there already: folder {folder} holds a session's record; give a new folder"
                )
        self.folder = folder
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            logs = [Log(kind, paths[name], past[name]) for name, kind in _KINDS.items()]
        except OSError as error:
            raise ConfigurationError(f"folder {folder} can't be written to ({error}); give one that can") from error
        self.rows, self.learner_rows, self.events = logs

    def write_recipe(self, recipe: Recipe) -> None:
        """Leave the recipe in the folder; the file is the old one or the whole new one, never half of it."""
        if self.folder is not None:
            draft = self.folder / ".recipe.json"
            with _writing(self.folder):
                draft.write_text(recipe.to_json(), encoding="utf-8")
                draft.replace(self.folder / "recipe.json")

    def entries_to_json(self) -> dict[str, list[dict[str, Any]]]:
        """Return all entries as JSON values, for a checkpoint."""
        logs = zip(_KINDS, (self.rows, self.learner_rows, self.events), strict=True)
        return {name: [to_json(entry) for entry in log.entries] for name, log in logs}

    def close(self) -> None:
        """Close the files."""
        for log in (self.rows, self.learner_rows, self.events):
            log.close()

    def release(self) -> None:
        """Close the files and go on in memory only: somebody else keeps what is in the folder."""
        self.close()
        self.folder = None


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, all of it or nothing: a table that is there is taken for the whole one."""
    draft = path.with_suffix(".part")
    frame.to_parquet(draft, index=False)
    draft.replace(path)


@contextmanager
def _writing(path: Path | None) -> Iterator[None]:
    """Say what to do where a file can't be written.

    Raises
    ------
    RunError
        In place of OSError.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path} can't be written ({error}). Nothing is lost: memory holds the record so far. Free space, then "
            "session.checkpoint(path), and Session.restore(path, folder=...) goes on"
        ) from error


def next_folder(first: Path) -> Path:
    """Return the first of ``first-2``, ``first-3`` and so on that isn't there."""
    numbers = itertools.count(2)
    return next(path for n in numbers if not (path := first.with_name(f"{first.name}-{n}")).exists())


_KINDS: dict[str, type[Entry]] = {"history": Row, "learners": LearnerRow, "events": Event}


def entries_from_json(values: dict[str, Any]) -> dict[str, list[Any]]:
    """Read what `Record.entries_to_json` gave.

    Raises
    ------
    KeyError, TypeError, AttributeError
        If it is something else.
    """
    return {name: [from_json(kind, entry) for entry in values[name]] for name, kind in _KINDS.items()}


def to_json(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON values; NaN becomes null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(entry).items()
    }


def from_json(kind: type[Entry], values: dict[str, Any]) -> Entry:
    """Read an entry from JSON values; null becomes NaN."""
    filled: dict[str, Any] = {name: math.nan if value is None else value for name, value in values.items()}
    return kind(**filled)


def time_to_accuracy(rows: Sequence[Row], goal: Accuracy) -> TimeToAccuracy | None:
    """Return when ``goal`` was first reached, or None if it wasn't."""
    for last in range(goal.window, len(rows) + 1):
        accuracies = [row.test_accuracy for row in rows[last - goal.window : last]]
        if not any(math.isnan(a) for a in accuracies) and statistics.median(accuracies) >= goal.target:
            row = rows[last - 1]
            return TimeToAccuracy(epochs=row.epoch, seconds=row.elapsed_s, samples=row.samples)
    return None
