"""A course: what learners did on a surface, which can be gone back to at any iteration, and branched from there.

Only some states are kept; the others are simulated again from the nearest before. That gives the same bits, because
noise is a function of (seed, learner, iteration) and every change is recorded at its iteration.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from crossbow_lab.landscape.reference import Settings, State, Trail
from crossbow_lab.landscape.surfaces import Array

Advance: TypeAlias = Callable[[State, Settings, int, int, int], tuple[State, Trail]]
"""Simulates: (state, settings, iterations, record_every, learners whose positions are recorded)."""

TRAILED = 64
"""Learners that have trails: the first."""
TRAIL = 60
"""Iterations that trails reach back."""
MANY = 1000
"""From more learners on, every tenth iteration is recorded: the loss of each is a good part of an iteration's work."""

_STATES_BYTES = 64 << 20
_LEAST_STATES, _MOST_STATES = 32, 2000
_FEWEST_BETWEEN = 32  # iterations between two states that are kept
_STRETCH = 1 << 18  # learner-iterations simulated at once: positions of all of them are held meanwhile


@dataclass(frozen=True)
class Change:
    """Something that was done to the learners.

    Attributes
    ----------
    iteration : iterations complete when it takes effect.
    asked : and when it was asked for: a restart that follows a learning-rate step waits for the next synchronisation.
    kind : what it is.
    names : settings that it changes; a change of the same ones at the same iteration replaces it.
    detail : in words.
    settings : in force from then on; None leaves them.
    n_learners : from then on; None leaves it.
    keeps_momentum : whether a restart only sets the learners to z.
    """

    iteration: int
    asked: int
    kind: Literal["adjustment", "restart"]
    names: tuple[str, ...]
    detail: str
    settings: Settings | None = None
    n_learners: int | None = None
    keeps_momentum: bool = False


class Course:
    """What learners did.

    Parameters
    ----------
    begun : State
        At iteration 0.
    settings : Settings
        At first.
    advance : Advance
        How it is simulated.

    Attributes
    ----------
    head : iterations simulated so far.
    changes : what was done, in the order of the iterations.
    branch : counts how often something recorded was forgotten.
    """

    def __init__(self, begun: State, settings: Settings, advance: Advance) -> None:
        self.head = self.branch = 0
        self.changes: list[Change] = []
        self._begun, self._settings, self._advance = begun, settings, advance
        self._states: list[State] = []  # ascending; each after all changes at its iteration
        self._between = _FEWEST_BETWEEN
        self._trails: list[Trail] = []
        self._recent: deque[tuple[int, Array]] = deque([(0, begun.learners[:TRAILED])], maxlen=TRAIL)
        self._last = begun
        self._looked: State | None = None  # the last that was gone back to: it is asked for several times

    def settings_at(self, iteration: int) -> Settings:
        """Return the settings in force for the iteration that follows so many."""
        changed = (one.settings for one in reversed(self.changes) if one.iteration <= iteration)
        return next((settings for settings in changed if settings is not None), self._settings)

    def run_to(self, iteration: int) -> None:
        """Simulate until so many iterations are complete."""
        while self.head < iteration:
            state, trail = self._stretch(self._last, iteration, trailed=TRAILED)
            self._recent.extend(_numbered(trail))
            self._trails.append(replace(trail, positions=None))
            self.head, self._last = state.iteration, state
            if state.iteration % self._between == 0:
                self._keep(state)

    def state_at(self, iteration: int) -> State:
        """Return the state after so many iterations, and after the changes there; at most the head."""
        if iteration == self.head:
            return self._last
        if self._looked is None or self._looked.iteration != iteration:
            self._looked = self._simulated(iteration)
        return self._looked

    def _simulated(self, iteration: int) -> State:
        """Return the state after so many iterations, from the nearest that is known."""
        known = [kept for kept in (*self._states, self._looked) if kept is not None and kept.iteration <= iteration]
        begun = _changed_by(self._begun, self.changes)
        state = max(known, key=lambda kept: kept.iteration, default=begun)
        while state.iteration < iteration:
            state, _ = self._stretch(state, iteration, trailed=0)
        return state

    def positions_until(self, iteration: int) -> list[tuple[int, Array]]:
        """Return where learners with trails were until an iteration: (iteration, (learners, 2)) of each record."""
        if iteration == self.head:
            return [(at, positions) for at, positions in self._recent if at >= iteration - TRAIL]
        state = self._simulated(max(0, iteration - TRAIL))
        found = [(state.iteration, state.learners[:TRAILED])]
        while state.iteration < iteration:
            state, trail = self._stretch(state, iteration, trailed=TRAILED)
            found += _numbered(trail)
        return found

    def trail(self) -> Trail:
        """Return all records until the head, without positions."""
        if len(self._trails) > 1:
            self._trails = [_joined(self._trails)]
        return self._trails[0] if self._trails else _NOTHING

    def change(self, change: Change) -> None:
        """Do something at an iteration until the head; what came after it is forgotten.

        A change that was asked for before, and takes effect later, stays.
        """
        self._forget_after(change.asked)
        self._looked = None
        key = (change.iteration, change.kind, change.names)
        others = [one for one in self.changes if (one.iteration, one.kind, one.names) != key]
        self.changes = sorted([*others, change], key=lambda one: one.iteration)
        if change.iteration == self.head:
            self._states = [kept for kept in self._states if kept.iteration < self.head]
            self._last = self._simulated(self.head)

    def _forget_after(self, iteration: int) -> None:
        """Forget what came after an iteration."""
        if iteration < self.head:
            self.branch += 1
            self._recent = deque(self.positions_until(iteration), maxlen=TRAIL)
            self._last = self.state_at(iteration)
            whole = self.trail()
            self._trails = [_cut(whole, int(np.searchsorted(whole.iterations, iteration, side="right")))]
            self.head = iteration
        self.changes = [one for one in self.changes if one.asked <= iteration]
        self._states = [kept for kept in self._states if kept.iteration <= iteration]

    def _stretch(self, state: State, until: int, trailed: int) -> tuple[State, Trail]:
        """Simulate until the next change, or the next state to keep, or for as long as memory allows."""
        k, t = len(state.learners), state.iteration
        turns = [one.iteration for one in self.changes if one.iteration > t]
        end = min([until, t + max(1, _STRETCH // k), t - t % self._between + self._between, *turns])
        state, trail = self._advance(state, self.settings_at(t), end - t, 10 if k > MANY else 1, trailed)
        return _changed_by(state, self.changes), trail

    def _keep(self, state: State) -> None:
        """Keep a state; every other one only where there are too many."""
        self._states.append(state)
        nbytes = 32 * len(state.learners)
        if len(self._states) > min(max(_STATES_BYTES // nbytes, _LEAST_STATES), _MOST_STATES):
            self._between *= 2
            self._states = [kept for kept in self._states if kept.iteration % self._between == 0]


def _changed_by(state: State, changes: list[Change]) -> State:
    """Return a state after the changes at its iteration: learners that are added start at z, others leave with all."""
    for change in changes:
        if change.iteration != state.iteration:
            continue
        z, w, v = state.centre, state.learners, state.velocities
        if change.kind == "restart":
            w = np.tile(z, (len(w), 1))
            state = replace(state, learners=w)
            if not change.keeps_momentum:
                v = np.zeros_like(v)
                state = replace(state, velocities=v, centre_velocity=np.zeros(2))
        if change.n_learners is not None:
            more = max(0, change.n_learners - len(w))
            w = np.concatenate([w[: change.n_learners], np.tile(z, (more, 1))])
            v = np.concatenate([v[: change.n_learners], np.zeros((more, 2))])
            state = replace(state, learners=w, velocities=v)
    return state


def _numbered(trail: Trail) -> list[tuple[int, Array]]:
    """Return the positions of a trail with their iterations."""
    return [] if trail.positions is None else list(zip(trail.iterations.tolist(), trail.positions, strict=True))


def _joined(trails: list[Trail]) -> Trail:
    """Return trails that follow each other as one."""

    def of(name: str) -> Any:
        return np.concatenate([getattr(trail, name) for trail in trails])

    return Trail(of("iterations"), of("centres"), of("means"), of("centre_losses"), of("mean_losses"), positions=None)


def _cut(trail: Trail, n: int) -> Trail:
    """Return the first records of a trail."""
    return Trail(
        trail.iterations[:n], trail.centres[:n], trail.means[:n], trail.centre_losses[:n], trail.mean_losses[:n], None
    )


_NOTHING = Trail(np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), np.zeros(0), positions=None)
