"""What a board tells its pages: deltas, what was missed again, and a snapshot; on a clock of the test's own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crossbow_lab.dashboard.plots import Point, checked_mark
from crossbow_lab.dashboard.wire import Wire
from crossbow_lab.errors import ConfigurationError

TABLES = {"train": ("loss", "speed"), "test": ("accuracy",)}
TICK_S = 0.1


def block(start: int, m: int, n_columns: int = 2) -> np.ndarray:
    """Return m rows from number ``start`` on; every value of a row is its number."""
    return np.tile(np.arange(start, start + m, dtype=np.float32), (4 + n_columns, 1))


class Page:
    """Takes messages as a page does: rows by their numbers, the whole only where rows are missing."""

    def __init__(self, wire: Wire, now_s: float) -> None:
        about, snapshot = wire.snapshot(now_s)
        self.rows: dict[str, list[float]] = {name: [] for name in TABLES}
        self.next = dict.fromkeys(TABLES, 0)
        self.marks: dict[str, Any] = {}
        self.generation = -1
        ends = np.cumsum([0, *(part[4] for part in about["parts"])])
        parts = [snapshot[ends[i] : ends[i + 1]] for i in range(len(about["parts"]))]
        self.take(about, parts)

    def take(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        """Take one message."""
        if message["generation"] != self.generation:
            self.generation = message["generation"]
            self.rows, self.next, self.marks = {name: [] for name in TABLES}, dict.fromkeys(TABLES, 0), {}
        self.marks.update(message.get("marks", {}))
        for (name, first, last, kind, *_), buffer in zip(message["parts"], buffers, strict=True):
            numbers = np.frombuffer(buffer, np.float32).reshape(4 + len(TABLES[name]), -1)[-1].tolist()
            have = self.next[name]
            if last <= have or (kind == "rows" and first > have):
                continue
            self.rows[name] = numbers if kind == "all" else self.rows[name] + numbers[have - first :]
            self.next[name] = last


def run(wire: Wire, seconds: float, start_s: float, see: Callable[[dict[str, Any], list[bytes]], None]) -> float:
    """Let time pass at ten updates a second, two rows each; return the time then."""
    for tick in range(round(seconds / TICK_S)):
        now_s = start_s + tick * TICK_S
        message = wire.append({"train": block(wire.columns["train"].n_rows, 2)}, now_s)
        if message is not None:
            see(*message)
    return start_s + seconds


def test_an_update_brings_new_rows_with_their_numbers_and_nothing_else():
    """One message for all tables."""
    wire = Wire(TABLES, 0.0)
    first, _ = wire.append({"train": block(0, 3), "test": block(0, 1, 1)}, 0.1)
    second, buffers = wire.append({"train": block(3, 2)}, 0.2)

    assert first["parts"] == [["train", 0, 3, "rows"], ["test", 0, 1, "rows"]]
    assert second == {"parts": [["train", 3, 5, "rows"]], "generation": 0}
    assert buffers == [block(3, 2).tobytes()]


def test_nothing_new_is_no_message():
    """Until it is time to say again what was said."""
    wire = Wire(TABLES, 0.0)
    wire.append({}, 0.1)

    assert wire.append({}, 0.2) is None
    assert wire.append({"train": block(0, 0)}, 0.3) is None
    assert wire.append({}, 5.0) is not None


def test_a_page_that_missed_messages_has_all_rows_within_seconds():
    """Whichever messages of a few seconds are lost, the rows come again without its asking."""
    wire = Wire(TABLES, 0.0)
    page = Page(wire, 0.0)
    now_s = run(wire, 7.3, 0.0, page.take)
    now_s = run(wire, 4.0, now_s, lambda *_: None)
    run(wire, 5.1, now_s, page.take)

    assert page.rows["train"] == list(range(wire.columns["train"].n_rows))


def test_a_page_that_missed_a_minute_has_the_whole_history_within_another():
    """In fewer rows, but from the first to the last."""
    wire = Wire(TABLES, 0.0)
    page = Page(wire, 0.0)
    now_s = run(wire, 65.0, 0.0, lambda *_: None)
    run(wire, 61.0, now_s, page.take)

    assert page.next["train"] == wire.columns["train"].n_rows
    assert (page.rows["train"][0], page.rows["train"][-1]) == (0, wire.columns["train"].n_rows - 1)


def test_a_page_that_opens_has_everything_and_goes_on():
    """What comes while its JavaScript is loading comes again soon, also where nothing is new any more."""
    wire = Wire(TABLES, 0.0)
    now_s = run(wire, 30.0, 0.0, lambda *_: None)
    page = Page(wire, now_s)
    assert page.rows["train"] == list(range(600))

    now_s = run(wire, 1.0, now_s, lambda *_: None)  # not there yet
    told = [wire.append({}, now_s + tick * TICK_S) for tick in range(5)]
    for message in told:
        if message is not None:
            page.take(*message)
    assert page.rows["train"] == list(range(620))


def test_messages_do_not_grow_with_the_history():
    """A minute of updates costs as many bytes after an hour as after a minute."""
    wire = Wire(TABLES, 0.0)
    sizes = []

    def measure(message: dict[str, Any], buffers: list[bytes]) -> None:
        sizes.append(len(repr(message)) + sum(map(len, buffers)))

    now_s = run(wire, 120.0, 0.0, measure)
    early = sum(sizes[600:])
    now_s = run(wire, 3_600.0, now_s, lambda *_: None)
    sizes.clear()
    run(wire, 60.0, now_s, measure)

    assert sum(sizes) < 1.1 * early + wire.columns["train"].summary(2_000).nbytes


def test_a_mark_with_the_same_key_takes_its_place():
    """The steps of one drag are one mark, on every page."""
    wire = Wire(TABLES, 0.0)
    page = Page(wire, 0.0)
    for step in range(3):
        wire.mark(checked_mark("drag", (step,) * 4, f"learners {step}", "adjustment"), 0.1)
        page.take(*wire.append({}, 0.1 * step))
    wire.mark(checked_mark("other", (9,) * 4, "restart", "restart"), 0.5)
    page.take(*wire.append({}, 0.5))

    assert {key: mark["text"] for key, mark in page.marks.items()} == {"drag": "learners 2", "other": "restart"}
    assert Page(wire, 1.0).marks == page.marks


def test_many_marks_are_no_more_than_a_few_hundred():
    """The oldest go, and what is said every few seconds holds only the newest."""
    wire = Wire(TABLES, 0.0)
    for number in range(800):
        wire.mark(checked_mark(str(number), (number,) * 4, "x", "adjustment"), 0.01 * number)
    told, _ = wire.append({}, 30.0)

    assert list(Page(wire, 31.0).marks) == [str(number) for number in range(300, 800)]
    wire.append({}, 36.0)
    later, _ = wire.append({}, 42.0)
    assert len(told["marks"]) > len(later["marks"]) == 0


def test_points_target_and_moment_are_told_once_and_to_every_page_that_opens():
    """And again with what is said every few seconds."""
    wire = Wire(TABLES, 0.0)
    wire.points("efficiency", [Point(10.0, None, "k = 2", "#0072B2")], 5_000.0)
    wire.target(0.97)
    wire.until(50.0)
    told, _ = wire.append({}, 0.1)
    about, _ = wire.snapshot(0.2)
    again, _ = wire.append({}, 6.0)

    for message in (told, about, again):
        assert message["target"] == 0.97
        assert message["until"] == 50.0
        assert message["points"]["efficiency"]["points"][0]["label"] == "k = 2"
        assert message["points"]["efficiency"]["samples_per_epoch"] == 5_000.0
    assert wire.append({}, 6.1) is None


def test_clearing_empties_every_page():
    """By a message of its own, and also a page that misses this one learns it from the next."""
    wire = Wire(TABLES, 0.0)
    pages = [Page(wire, 0.0), Page(wire, 0.0)]
    run(wire, 1.0, 0.0, lambda *message: [page.take(*message) for page in pages])
    wire.mark(checked_mark("a", (1,) * 4, "restart", "restart"), 1.0)
    wire.clear(1.1)
    message = wire.append({}, 1.2)
    pages[0].take(*message)
    assert (pages[0].rows["train"], pages[0].marks) == ([], {})

    run(wire, 1.0, 1.3, lambda *message: [page.take(*message) for page in pages])
    run(wire, 5.0, 2.3, lambda *message: [page.take(*message) for page in pages])
    assert pages[0].rows == pages[1].rows
    assert pages[0].rows["train"] == list(range(120))


def test_a_day_of_updates_takes_little_memory():
    """Sixteen learners with loss and distance, ten updates a second: less than 10 MB."""
    learners = tuple(f"{what}_{number}" for what in ("loss", "distance") for number in range(16))
    wire = Wire({"train": ("a", "b", "c", "d"), "learners": learners}, 0.0)
    for start in range(0, 864_000, 2_000):
        wire.columns["train"].append(block(start, 2_000, 4))
        wire.columns["learners"].append(block(start, 2_000, 32))

    assert sum(columns._memory.nbytes for columns in wire.columns.values()) < 10e6
    assert len(wire.snapshot(0.0)[1]) < 6e6


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ({"trian": block(0, 1)}, "no table 'trian'; did you mean 'train'"),
        ({"train": block(0, 1, 3)}, r"shape \(7, 1\); give \(6, m\): iteration, epoch, samples, elapsed_s, and the"),
        ({"train": np.zeros(6, np.float32)}, r"shape \(6,\); give \(6, m\)"),
    ],
)
def test_rows_that_fit_no_table_are_refused_and_none_is_kept(rows, says):
    """Not even those of a table where they fit."""
    wire = Wire(TABLES, 0.0)
    with pytest.raises(ConfigurationError, match=says):
        wire.append({"test": block(0, 1, 1), **rows}, 0.1)
    assert wire.columns["test"].n_rows == 0
