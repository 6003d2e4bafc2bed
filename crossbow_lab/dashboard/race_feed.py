"""What a race's board shows: its tables and plots, and the rows that lanes add. No widgets, no threads."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from crossbow_lab.dashboard.columns import Floats
from crossbow_lab.dashboard.feed import Feed, Mark
from crossbow_lab.dashboard.figures import dashes, shades
from crossbow_lab.dashboard.plots import Line, Plot
from crossbow_lab.racing import Lane
from crossbow_lab.session import Row
from crossbow_lab.session.history import Record

_BY = {"elapsed_s": "by training time", "epoch": "by epochs", "samples": "by samples"}
_MARKED = ("adjustment", "restart", "target", "failure")
_LIVE_DASHES = {"dashdot": "dot"}  # the board has three


def tables(n_lanes: int) -> dict[str, tuple[str, ...]]:
    """Return the board's tables and their columns: two for each lane."""
    made: dict[str, tuple[str, ...]] = {}
    for place in range(n_lanes):
        made[f"train{place}"] = ("samples_per_s",)
        made[f"test{place}"] = ("test_accuracy", "median")
    return made


def plots(lanes: Sequence[Lane], *, has_target: bool) -> tuple[Plot, ...]:
    """Return the board's plots: test accuracy by everything that it can be compared by, and throughput.

    With a target the strong line is what counts: the median of the last evaluations; single ones are faint.
    """
    colours = lane_colours(lanes)
    kinds = dashes([lane.session.snapshot.algorithm for lane in lanes])
    looks = [(colour, _LIVE_DASHES.get(dash, dash)) for colour, dash in zip(colours, kinds, strict=True)]
    faint, strong, speed = [], [], []
    for place, (lane, (colour, dash)) in enumerate(zip(lanes, looks, strict=True)):
        test, train = f"test{place}", f"train{place}"
        if has_target:
            faint.append(Line("test_accuracy", f"{lane.name}, single", test, colour, faint=True))
        strong.append(Line("median" if has_target else "test_accuracy", lane.name, test, colour, dash))  # type: ignore[arg-type]  # one of three
        speed.append(Line("samples_per_s", lane.name, train, colour, dash))  # type: ignore[arg-type]
    accuracy = [
        Plot(
            f"Test accuracy of z, {words}",
            "test accuracy (%)",
            (*strong, *faint),
            x_axis=axis,
            target_line=True,
            y_percent=True,
        )
        for axis, words in _BY.items()
    ]
    return (*accuracy, Plot("Throughput", "samples/s", tuple(speed), x_axis="elapsed_s", from_zero=True))


def lane_colours(lanes: Sequence[Lane]) -> list[str]:
    """Return each lane's colour: that of the algorithm that it began with."""
    return shades([lane.session.snapshot.algorithm for lane in lanes])


class RaceFeed:
    """Reads all lanes' records once, from their beginning.

    Parameters
    ----------
    lanes : sequence of Lane
    window : int
        Evaluations in the median.
    """

    def __init__(self, lanes: Sequence[Lane], window: int) -> None:
        self._lanes, self._window = lanes, window
        self._feeds = [Feed(lane.session.record, 0) for lane in lanes]
        self._latest: list[list[float]] = [[] for _ in lanes]
        self.refusals: list[Mapping[tuple[str, ...], str]] = []

    @property
    def records(self) -> list[Record]:
        """What it reads: others once a session was reset."""
        return [feed.record for feed in self._feeds]

    def take(self) -> tuple[dict[str, Floats], list[Mark]]:
        """Return what is new: rows of each table, and marks with their lane's name; `refusals` has those per lane."""
        rows: dict[str, Floats] = {}
        marks: list[Mark] = []
        self.refusals = []
        for place, (lane, feed) in enumerate(zip(self._lanes, self._feeds, strict=True)):
            news = feed.take(lane.session.snapshot)
            self.refusals.append({refusal.names: refusal.reason for refusal in news.refusals})
            train = news.rows.get("train")
            if train is not None and train.shape[1]:
                rows[f"train{place}"] = train[:5]  # the x axes, and the smoothed throughput
            if news.evaluations:
                rows[f"test{place}"] = self._tested(place, news.evaluations)
            marks += [
                replace(mark, key=f"{place}-{mark.key}", text=_marked(lane, mark))
                for mark in news.marks
                if mark.kind in _MARKED
            ]
        return rows, marks

    def _tested(self, place: int, evaluations: Sequence[Row]) -> Floats:
        """Return evaluations as rows: accuracy, and the median of the last few."""
        made = []
        for row in evaluations:
            latest = self._latest[place] = [*self._latest[place], row.test_accuracy][-self._window :]
            x = float(row.iteration), row.epoch, float(row.samples), row.elapsed_s
            made.append([*x, row.test_accuracy, statistics.median(latest)])
        return np.array(made, np.float32).T


def _marked(lane: Lane, mark: Mark) -> str:
    """Say what a mark is, and whose."""
    return lane.name if mark.kind == "target" else f"{lane.name}: {mark.text}"
