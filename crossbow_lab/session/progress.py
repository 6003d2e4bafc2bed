"""How a session stands, in one line of text."""

import math

from crossbow_lab.session.limits import Limits
from crossbow_lab.session.observer import Snapshot


def standing(now: Snapshot) -> str:
    """Return what trains and how far it is."""
    devices = f"{now.devices} devices x " if now.devices > 1 else ""
    return f"{now.algorithm}, {devices}{now.learners} learners x {now.batch_size}, iteration {now.iteration}"


def progress_line(now: Snapshot, limits: Limits, epoch_samples: int) -> str:
    """Return one line of text that says how training stands and about how long it still takes."""
    parts = [
        f"{now.algorithm:<6}",
        f"epoch {now.epoch:.2f}" + (f"/{_short(limits.position / epoch_samples)}" if limits.position else ""),
        f"iteration {now.iteration:,}" + (f"/{limits.iteration:,}" if limits.iteration else ""),
        f"{now.samples_per_s:,.0f} samples/s" if math.isfinite(now.samples_per_s) else "",
        f"loss {now.train_loss:.4f}",
        "" if math.isnan(now.test_accuracy) else f"test accuracy {now.test_accuracy:.2%}",
        f"{now.elapsed_s:.0f} s",
        _time_left(now, limits),
    ]
    return "  ".join(part for part in parts if part)


def _short(epochs: float) -> str:
    """Write a number of epochs with two decimals at most."""
    return f"{epochs:.2f}".rstrip("0").rstrip(".")


def _time_left(now: Snapshot, limits: Limits) -> str:
    """Estimate the time to the nearest limit from the share that is done."""
    left_s = seconds_left(now, limits)
    return "" if left_s is None else f"at most {left_s:.0f} s left"


def seconds_left(now: Snapshot, limits: Limits) -> float | None:
    """Return about how long training still takes at most; None where nothing says so."""
    share = share_done(now, limits)
    return now.elapsed_s * (1 / share - 1) if share and share < 1 else None


def share_done(now: Snapshot, limits: Limits) -> float | None:
    """Return how much of the way to the nearest limit is done, counted from the session's start; None without limit."""
    shares = [
        done / limit
        for done, limit in (
            (now.iteration, limits.iteration),
            (now.samples, limits.position),
            (now.elapsed_s, limits.seconds),
        )
        if limit
    ]
    return min(1.0, max(shares)) if shares else None
