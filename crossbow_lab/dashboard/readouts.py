"""The numbers above the plots: two pieces of HTML, of a width and height that no number changes.

The first, state and message, is read to people who can't see it whenever it changes; the second, with numbers that
change all the time, is not.
"""

import html
import math
from dataclasses import dataclass

from crossbow_lab.session import Accuracy, Snapshot, TimeToAccuracy
from crossbow_lab.session.progress import seconds_left, share_done


@dataclass(frozen=True)
class Standing:
    """What the readouts show.

    Attributes
    ----------
    now : the session's snapshot.
    goal, reached, median : the target; when it was reached; the median accuracy that must reach it.
    cost_share : of one core, what the dashboard itself takes; NaN if that isn't known.
    message, is_refusal : of the last button.
    traceback : of a failure.
    """

    now: Snapshot
    goal: Accuracy | None = None
    reached: TimeToAccuracy | None = None
    median: float = math.nan
    cost_share: float = math.nan
    message: str = ""
    is_refusal: bool = False
    traceback: str | None = None


def status(standing: Standing) -> str:
    """Return state and message as HTML."""
    now = standing.now
    if now.state == "failed":
        kind, message = "refused", f"training failed: {now.error}"
    else:
        kind, message = "refused" if standing.is_refusal else "hint", standing.message
    folded = ""
    if standing.traceback:
        text = html.escape(standing.traceback)
        folded = f"<details><summary>where it happened</summary><pre>{text}</pre></details>"
    return (
        f'<div class="cb-status" role="status" aria-live="polite" data-state="{now.state}">'
        f'<span class="cb-state cb-state-{now.state}">{now.state}</span>'
        f'<span class="cb-message cb-{kind}">{html.escape(message)}</span>{folded}</div>'
    )


def numbers(standing: Standing) -> str:
    """Return the progress bar and the numbers as HTML."""
    now = standing.now
    cells = [
        ("epoch", f"{now.epoch:.2f}", "progress"),
        ("iteration", f"{now.iteration:,}", ""),
        ("samples/s", _number(now.samples_per_s, ",.0f"), _pace(now)),
        ("training loss", _number(now.train_loss, ".4f"), "mean of the learners"),
        ("test accuracy", _number(now.test_accuracy, ".2%"), "of z, the last evaluation"),
        (*_target(standing), "epochs and training time until the target was reached"),
        ("training time", _time(now.elapsed_s), f"and {now.evaluation_s:.1f} s of evaluation"),
        ("time left", _left(now), "at most, at the present pace"),
        ("dashboard", _number(standing.cost_share, ".1%"), "what it costs itself, in per cent of one core"),
    ]
    shown = "".join(
        f'<div class="cb-cell" title="{html.escape(title)}"><div>{html.escape(name)}</div><b>{value}</b></div>'
        for name, value, title in cells
    )
    return f'{_bar(now)}<div class="cb-numbers">{shown}</div>'


def _pace(now: Snapshot) -> str:
    """Say of what the throughput is."""
    if now.devices == 1:
        return "over the last second"
    each = _number(now.samples_per_s / now.devices, ",.0f")
    return f"over the last second, of {now.devices} devices together: {each} each"


def _bar(now: Snapshot) -> str:
    """Return the progress bar: to the nearest limit, or through the epoch where there is none."""
    share = share_done(now, now.limits)
    name = "of this run" if share is not None else "of this epoch"
    share = now.epoch % 1.0 if share is None else share
    percent = f"{100 * share:.1f}"
    return (
        f'<div class="cb-bar" role="progressbar" aria-label="progress {name}" title="{percent} % {name}" '
        f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}"><div style="width:{percent}%"></div></div>'
    )


def _target(standing: Standing) -> tuple[str, str]:
    """Return name and value of the cell about the target."""
    if standing.goal is None:
        return "target", "none"
    name = f"to {100 * standing.goal.target:g} %"
    if standing.reached is not None:
        return name, f"{standing.reached.epochs:.2f} epochs, {_time(standing.reached.seconds)}"
    at = "" if math.isnan(standing.median) else f" (now {standing.median:.1%})"
    return name, f"not yet{at}"


def _left(now: Snapshot) -> str:
    """Return the time that is left."""
    left_s = seconds_left(now, now.limits)
    return "–" if left_s is None or now.state in ("finished", "stopped", "failed") else _time(left_s)


def _time(seconds: float) -> str:
    """Write a span of time."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d} min"


def _number(value: float, form: str) -> str:
    """Write a number, or a dash where there is none."""
    return format(value, form) if math.isfinite(value) else "–"
