"""Who is where: the table of a race."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from crossbow_lab.racing.lane import Lane


def standings(lanes: Sequence[Lane]) -> pd.DataFrame:
    """Return one row per lane: first those that reached the target, by their own time; then by accuracy."""
    rows = sorted((_row(lane) for lane in lanes), key=_order)
    for place, row in enumerate(rows, start=1):
        row["place"] = place
    return pd.DataFrame(rows)


def _row(lane: Lane) -> dict[str, Any]:
    """Return what is known of a lane."""
    now, reached = lane.session.snapshot, lane.reached
    return {
        "place": 0,
        "lane": lane.name,
        "state": lane.state,
        "seconds_to_target": math.nan if reached is None else reached.seconds,
        "epochs_to_target": math.nan if reached is None else reached.epochs,
        "samples_to_target": math.nan if reached is None else float(reached.samples),
        "test_accuracy": now.test_accuracy,
        "elapsed_s": now.elapsed_s,
        "epoch": now.epoch,
        "samples_per_s": now.samples / now.elapsed_s if now.elapsed_s > 0 else math.nan,
        "algorithm": now.algorithm,
        "learners": now.learners,
        "batch_size": now.batch_size,
        "learning_rate": now.learning_rate,
    }


def _order(row: dict[str, Any]) -> tuple[float, float]:
    """Return what rows are sorted by."""
    seconds, accuracy = row["seconds_to_target"], row["test_accuracy"]
    return math.inf if math.isnan(seconds) else seconds, -(0.0 if math.isnan(accuracy) else accuracy)
