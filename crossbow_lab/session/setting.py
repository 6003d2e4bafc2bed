"""The adjustable part of a recipe: what learners train with, and how it may change while they do."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from crossbow_lab.averaging import (
    ALGORITHMS,
    SSGD,
    Algorithm,
    algorithm_from_json,
    algorithm_name,
    algorithm_to_json,
    check_fits,
    has_field,
)
from crossbow_lab.devices import check_spans
from crossbow_lab.errors import ConfigurationError, nearest
from crossbow_lab.learners import check_executor
from crossbow_lab.session.checks import check_positive, check_whole

ADJUSTABLE = ("learners", "batch_size", "learning_rate", "sync_period", "algorithm", "executor", "restart")


@dataclass(frozen=True)
class Adjustment:
    """Changes that took effect together, before the iteration of this number.

    Attributes
    ----------
    iteration : int >= 0, counted from 0.
    changes : name -> new value; names are those of `ADJUSTABLE`. ``{"restart": True}`` restarts averaging.
    """

    iteration: int
    changes: dict[str, Any]

    def __post_init__(self) -> None:
        """Check the changes, as far as they can be checked without the setting that they change."""
        check_whole("the iteration of an adjustment", self.iteration, least=0)
        object.__setattr__(self, "changes", checked_changes(self.changes))


@dataclass(frozen=True)
class Setting:
    """What the learners train with at present.

    Attributes
    ----------
    algorithm, learners, batch_size, learning_rate, executor : as in `crossbow_lab.session.Recipe`; learners are those
        of one device.
    devices : how many devices train.
    """

    algorithm: Algorithm
    learners: int
    batch_size: int
    learning_rate: float
    executor: str
    devices: int = 1

    @property
    def total_learners(self) -> int:
        """k, the learners of all devices."""
        return self.learners * self.devices

    @property
    def total_replicas(self) -> int:
        """Replicas that train, on all devices."""
        return self.replicas * self.devices

    @property
    def replicas(self) -> int:
        """Rows of a device's bank that train: its learners, or 1 for S-SGD: one replica, all of its batches."""
        return 1 if isinstance(self.algorithm, SSGD) else self.learners

    @property
    def aggregate_batch(self) -> int:
        """Samples per iteration, on all devices."""
        return self.total_learners * self.batch_size

    @property
    def replica_batch(self) -> int:
        """Samples per replica and iteration: b, or all of its device's for S-SGD."""
        return self.aggregate_batch // self.total_replicas

    def adjusted(self, changes: dict[str, Any]) -> "Setting":
        """Return the setting after ``changes``; a restart changes nothing here.

        Raises
        ------
        ConfigurationError
            If a value is out of range, or doesn't fit the others.
        """
        changes = checked_changes(changes)
        changes.pop("restart", None)
        sync_period = changes.pop("sync_period", None)
        new = dataclasses.replace(self, **changes)
        if sync_period is not None:
            new = dataclasses.replace(new, algorithm=_with_sync_period(new.algorithm, sync_period))
        check_fits(new.algorithm, new.total_learners)
        check_spans(new.algorithm, new.devices)
        return new


def checked_changes(changes: dict[str, Any]) -> dict[str, Any]:
    """Return changes with their numbers as Python's own.

    Raises
    ------
    ConfigurationError
        If a name can't change while training, a value is outside its legal range, or two contradict each other.
    """
    if not changes:
        raise ConfigurationError(f"nothing to adjust; give one of {', '.join(ADJUSTABLE[:-1])}")
    if "sync_period" in changes and "algorithm" in changes:
        raise ConfigurationError("give sync_period as part of the algorithm when both change")
    return {name: _checked(name, value) for name, value in changes.items()}


def _checked(name: str, value: Any) -> Any:
    """Return the new value of one setting, or refuse it."""
    if name not in ADJUSTABLE:
        raise ConfigurationError(f"{name!r} can't be adjusted while training; {nearest(name, ADJUSTABLE)}")
    if name in ("learners", "batch_size", "sync_period"):
        return check_whole(name, value)
    if name == "learning_rate":
        return check_positive(name, value)
    if name == "algorithm":
        return check_algorithm(value)
    if name == "executor":
        if value == "auto":
            raise ConfigurationError(
                "adjust executor to 'loop', 'fused' or 'streams'; 'auto' chooses at the start only"
            )
        check_executor(str(value))
    elif value is not True:
        raise ConfigurationError(f"restart is {value!r}; it can only be True: averaging restarts")
    return value


def check_algorithm(value: Any) -> Algorithm:
    """Return an algorithm, or refuse what isn't one."""
    if not isinstance(value, Algorithm):
        raise ConfigurationError(
            f"algorithm is {value!r}; give cb.SMA() or another one, with what it should have: {', '.join(ALGORITHMS)}"
        )
    return value


def _with_sync_period(algorithm: Algorithm, sync_period: int) -> Algorithm:
    """Return ``algorithm`` with another synchronisation period; refuse one that has none."""
    if not has_field(algorithm, "sync_period"):
        raise ConfigurationError(
            f"{algorithm_name(algorithm)} has no sync_period: it updates z at every iteration. Change to an algorithm "
            "that has one first, such as SMA, EASGD or LocalSGD"
        )
    changed: Any = dataclasses.replace(algorithm, sync_period=sync_period)  # type: ignore[arg-type]  # it has one
    return check_algorithm(changed)


def changes_to_json(changes: dict[str, Any]) -> dict[str, Any]:
    """Return changes as JSON values."""
    return {name: algorithm_to_json(value) if name == "algorithm" else value for name, value in changes.items()}


def adjustments_to_json(adjustments: tuple[Adjustment, ...]) -> list[list[Any]]:
    """Return adjustments as JSON values."""
    return [[adjustment.iteration, changes_to_json(adjustment.changes)] for adjustment in adjustments]


def adjustments_from_json(values: Any) -> tuple[Adjustment, ...]:
    """Read adjustments from JSON values.

    Raises
    ------
    ConfigurationError, TypeError, ValueError, AttributeError
        If they aren't adjustments.
    """
    return tuple(
        Adjustment(
            iteration,
            {name: algorithm_from_json(value) if name == "algorithm" else value for name, value in changes.items()},
        )
        for iteration, changes in values
    )
