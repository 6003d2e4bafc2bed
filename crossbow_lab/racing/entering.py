"""Who may race: sessions that can be compared, made of recipes where need be."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from crossbow_lab.errors import ConfigurationError, CrossbowError
from crossbow_lab.session import Recipe, Session

LEAST, MOST = 2, 6
_LONGEST = 32


def enter(
    entrants: Mapping[str, Recipe | Session], data_dir: str | Path | None
) -> tuple[dict[str, Session], list[Session]]:
    """Return the sessions by name, and those of them that were made here.

    Raises
    ------
    CrossbowError
        Whatever keeps them from racing; what was made has been closed then.
    """
    _check_names(entrants)
    sessions: dict[str, Session] = {}
    made: list[Session] = []
    try:
        for name, entrant in entrants.items():
            session = _session(name, entrant, data_dir)
            if session is not entrant:
                made.append(session)
            sessions[name] = session
        _check_comparable(sessions)
    except CrossbowError:
        for session in made:
            session.close()
        raise
    return sessions, made


def _check_names(entrants: Any) -> None:
    """Refuse too few or too many, and names that can't be told apart."""
    if not isinstance(entrants, Mapping):
        raise ConfigurationError(f"entrants is {type(entrants).__name__}; give {{name: recipe, name: recipe, ...}}")
    if not LEAST <= len(entrants) <= MOST:
        raise ConfigurationError(f"a race has {LEAST} to {MOST} lanes, but {len(entrants)} were given")
    seen: dict[str, str] = {}
    for name in entrants:
        if not isinstance(name, str) or not 0 < len(name.strip()) <= _LONGEST:
            raise ConfigurationError(f"a lane's name is {name!r}; give a text of 1 to {_LONGEST} characters")
        other = seen.setdefault(name.strip().casefold(), name)
        if other != name:
            raise ConfigurationError(
                f"two lanes are called {other!r} and {name!r}, which nobody can tell apart; rename one"
            )


def _session(name: str, entrant: Any, data_dir: str | Path | None) -> Session:
    """Return a session that is at its start."""
    if isinstance(entrant, Recipe):
        try:
            return Session(entrant, data_dir=data_dir)
        except CrossbowError as error:
            raise type(error)(f"lane {name!r}: {error}") from error
    if not isinstance(entrant, Session):
        raise ConfigurationError(
            f"lane {name!r} is {entrant!r}; give a cb.Recipe, or a cb.Session that hasn't trained yet"
        )
    iteration = entrant.snapshot.iteration
    if iteration or entrant.state != "ready":
        raise ConfigurationError(
            f"lane {name!r} is a session that is {entrant.state} after {iteration} iterations, but all must start at "
            "the same line; reset() it, or give its recipe"
        )
    return entrant


def _check_comparable(sessions: dict[str, Session]) -> None:
    """Refuse lanes whose times or accuracies mean different things."""
    (first, reference), *others = sessions.items()
    for name, session in others:
        here, there = session.recipe, reference.recipe
        if any(session is other for known, other in sessions.items() if known != name):
            raise ConfigurationError(f"lane {name!r} is the same session as another one; give a session of its own")
        if _device(here) != _device(there):
            raise ConfigurationError(
                f"lane {name!r} trains on {here.device}, lane {first!r} on {there.device}: their times can't be "
                "compared; give all one device"
            )
        if here.data_sha256 != there.data_sha256:
            theirs, ours = (f"{one.dataset or 'its own'}, SHA-256 {one.data_sha256[:12]}…" for one in (here, there))
            raise ConfigurationError(
                f"lane {name!r} has other training or test data ({theirs}) than lane {first!r} ({ours}): their "
                "accuracies can't be compared; give all the same data set"
            )


def _device(recipe: Recipe) -> tuple[str, int]:
    """Return a device as what it is: "cuda" is the first one."""
    device = torch.device(recipe.device)
    return device.type, device.index or 0
