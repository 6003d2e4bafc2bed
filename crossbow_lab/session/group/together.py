"""What trainers of several devices do together; where there is one alone, nothing of it costs anything."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from crossbow_lab.devices.group import Group
from crossbow_lab.errors import CrossbowError, DeviceLost, ExecutorError

CHECK_EVERY = 500
"""Synchronisations after which all copies of z are compared: a hash takes 3 ms for 1.2 million weights."""


class Together:
    """A trainer's part in a group.

    Parameters
    ----------
    group : Group, or None for one device alone

    Attributes
    ----------
    group : the same
    """

    def __init__(self, group: Group | None) -> None:
        self.group = group
        self._is_telling = False
        self._unchecked = 0

    @property
    def is_alone(self) -> bool:
        """Whether there are no other devices, or none any more."""
        return self.group is None or not self.group.is_open

    @property
    def place(self) -> tuple[int, int]:
        """Rank and number of devices."""
        return (0, 1) if self.group is None else (self.group.member.rank, self.group.member.size)

    @contextmanager
    def telling(self, order: str, *, if_any: bool = True, **arguments: Any) -> Iterator[None]:
        """Have the other devices do what is done in here, too, where this is the leader's.

        What is asked for within is part of that: they know it without being told.
        """
        group = self.group
        if group is None or not group.leads or not if_any or self._is_telling:
            yield
            return
        if not group.is_open and order in _LOOKING:  # what is left can still be looked at
            yield
            return
        group.order(order, **arguments)
        self._is_telling = True
        try:
            yield
        finally:
            self._is_telling = False

    def joined(self, columns: Tensor) -> Tensor:
        """Return columns of all devices' learners, (n, k), of those of this one's, (n, m)."""
        return columns if self.group is None or self.is_alone else self.group.join(columns)

    def mean(self, rows: Tensor, n_rows: int) -> Tensor:
        """Return the mean of rows over all devices, ``n_rows`` in all; of this one's where the others are lost."""
        if self.group is None or self.is_alone:
            return rows.mean(0)
        total = rows.sum(0)
        self.group.sum(total)
        return total / n_rows

    def agree(self, do: Callable[[], None]) -> None:
        """Do what may be refused; on all devices or on none.

        Raises
        ------
        CrossbowError
            What refuses it here, or elsewhere.
        """
        if self.group is None or self.is_alone:
            do()
            return
        refusal: CrossbowError | None = None
        try:
            do()
        except DeviceLost:
            raise
        except CrossbowError as error:
            refusal = error
        told = self.group.exchange("" if refusal is None else str(refusal))
        if refusal is not None:
            raise refusal
        for rank, why in enumerate(told):
            if why:
                raise ExecutorError(f"rank {rank} refuses: {why}")

    def compare(self, fingerprint: Callable[[], str], synchronisations: int) -> None:
        """Note synchronisations; now and then make sure that all copies of z are the same.

        Raises
        ------
        DeviceLost
            Naming the devices that have another z than rank 0.
        """
        if self.group is None:
            return
        self._unchecked += synchronisations
        if self._unchecked < CHECK_EVERY:
            return
        self._unchecked = 0
        told = self.group.exchange(fingerprint())
        others = [str(rank) for rank, found in enumerate(told) if found != told[0]]
        if others:
            raise DeviceLost(
                f"the copies of z are no longer the same: rank {', '.join(others)} has another one than rank 0. A "
                "device computes wrongly, or its memory does: restore the last checkpoint, on other devices if it "
                "happens again"
            )

    def when_lost(self, do: Callable[[DeviceLost], None]) -> None:
        """Have ``do`` called when a device is lost that this process has started."""
        if self.group is not None and self.group.workers is not None:
            self.group.workers.when_lost(do)

    def leave(self) -> None:
        """Leave the group to another trainer, which goes on with it."""
        self.group = None

    def release(self) -> None:
        """Let the other devices go, for good."""
        if self.group is not None:
            self.group.close()


_LOOKING = ("losses", "distances", "buffers", "collect")
