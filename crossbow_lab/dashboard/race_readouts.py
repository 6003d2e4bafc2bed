"""The texts of a race: how it stands, its table, and its lanes' headings, as HTML."""

import html
import math
from collections.abc import Sequence

from crossbow_lab.racing import Lane
from crossbow_lab.session import Accuracy

_ENDS = {1: "st", 2: "nd", 3: "rd"}


def table(lanes: Sequence[Lane], colours: Sequence[str], goal: Accuracy | None) -> str:
    """Return who reached the target when, and where the others are; the first come first."""
    to = "" if goal is None else f"reached {100 * goal.target:g} % after"
    heads = ["", "lane", "setting", "state", to, "test accuracy of z", "training time", "epochs", "samples/s"]
    titles = {4: "training time and epochs until the target", 6: "of this lane alone: others' turns aren't in it"}
    head = "".join(
        f'<th title="{html.escape(titles.get(place, ""))}">{html.escape(name)}</th>' for place, name in enumerate(heads)
    )
    entries = sorted(zip(lanes, colours, strict=True), key=lambda entry: _order(entry[0]))
    body, places = "", 0
    for lane, colour in entries:
        places += lane.reached is not None
        body += _row(lane, colour, places if lane.reached is not None else 0, goal)
    return (
        '<table class="cb-standings"><caption class="cb-unseen">Who reached the target when</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _row(lane: Lane, colour: str, place: int, goal: Accuracy | None) -> str:
    """Return a lane's row."""
    now, reached = lane.session.snapshot, lane.reached
    when = "" if goal is None else "not yet" if lane.can_go else "not reached"
    if reached is not None:
        when = f"<b>{reached.seconds:.2f} s</b>, {reached.epochs:.2f} epochs"
    speed = f"{now.samples / now.elapsed_s:,.0f}" if now.elapsed_s > 0 else "–"
    cells = [
        f"{place}{_ENDS.get(place, 'th')}" if place else "",
        f'<i class="cb-swatch" style="background:{colour}"></i>{html.escape(lane.name)}',
        f"{html.escape(now.algorithm)}, {now.learners} × {now.batch_size}, γ {now.learning_rate:.3g}",
        lane.state,
        when,
        "–" if math.isnan(now.test_accuracy) else f"{now.test_accuracy:.2%}",
        f"{now.elapsed_s:.2f} s",
        f"{now.epoch:.2f}",
        speed,
    ]
    return f'<tr data-lane="{html.escape(lane.name, quote=True)}">' + "".join(f"<td>{c}</td>" for c in cells) + "</tr>"


def _order(lane: Lane) -> tuple[float, float]:
    """Return what lanes are sorted by: when they reached the target. The others stay as they were given."""
    return (math.inf if lane.reached is None else lane.reached.seconds), 0.0


def status(state: str, message: str, *, is_refusal: bool) -> str:
    """Return state and message as HTML."""
    kind = "refused" if is_refusal else "hint"
    return (
        f'<div class="cb-status" role="status" aria-live="polite" data-state="{state}">'
        f'<span class="cb-state cb-state-{state}">{state}</span>'
        f'<span class="cb-message cb-{kind}">{html.escape(message)}</span></div>'
    )


def heading(lane: Lane, colour: str) -> str:
    """Return a lane's name and state, and why it ended early."""
    why = f'<div class="cb-refused">{html.escape(lane.error)}</div>' if lane.error else ""
    return (
        f'<div class="cb-lane-head"><i class="cb-swatch" style="background:{colour}"></i>'
        f'<b>{html.escape(lane.name)}</b><span class="cb-state cb-state-{lane.state}">{lane.state}</span></div>{why}'
    )
