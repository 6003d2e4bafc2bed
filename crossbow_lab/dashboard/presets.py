"""Settings worth a look, each with one line of why."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crossbow_lab.averaging import SMA, alpha_bound
from crossbow_lab.session import Recipe
from crossbow_lab.session.setting import Setting


@dataclass(frozen=True)
class Preset:
    """A setting by name.

    Attributes
    ----------
    name : in a few words.
    why : one line that says what to look at.
    changes : from the setting in force, and the recipe of the session, to what is adjusted.
    """

    name: str
    why: str
    changes: Callable[[Setting, Recipe], dict[str, Any]]


def _many_small(setting: Setting, recipe: Recipe) -> dict[str, Any]:
    """Return many learners on small batches."""
    return {"algorithm": _sma(setting, alpha=None), "learners": min(16, recipe.max_learners), "batch_size": 4}


def _too_many(setting: Setting, recipe: Recipe) -> dict[str, Any]:
    """Return as many learners as the bank holds."""
    return {"algorithm": _sma(setting, alpha=None), "learners": recipe.max_learners, "batch_size": 4}


def _large_batch(_setting: Setting, _recipe: Recipe) -> dict[str, Any]:
    """Return a batch that is too large."""
    return {"learners": 2, "batch_size": 256}


def _unstable(setting: Setting, _recipe: Recipe) -> dict[str, Any]:
    """Return an alpha at the edge of what is stable."""
    algorithm = _sma(setting, alpha=None)
    bound = alpha_bound(setting.total_learners, algorithm.momentum)
    return {"algorithm": dataclasses.replace(algorithm, alpha=0.99 * bound)}


def _seldom(setting: Setting, _recipe: Recipe) -> dict[str, Any]:
    """Return a long synchronisation period."""
    return {"algorithm": dataclasses.replace(_sma(setting, alpha=None), sync_period=32)}


def _start(_setting: Setting, recipe: Recipe) -> dict[str, Any]:
    """Return what the session started with."""
    names = ("algorithm", "learners", "batch_size", "learning_rate")
    return {name: getattr(recipe, name) for name in names}


def _sma(setting: Setting, alpha: float | None) -> SMA:
    """Return the SMA in force with another alpha, or SMA as it usually is."""
    present = setting.algorithm if isinstance(setting.algorithm, SMA) else SMA()
    return dataclasses.replace(present, alpha=alpha, sync_period=1)


PRESETS: tuple[Preset, ...] = (
    Preset(
        "many learners, small batches",
        "The paper's point: 16 learners on batches of 4 keep the device busy, and z still learns from each of them.",
        _many_small,
    ),
    Preset(
        "too many learners",
        "Throughput has stopped growing, and the learners share each epoch: few steps for each, more epochs in all.",
        _too_many,
    ),
    Preset(
        "batch too large",
        "Many samples a second, but few steps an epoch: hardware efficiency bought with statistical efficiency.",
        _large_batch,
    ),
    Preset(
        "unstable α",
        "Just under 2(1+μ)/(1+k+μ): each correction overshoots, and the learners' distance to z swings.",
        _unstable,
    ),
    Preset(
        "averaging too seldom",
        "With τ = 32 the learners drift apart in between, and z moves only once in 32 iterations.",
        _seldom,
    ),
    Preset("as at the start", "Algorithm, learners, batch size and learning rate that the session began with.", _start),
)
