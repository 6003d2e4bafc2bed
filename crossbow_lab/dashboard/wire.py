"""What a board tells its pages: one message per update for all plots, and a snapshot for a page that opens.

A message holds the new rows of each table with their numbers, so a page knows when it missed some. What a page
missed, for instance while it was loading, comes again without its asking: every few seconds the rows of the last
few seconds, and every minute the whole history in few rows. Messages don't grow with the history.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from crossbow_lab.dashboard.columns import X_AXES, Columns, Floats
from crossbow_lab.dashboard.plots import Mark, Point
from crossbow_lab.errors import ConfigurationError, nearest

_TAIL_EVERY_S, _TAIL_S = 5.0, 6.0
_WHOLE_EVERY_S, _WHOLE_ROWS = 60.0, 2_000
_TAIL_ROWS = 2_000  # most rows of a table in a tail: at thousands of rows a second a page waits for the whole
_AFTER_OPENING_S = (0.4, 1.2, 3.0)  # a page that asked for the state misses rows until its JavaScript runs
_VALUES_IN_FULL = 400_000  # most values that a table's newest rows take: 1.6 MB
_MARKS = 500

Message = tuple[dict[str, Any], list[bytes]]


class Wire:
    """The tables, marks and points of a board, and when to tell what of them. Not safe for several threads.

    Parameters
    ----------
    tables : mapping of str to sequence of str
        Columns of each table, without the x axes.
    now_s : float
        Time on a clock that never goes back, as for all methods.
    """

    def __init__(self, tables: Mapping[str, Sequence[str]], now_s: float) -> None:
        self.columns = {name: _columns(len(X_AXES) + len(columns)) for name, columns in tables.items()}
        self.generation = -1
        self._openings: list[float] = []
        self.clear(now_s)

    def clear(self, now_s: float) -> None:
        """Forget everything; pages do so with the next message, whose generation is another."""
        for columns in self.columns.values():
            columns.clear()
        self.generation += 1
        self._marks: dict[str, tuple[float, Mark]] = {}  # with the time of the last change, in its order
        self._points: dict[str, dict[str, Any]] = {}
        self._target: float | None = None
        self._until: float | None = None
        self._news: dict[str, Any] = {"cleared": True}
        self._tail_at, self._whole_at = now_s + _TAIL_EVERY_S, now_s + _WHOLE_EVERY_S
        self._tails = deque([(now_s, dict.fromkeys(self.columns, 0))])

    def mark(self, mark: Mark, now_s: float) -> None:
        """Set a mark, in the place of the one with the same key."""
        self._marks.pop(mark.key, None)
        self._marks[mark.key] = (now_s, mark)
        if len(self._marks) > _MARKS:
            del self._marks[next(iter(self._marks))]
        self._news.setdefault("marks", {})[mark.key] = asdict(mark)

    def points(self, title: str, points: Sequence[Point], samples_per_epoch: float | None) -> None:
        """Replace the points of a plot."""
        known = {"points": [asdict(point) for point in points], "samples_per_epoch": samples_per_epoch}
        self._points[title] = known
        self._news.setdefault("points", {})[title] = known

    def target(self, accuracy: float | None) -> None:
        """Set the target, or none."""
        self._target = self._news["target"] = accuracy

    def until(self, iteration: float | None) -> None:
        """Show rows and marks up to an iteration only; None shows all."""
        self._until = self._news["until"] = iteration

    def append(self, rows: Mapping[str, Floats], now_s: float) -> Message | None:
        """Append rows; return the message that is due, if there is one."""
        blocks = {name: self._checked(name, block) for name, block in rows.items()}
        parts, buffers = [], []
        for name, block in blocks.items():
            if block.shape[1]:
                columns = self.columns[name]
                columns.append(block)
                parts.append([name, columns.n_rows - block.shape[1], columns.n_rows, "rows"])
                buffers.append(block.tobytes())
        if now_s >= self._whole_at:
            return self.whole(now_s)
        if self._is_opening(now_s) or now_s >= self._tail_at:
            return self._tail(now_s)
        if not parts and not self._news:
            return None
        return self._told({**self._take_news(), "parts": parts}), buffers

    def whole(self, now_s: float) -> Message:
        """Return the newest rows, and the whole history in few rows for pages that miss more than those."""
        message, buffers = self._tail(now_s)
        self._whole_at = now_s + _WHOLE_EVERY_S
        for name, columns in self.columns.items():
            message["parts"].append([name, 0, columns.n_rows, "all"])
            buffers.append(columns.summary(_WHOLE_ROWS).tobytes())
        message["marks"] = self._all_marks()
        return message, buffers

    def snapshot(self, now_s: float) -> tuple[dict[str, Any], bytes]:
        """Return everything, for a page that opens now: what it is, and all tables' rows one after the other."""
        parts, buffers = [], []
        for name, columns in self.columns.items():
            buffers.append(columns.everything().tobytes())
            parts.append([name, 0, columns.n_rows, "all", len(buffers[-1])])
        self._openings = [now_s + wait_s for wait_s in _AFTER_OPENING_S]
        return self._told({**self._standing(), "parts": parts, "marks": self._all_marks()}), b"".join(buffers)

    def _tail(self, now_s: float) -> Message:
        """Return the rows and marks of the last few seconds, and what else there is."""
        while len(self._tails) > 1 and self._tails[1][0] <= now_s - _TAIL_S:
            self._tails.popleft()
        since_s, firsts = self._tails[0]
        parts, buffers = [], []
        for name, columns in self.columns.items():
            first = max(firsts[name], columns.n_rows - _TAIL_ROWS, columns.first_in_full)
            parts.append([name, first, columns.n_rows, "rows"])
            buffers.append(columns.since(first).tobytes())
        self._tail_at = now_s + _TAIL_EVERY_S
        self._tails.append((now_s, {name: columns.n_rows for name, columns in self.columns.items()}))
        marks = {mark.key: asdict(mark) for changed_s, mark in self._marks.values() if changed_s >= since_s}
        return self._told({**self._take_news(), **self._standing(), "parts": parts, "marks": marks}), buffers

    def _is_opening(self, now_s: float) -> bool:
        """Tell whether a page that opened is due to be told again."""
        due = [at_s for at_s in self._openings if at_s <= now_s]
        self._openings = self._openings[len(due) :]
        return bool(due)

    def _checked(self, name: str, block: Floats) -> Floats:
        """Return a block as it is stored, or refuse it."""
        if name not in self.columns:
            raise ConfigurationError(f"no table {name!r}; {nearest(name, self.columns)}")
        stored: Floats = np.ascontiguousarray(block, "<f4")
        needed = self.columns[name].n_columns
        if stored.ndim != 2 or len(stored) != needed:
            raise ConfigurationError(
                f"rows of table {name!r} have shape {stored.shape}; give ({needed}, m): {', '.join(X_AXES)}, and the "
                f"table's {needed - len(X_AXES)} columns"
            )
        return stored

    def _take_news(self) -> dict[str, Any]:
        """Return what was set since the last message."""
        news, self._news = self._news, {}
        return news

    def _standing(self) -> dict[str, Any]:
        """Return what every page knows at all times, except rows and marks."""
        return {"points": self._points, "target": self._target, "until": self._until}

    def _all_marks(self) -> dict[str, dict[str, Any]]:
        """Return all marks by key."""
        return {key: asdict(mark) for key, (_, mark) in self._marks.items()}

    def _told(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return a message with the generation that it belongs to."""
        return {**message, "generation": self.generation}


def _columns(n_columns: int) -> Columns:
    """Return an empty table whose memory is bounded however many columns it has."""
    newest = min(20_000, _VALUES_IN_FULL // n_columns)
    return Columns(n_columns, newest=newest, older=2 * newest // 5)


def now() -> float:
    """Return the time in seconds on the clock that a wire's times are on."""
    return time.monotonic()
