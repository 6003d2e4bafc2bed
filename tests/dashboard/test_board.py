"""The widget that holds all live plots, without a browser: its state, its messages, its threads, its end."""

import json
import threading

import numpy as np
import pytest

from crossbow_lab.dashboard.board import Board, Line, Plot, Point
from crossbow_lab.dashboard.plotly_js import PlotlyJs, bundle
from crossbow_lab.errors import ConfigurationError

TABLES = {"train": ("loss",), "test": ("accuracy",)}
PLOTS = (
    Plot("Loss", "cross-entropy", (Line("loss", "training", "train"),)),
    Plot("Efficiency", "epochs", kind="points", x_title="samples/s"),
)


def block(start: int, m: int) -> np.ndarray:
    """Return m rows of one column from number ``start`` on; every value is the row's number."""
    return np.tile(np.arange(start, start + m, dtype=np.float32), (5, 1))


@pytest.fixture
def board():
    """Return a board, and close it in the end."""
    board = Board(TABLES, PLOTS)
    yield board
    board.close()


@pytest.fixture
def sent(board, monkeypatch):
    """Return the list of messages that the board sends."""
    messages = []
    monkeypatch.setattr(board, "send", lambda content, buffers=None: messages.append((content, buffers)))
    return messages


def test_the_whole_history_is_in_the_state_that_a_page_asks_for(board):
    """And what stands still is small: neither rows nor plotly.js are kept in a trait."""
    board.append({"train": block(0, 500), "test": block(0, 2)})
    state = board.get_state()

    assert state["_about"]["parts"] == [["train", 0, 500, "all", 10_000], ["test", 0, 2, "all", 40]]
    values = np.frombuffer(state["_snapshot"], np.float32)[: 5 * 500].reshape(5, 500)
    np.testing.assert_array_equal(values, block(0, 500))
    assert board._snapshot == b""
    assert board._about == {}
    assert "_snapshot" not in board.get_state("_spec")


def test_plotly_js_is_in_the_state_that_a_page_asks_for(board):
    """Compressed, and nowhere else."""
    library = board._library

    assert library.get_state()["gz"] == bundle()
    assert 1e6 < len(bundle()) < 2e6
    assert library.gz == b""


def test_an_update_is_one_message_for_all_plots(board, sent):
    """With rows, marks, points and target."""
    board.mark("a", (1, 0.1, 16, 0.5), "learners 2", "adjustment")
    board.points("Efficiency", [Point(100.0, 3.0, "SMA", "#0072B2", is_current=True)], samples_per_epoch=1e4)
    board.target(0.9)
    assert sent == []
    board.append({"train": block(0, 2), "test": block(0, 1)})

    ((message, buffers),) = sent
    assert message["parts"] == [["train", 0, 2, "rows"], ["test", 0, 1, "rows"]]
    assert message["marks"]["a"] == {"key": "a", "x": (1, 0.1, 16, 0.5), "text": "learners 2", "kind": "adjustment"}
    assert message["points"]["Efficiency"]["points"][0]["is_current"] is True
    assert message["target"] == 0.9
    assert [len(buffer) for buffer in buffers] == [40, 20]


def test_a_page_that_misses_rows_may_ask_for_the_whole(board, sent):
    """It gets it sooner than without asking; anything else it says is left alone."""
    board.append({"train": block(0, 10)})
    sent.clear()
    board._handle_custom_msg({"type": "something else"}, [])
    assert sent == []
    board._handle_custom_msg({"type": "whole"}, [])

    ((message, _),) = sent
    assert ["train", 0, 10, "all"] in message["parts"]


def test_length_counts_every_row(board):
    """Those thinned since included; from nothing after clearing."""
    for start in range(0, 60_000, 1_000):
        board.append({"train": block(start, 1_000)})
    assert (board.length("train"), board.length("test")) == (60_000, 0)
    board.clear()
    assert board.length("train") == 0


def test_threads_do_not_disturb_each_other(board, sent):
    """One appends, others mark, set points, clear nothing, and pages open: every row is told once, in order."""
    errors = []

    def guarded(work):
        try:
            for step in range(300):
                work(step)
        except Exception as error:
            errors.append(error)

    jobs = [
        lambda step: board.append({"train": block(2 * step, 2)}),
        lambda step: board.mark(f"mark {step % 7}", (step,) * 4, "restart", "restart"),
        lambda step: board.points("Efficiency", [Point(step, None, "SMA", "#0072B2")]),
        lambda _: board.get_state(),
    ]
    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    spans = [part[1:3] for message, _ in sent for part in message["parts"] if part[0] == "train"]
    new = [last for first, last in spans if last - first == 2]
    assert new == sorted(new)
    assert spans[-1][1] == board.length("train") == 600
    assert len(board.get_state()["_about"]["marks"]) == 7


def test_boards_share_one_plotly_js_until_the_last_closes():
    """Then nothing of them is left open."""
    first, second = Board(TABLES, PLOTS), Board(TABLES, PLOTS)
    library = first._library
    assert second._library is library
    first.close()
    first.close()
    assert library.comm is not None
    second.close()

    assert library.comm is None
    assert PlotlyJs.living is None
    third = Board(TABLES, PLOTS)
    assert third._library is not library
    third.close()


def test_a_board_says_the_same_of_itself_every_time(board):
    """Notebooks that are compared have no address in them."""
    assert repr(board) == "<live plots>"
    assert repr(board._library) == "<plotly.js>"


def test_the_page_gets_the_plots_as_they_were_given(board):
    """With the version of plotly.js that is to draw them."""
    spec = json.loads(board._spec)
    loss, efficiency = spec["plots"]

    assert spec["tables"] == {"train": ["loss"], "test": ["accuracy"]}
    assert loss["lines"] == [{"column": "loss", "label": "training", "table": "train"}]
    assert efficiency["x_title"] == "samples/s"
    assert spec["x_axis"] == 0
    assert spec["plotly"].count(".") >= 1


def test_a_board_of_many_learners_is_saved_small():
    """What a notebook is saved with: the script, and few words for each of 64 learners."""
    names = [f"{what}_{number}" for what in ("loss", "distance") for number in range(1, 65)]
    lines = tuple(Line(name, name, "learners", dash="dot" if name == "loss_1" else "solid") for name in names)
    board = Board({"learners": names}, [Plot("Learners", "loss", lines, kind="per_learner")])
    kept = {name: getattr(board, name) for name in ("_spec", "_esm", "_css", "_about")}
    board.close()

    assert len(json.dumps(kept)) < 50_000
    assert [line.get("dash") for line in json.loads(kept["_spec"])["plots"][0]["lines"]][:2] == ["dot", None]


@pytest.mark.parametrize(
    ("plots", "x_axis", "says"),
    [
        ([Plot("A", "y", (Line("loss", "a", "trian"),))], "epoch", "line 'a': no table 'trian'; did you mean 'train'"),
        ([Plot("A", "y", (Line("lss", "a", "train"),))], "epoch", "table 'train' has no column 'lss'; .*'loss'"),
        ([Plot("A", "y"), Plot("A", "y")], "epoch", "2 plots are called 'A'; give each its own title"),
        ([], "epochs", "x axis 'epochs' isn't one; did you mean 'epoch'"),
    ],
)
def test_plots_that_show_nothing_are_refused(plots, x_axis, says):
    """Before anything is displayed, and nothing of the board is left open."""
    with pytest.raises(ConfigurationError, match=says):
        Board(TABLES, plots, x_axis=x_axis)
    assert PlotlyJs.living is None


def test_marks_and_points_that_can_not_be_placed_are_refused(board):
    """Each says what is known."""
    with pytest.raises(ConfigurationError, match="mark kind 'adjust' isn't one; did you mean 'adjustment'"):
        board.mark("a", (1, 1, 1, 1), "text", "adjust")
    with pytest.raises(ConfigurationError, match=r"finite .iteration, epoch, samples, elapsed_s., not at"):
        board.mark("a", (1, 1, 1, float("nan")), "text")
    with pytest.raises(ConfigurationError, match=r"no plot of points is called 'Loss'.*Efficiency"):
        board.points("Loss", [])
    with pytest.raises(ConfigurationError, match=r"point 'SMA' is at \(nan, 2.0\).*leave it out"):
        board.points("Efficiency", [Point(float("nan"), 2.0, "SMA", "#0072B2")])
