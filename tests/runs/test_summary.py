"""What a comparison says, as a table and as a sentence."""

import math
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.runs import summarise, verdict
from crossbow_lab.session import Accuracy, TimeToAccuracy

TARGET = Accuracy(0.97)


def _sessions(*epochs: float, seconds_per_epoch: float = 0.5) -> list[Any]:
    """Return stand-ins for sessions that reached the target after so many epochs; infinity: never."""
    return [_session(value, seconds_per_epoch) for value in epochs]


def _session(epochs: float, seconds_per_epoch: float) -> Any:
    """Return a stand-in for one session."""
    reached = TimeToAccuracy(epochs, epochs * seconds_per_epoch, 0) if math.isfinite(epochs) else None
    history = pd.DataFrame({"samples": [1000, 4000], "elapsed_s": [0.5, 2.0], "test_accuracy": [0.5, 0.975]})
    return SimpleNamespace(history=history, time_to_accuracy=lambda _: reached)


def test_it_takes_medians_and_ranges_over_seeds() -> None:
    """One row per label."""
    table = summarise({"SMA": _sessions(4.0, 5.0, 9.0)}, TARGET)
    row = table.iloc[0].to_dict()
    assert row == {
        "algorithm": "SMA",
        "runs": 3,
        "reached": 3,
        "epochs_to_target": 5.0,
        "epochs_range": "4 to 9",
        "seconds_to_target": 2.5,
        "seconds_range": "2 to 4.5",
        "samples_per_s": 2000.0,
        "final_accuracy": 0.975,
    }


def test_it_counts_a_run_that_never_got_there_as_infinitely_long() -> None:
    """A run isn't dropped because it didn't reach the target."""
    table = summarise({"SMA": _sessions(4.0, math.inf, math.inf), "S-SGD": _sessions(math.inf)}, TARGET)
    assert table["reached"].tolist() == [1, 0]
    assert table["epochs_to_target"].tolist() == [math.inf, math.inf]
    assert table["epochs_range"].tolist() == ["4 to 4, 2 never", "never"]


def test_it_says_who_was_ahead_whoever_it_is() -> None:
    """The sentence follows the numbers, not the order of the labels; epochs and time may differ."""
    fast, slow = _sessions(3.0, 4.0, 5.0, seconds_per_epoch=2.0), _sessions(6.0, 7.0, 8.0, seconds_per_epoch=0.1)
    said = verdict({"SMA": slow, "S-SGD": fast}, TARGET)
    assert (
        "To 97 % test accuracy\nby epochs, S-SGD was ahead with every seed: median 4 epochs (3 to 5) against 7" in said
    )
    assert "by training time, SMA was ahead with every seed: median 0.7 s (0.6 to 0.8) against 8 s (6 to 10)" in said
    assert "3 seeds on one workload and one machine, and no more than that" in said


def test_it_says_when_seeds_disagree() -> None:
    """A lead with some of the seeds is called that."""
    said = verdict({"SMA": _sessions(3.0, 4.0, 9.0), "S-SGD": _sessions(5.0, 6.0, 7.0)}, TARGET)
    assert "SMA was ahead with 2 of 3 seeds only" in said


def test_it_says_when_the_target_was_not_reached() -> None:
    """One of them, or both."""
    said = verdict({"SMA": _sessions(3.0), "S-SGD": _sessions(math.inf)}, TARGET)
    assert "SMA was ahead with every seed: median 3 epochs (3 to 3) against not reached" in said
    assert "1 seed on" in said
    said = verdict({"SMA": _sessions(math.inf), "S-SGD": _sessions(math.inf)}, TARGET)
    assert "by epochs, neither SMA nor S-SGD got there in half of the runs" in said


def test_it_refuses_what_it_cannot_compare() -> None:
    """A verdict is about two, pair by pair; a summary needs something to summarise."""
    with pytest.raises(ConfigurationError, match="needs two labels with equally many sessions"):
        verdict({"SMA": _sessions(3.0)}, TARGET)
    with pytest.raises(ConfigurationError, match="equally many"):
        verdict({"SMA": _sessions(3.0), "S-SGD": _sessions(3.0, 4.0)}, TARGET)
    with pytest.raises(ConfigurationError, match="'SMA' has no session; repeats must be at least 1"):
        summarise({"SMA": []}, TARGET)
