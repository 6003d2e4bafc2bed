"""What a session's owner asks of it: adjustments, checked at once and known until they are taken; and how it stands."""

from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any

from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session.driver import Driver
from crossbow_lab.session.loop import Loop
from crossbow_lab.session.observer import Snapshot


class Requests:
    """What a session was asked to adjust.

    Parameters
    ----------
    loop, driver : of the session
    """

    def __init__(self, loop: Loop, driver: Driver) -> None:
        self._loop, self._driver = loop, driver
        self._asked: list[tuple[Future[None], dict[str, Any]]] = []

    @property
    def pending(self) -> tuple[tuple[str, object], ...]:
        """Changes that no iteration boundary has taken yet; never waits."""
        changes: dict[str, object] = {}
        for future, asked in self._asked:
            if not future.done():
                changes |= asked
        return tuple(changes.items())

    def snapshot(self) -> Snapshot:
        """Return how the session stands, with what is asked of it; never waits."""
        loop = self._loop
        requested = self.pending  # first: what is taken meanwhile is then in the setting, or still in here
        now, state, tuner = loop.observer.snapshot, loop.state, loop.tuner.status
        return replace(now, state=state, limits=loop.limits, requested=requested, tuner=tuner, error=loop.error)

    def ask(self, changes: dict[str, Any]) -> None:
        """Have changes made before the next iteration; wait for them where nobody trains.

        Raises
        ------
        ConfigurationError
            If they can't be made after those that were asked for before; or, where it waited, any refusal.
        """
        trainer = self._loop.trainer
        with self._driver.lock:
            self._driver.require_usable("adjust")
            self._asked = [request for request in self._asked if not request[0].done()]
            setting = trainer.setting
            for _, earlier in self._asked:
                with suppress(ConfigurationError):
                    setting = trainer.check(earlier, setting)
            trainer.check(changes, setting)
            future = self._driver.ask(lambda: self._loop.adjust(changes), is_vital=True)
            self._asked = [*self._asked, (future, changes)]
            waits = self._driver.takes_at_once
        if waits:
            future.result()
