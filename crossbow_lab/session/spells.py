"""Spells: training that somebody else times, such as a race, which lets several sessions take turns."""

from dataclasses import replace

from crossbow_lab.session.limits import Accuracy, Limits, make_limits
from crossbow_lab.session.session import Session


def spell_limits(
    session: Session, *, epochs: float | None, seconds: float | None, until: Accuracy | None, is_needed: bool
) -> Limits:
    """Return where a session that trains in spells ends at last; arguments as those of `Session.run`.

    Raises
    ------
    ConfigurationError
        As `crossbow_lab.session.limits.make_limits`.
    """
    return make_limits(session._loop.origin, epochs=epochs, seconds=seconds, until=until, is_needed=is_needed)


def spell(session: Session, limits: Limits, seconds: float) -> BaseException | None:
    """Train a session in this thread for some seconds of its own training time, then pause it.

    A spell ends between two iterations, so it may take longer; nothing is evaluated that wouldn't be without a break.

    Parameters
    ----------
    limits : where it ends before that, counted from the session's start.
    seconds : greater than 0.

    Returns
    -------
    BaseException or None
        What made the session fail.

    Raises
    ------
    ConfigurationError
        If it can't train now.
    """
    end_s = session.snapshot.elapsed_s + seconds
    bounded = replace(limits, seconds=end_s if limits.seconds is None else min(end_s, limits.seconds))
    return session._driver.spell(bounded)


def is_over(session: Session, limits: Limits) -> bool:
    """Tell whether a session has come to one of its limits."""
    now, rows = session.snapshot, session.record.rows.entries
    return (
        (limits.iteration is not None and now.iteration >= limits.iteration)
        or (limits.position is not None and now.samples >= limits.position)
        or (limits.seconds is not None and now.elapsed_s >= limits.seconds)
        or (limits.until is not None and bool(rows) and session._loop.observer.has_reached(limits.until))
    )
