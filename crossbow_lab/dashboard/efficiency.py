"""Hardware against statistical efficiency: how many samples a second each setting takes, and epochs to the target."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from crossbow_lab.dashboard.figures import COLOURS
from crossbow_lab.dashboard.plots import Point
from crossbow_lab.session import Accuracy, Row, Snapshot, TimeToAccuracy
from crossbow_lab.session.history import time_to_accuracy

Key = tuple[str, int, int]
_MOST_EARLIER = 12  # more points than that can't be told apart


@dataclass(frozen=True)
class Efficiency:
    """One setting.

    Attributes
    ----------
    algorithm, learners, batch_size : the setting.
    samples, seconds : trained with it.
    epochs_to_target : from the session's start to the target, reached with this setting; None if it wasn't.
    is_pure : whether the session had no other setting before.
    """

    algorithm: str
    learners: int
    batch_size: int
    samples: int = 0
    seconds: float = 0.0
    epochs_to_target: float | None = None
    is_pure: bool = True

    @property
    def samples_per_s(self) -> float:
        """Throughput; NaN before there is one."""
        return self.samples / self.seconds if self.seconds > 0 else math.nan

    @property
    def label(self) -> str:
        """The setting in few words."""
        return f"{self.algorithm} {self.learners}×{self.batch_size}" + ("" if self.is_pure else ", after others")


class Efficiencies:
    """Settings of one session and of what it was before each reset.

    Parameters
    ----------
    goal : Accuracy or None
        What is to be reached.
    """

    def __init__(self, goal: Accuracy | None) -> None:
        self.goal = goal
        self.reached: TimeToAccuracy | None = None
        self._earlier: list[Efficiency] = []
        self._settings: dict[Key, Efficiency] = {}
        self._rows: list[Row] = []

    @property
    def median(self) -> float:
        """Median test accuracy of the last evaluations: what must reach the target; NaN before there are any."""
        window = self.goal.window if self.goal else 1
        recent = [row.test_accuracy for row in self._rows[-window:]]
        return statistics.median(recent) if recent else math.nan

    def aim(self, goal: Accuracy | None) -> None:
        """Take another target; what was reached is found again, in the present session only."""
        rows, self._earlier = self._rows, []
        self.goal = goal
        self._begin()
        self.add(rows)

    def reset(self) -> None:
        """Begin with a session that was reset; what it had until then stays as earlier settings."""
        settings = [setting for setting in self._settings.values() if setting.seconds > 0]
        reached = [setting for setting in settings if setting.epochs_to_target is not None]
        self._earlier = [*self._earlier, *(reached or settings[-1:])][-_MOST_EARLIER:]
        self._begin()

    def _begin(self) -> None:
        """Know nothing of the present session."""
        self.reached, self._settings, self._rows = None, {}, []

    def add(self, rows: Sequence[Row]) -> None:
        """Take in evaluations."""
        for row in rows:
            before = self._rows[-1] if self._rows else None
            self._rows.append(row)
            key = (row.algorithm, row.learners, row.batch_size)
            setting = self._settings.get(key) or Efficiency(*key, is_pure=not self._settings)
            if before is None or key == (before.algorithm, before.learners, before.batch_size):
                samples, seconds = (before.samples, before.elapsed_s) if before else (0, 0.0)
                setting = replace(
                    setting,
                    samples=setting.samples + row.samples - samples,
                    seconds=setting.seconds + row.elapsed_s - seconds,
                )
            self._settings[key] = self._aimed(setting)

    def _aimed(self, setting: Efficiency) -> Efficiency:
        """Note it where the last row reaches the target."""
        if self.goal is None or self.reached is not None:
            return setting
        recent = self._rows[-self.goal.window :]
        self.reached = time_to_accuracy(recent, self.goal)
        return setting if self.reached is None else replace(setting, epochs_to_target=self.reached.epochs)

    def points(self, now: Snapshot) -> tuple[Point, ...]:
        """Return what is drawn: earlier settings, this session's, and the present one by its snapshot."""
        key = (now.algorithm, now.learners, now.batch_size)
        reached = [setting for setting in self._settings.values() if setting.epochs_to_target is not None]
        others = [setting for setting in reached if _key(setting) != key]
        points = [_point(setting, setting.samples_per_s) for setting in (*self._earlier, *others)]
        # A setting that came when another had reached the target tells nothing about epochs.
        if len(others) == len(reached) == 0 or len(others) < len(reached):
            current = self._settings.get(key) or Efficiency(*key, is_pure=not self._settings)
            speed = now.samples_per_s if math.isnan(current.samples_per_s) else current.samples_per_s
            points.append(_point(current, speed, is_current=True))
        return tuple(point for point in points if math.isfinite(point.x))


def _key(setting: Efficiency) -> Key:
    """Return what tells a setting from others."""
    return setting.algorithm, setting.learners, setting.batch_size


def _point(setting: Efficiency, speed: float, *, is_current: bool = False) -> Point:
    """Return a setting as a labelled point."""
    colour = COLOURS[setting.algorithm]
    return Point(speed, setting.epochs_to_target, setting.label, colour, is_current=is_current)
