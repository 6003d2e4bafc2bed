"""The loss-landscape lab: learners on a surface over two parameters, moved by hand, by code or by a dashboard."""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from crossbow_lab.averaging import EASGD, SMA, SSGD, algorithm_name, alpha_limit
from crossbow_lab.errors import ConfigurationError, nearest
from crossbow_lab.landscape.checks import (
    ADJUSTABLE,
    adjusted,
    checked_learners,
    checked_start,
    in_words,
    surface_from,
    whole,
)
from crossbow_lab.landscape.course import Change, Course
from crossbow_lab.landscape.devices import advance_on
from crossbow_lab.landscape.own import View
from crossbow_lab.landscape.reference import Iteration, Settings, State, begin, iteration_of
from crossbow_lab.landscape.surfaces import Point, Surface

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from crossbow_lab.landscape.dashboard import LandscapeDashboard


class Landscape:
    """Learners on a loss surface over two parameters: each step can be seen, gone back to, and done otherwise.

    Parameters
    ----------
    surface : str, Surface or function
        "rastrigin", "rosenbrock", "himmelblau", "saddle" or "noisy-quadratic"; or a function of your own in torch, of
        (x, y) or of points (..., 2), whose gradient autograd finds (`crossbow_lab.landscape.surface_of`).
    algorithm : SMA, EASGD or SSGD
        `SMA()` where not given. α beyond its bound is allowed here: one wants to see it.
    learners : int
        k, from 1 to 10,000.
    batch_size : int
        b, at least 1: the noise of a learner's gradient is divided by √b.
    noise : float
        Standard deviation of one sample's gradient; the surface's own where not given.
    learning_rate : float
        γ; the surface's own where not given.
    start : (x, y)
        Where all learners and z begin; the surface's own where not given.
    seed : int
        Of the noise. Same seed, settings and adjustments: same bits.
    view : (low, high) of x, (low, high) of y
        What is looked at; the surface's own where not given.
    device : str
        "cpu", or "cuda" where there is a GPU: a thread for each learner. The two agree to rounding.

    Attributes
    ----------
    surface : what learners are on.
    device : where they are simulated.
    generation, scene : count how often it began again, and how often with another surface.

    Raises
    ------
    ConfigurationError
        If an argument is outside its range, or the function is none; with what to do.

    Notes
    -----
    Every method may be called on any thread, also while a dashboard plays. On two CPU cores 10,000 learners take about
    1,000 iterations a second. History takes 56 bytes an iteration.

    Examples
    --------
    >>> lab = Landscape("saddle", learners=4, seed=1).run(100)
    >>> lab.iteration, lab.state.learners.shape, list(lab.history)[:3]
    (100, (4, 2), ['iteration', 'z_x', 'z_y'])
    >>> lab.seek(40).adjust(alpha=0.5).run(10).iteration
    50
    >>> lab.events.detail.tolist()
    ['alpha 0.5']
    """

    def __init__(
        self,
        surface: "str | Surface | Callable[..., Any]" = "rastrigin",
        algorithm: SMA | EASGD | SSGD | None = None,
        *,
        learners: int = 8,
        batch_size: int = 1,
        noise: float | None = None,
        learning_rate: float | None = None,
        start: Point | None = None,
        seed: int = 0,
        view: View | None = None,
        device: str = "cpu",
    ) -> None:
        self._lock = threading.RLock()
        self.surface = surface_from(surface, view, start)
        self.device = device
        self._seed = seed
        self._start = checked_start(self.surface.start if start is None else start)
        self._advance = advance_on(device, self.surface)
        settings = Settings(
            SMA() if algorithm is None else algorithm,
            self.surface.learning_rate if learning_rate is None else learning_rate,
            self.surface.noise if noise is None else noise,
            batch_size,
            seed,
        )
        self._opened: LandscapeDashboard | None = None
        self.generation, self.scene = -1, 0
        self._begin(settings, checked_learners(learners))

    def _begin(self, settings: Settings, n_learners: int) -> None:
        """Begin at iteration 0."""
        self._course = Course(begin(self._start, n_learners), settings, self._advance)
        self._iteration = 0
        self.generation += 1

    def __repr__(self) -> str:
        settings = self.settings
        return (
            f"<landscape {self.surface.name}: {algorithm_name(settings.algorithm)}, {self.learners} learners, seed "
            f"{self.seed}, iteration {self.iteration} of {self.head}>"
        )

    @property
    def iteration(self) -> int:
        """Iterations behind the state that is looked at: at most `head`."""
        return self._iteration

    @property
    def head(self) -> int:
        """Iterations simulated so far."""
        return self._course.head

    @property
    def seed(self) -> int:
        """Seed of the noise."""
        return self._seed

    @property
    def start(self) -> Point:
        """Where learners begin."""
        return self._start

    @property
    def settings(self) -> Settings:
        """Settings in force for the next iteration."""
        return self._course.settings_at(self._iteration)

    @property
    def state(self) -> State:
        """Where learners and z are: weights (k, 2), velocities (k, 2), centre (2,), its last increment (2,)."""
        with self._lock:
            return self._course.state_at(self._iteration)

    @property
    def learners(self) -> int:
        """Number of learners k."""
        return len(self.state.learners)

    @property
    def alpha(self) -> float | None:
        """The α in force, None where the algorithm has none."""
        return self.settings.scalars(self.learners)[1] if alpha_limit(self.settings.algorithm, 1) is not None else None

    @property
    def alpha_bound(self) -> float | None:
        """The α below which averaging is stable without gradients; None where the algorithm has no α."""
        return alpha_limit(self.settings.algorithm, self.learners)

    @property
    def has_diverged(self) -> bool:
        """Whether z or a learner has left the finite numbers."""
        state = self.state
        return not (np.isfinite(state.centre).all() and np.isfinite(state.learners).all())

    @property
    def history(self) -> pd.DataFrame:
        """One row for each iteration until `head` (each tenth with more than 1,000 learners).

        Columns: iteration; z_x, z_y; mean_x, mean_y (of the learners' weights); loss_at_z; mean_loss (of the learners'
        losses); mean_to_z, the distance between the two.
        """
        with self._lock:
            trail = self._course.trail()
        return pd.DataFrame(
            {
                "iteration": trail.iterations,
                "z_x": trail.centres[:, 0],
                "z_y": trail.centres[:, 1],
                "mean_x": trail.means[:, 0],
                "mean_y": trail.means[:, 1],
                "loss_at_z": trail.centre_losses,
                "mean_loss": trail.mean_losses,
                "mean_to_z": np.hypot(*(trail.means - trail.centres).T),
            }
        )

    @property
    def events(self) -> pd.DataFrame:
        """Adjustments and restarts: iteration, kind, detail."""
        with self._lock:
            rows = [(one.iteration, one.kind, one.detail) for one in self._course.changes if one.iteration <= self.head]
        return pd.DataFrame(rows, columns=["iteration", "kind", "detail"])

    @property
    def course(self) -> Course:
        """What learners did; for figures and dashboards."""
        return self._course

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep everything as it is while it is looked at: what others ask of the landscape meanwhile waits."""
        with self._lock:
            yield

    def run(self, iterations: int = 100) -> "Landscape":
        """Go on by so many iterations: through what is recorded first, then simulating. Returns the landscape.

        Raises
        ------
        ConfigurationError
            If iterations isn't a whole number, at least 1.
        """
        whole("iterations", iterations, least=1)
        with self._lock:
            self._course.run_to(self._iteration + iterations)
            self._iteration += iterations
        return self

    def step(self, iterations: int = 1) -> "Landscape":
        """Go on by one iteration, or a few."""
        return self.run(iterations)

    def seek(self, iteration: int) -> "Landscape":
        """Look at a recorded iteration, from 0 to `head`; what is adjusted there branches off.

        Raises
        ------
        ConfigurationError
            If it isn't recorded.
        """
        whole("iteration", iteration, least=0)
        with self._lock:
            if iteration > self.head:
                raise ConfigurationError(
                    f"iteration {iteration} hasn't been reached: recorded are 0 to {self.head}; run() goes on"
                )
            self._iteration = iteration
        return self

    def reset(
        self, *, seed: int | None = None, start: Point | None = None, surface: "str | Surface | None" = None
    ) -> "Landscape":
        """Begin again at iteration 0 with the settings in force; the record is forgotten.

        Parameters
        ----------
        seed : int, optional
            Another; the same where not given.
        start : (x, y), optional
            Another starting point; the same where not given.
        surface : str or Surface, optional
            Another surface, with its own view and starting point, learning rate and noise.
        """
        with self._lock:
            settings, n_learners = self.settings, self.learners
            seed = self._seed if seed is None else whole("seed", seed, least=0)
            if surface is not None:
                found = surface_from(surface, None, None)
                self._advance = advance_on(self.device, found)
                self.surface, self._start = found, found.start
                self.scene += 1
                settings = dataclasses.replace(settings, learning_rate=found.learning_rate, noise=found.noise)
            self._seed, self._start = seed, self._start if start is None else checked_start(start)
            self._begin(dataclasses.replace(settings, seed=seed), n_learners)
        return self

    def adjust(self, **changes: Any) -> "Landscape":
        """Change settings from the iteration on that is looked at; what was recorded after it is forgotten.

        Parameters
        ----------
        **changes
            learners, batch_size, noise, learning_rate; algorithm; or its alpha, momentum, local_momentum, sync_period.
            Another kind of algorithm restarts averaging. Another learning rate doesn't: `drop_learning_rate` does.

        Raises
        ------
        ConfigurationError
            If there is no such setting, or a value is outside its range. Nothing is changed then.
        """
        for name in changes:
            if name not in ADJUSTABLE:
                raise ConfigurationError(f"there is no setting {name!r}; {nearest(name, ADJUSTABLE)}")
        with self._lock:
            before, t = self.settings, self._iteration
            settings = adjusted(before, changes)
            n_learners = checked_learners(changes.get("learners", self.learners))
            told = ", ".join(f"{name} {in_words(value)}" for name, value in changes.items())
            self._course.change(Change(t, t, "adjustment", tuple(sorted(changes)), told, settings, n_learners))
            if type(settings.algorithm) is not type(before.algorithm):
                self._course.change(Change(t, t, "restart", ("algorithm",), "restart: another algorithm"))
        return self

    def restart_averaging(self) -> "Landscape":
        """Set all learners to z, and clear the momentum of z and of the learners."""
        with self._lock:
            t = self._iteration
            self._course.change(Change(t, t, "restart", (), "restart"))
        return self

    def drop_learning_rate(self, factor: float = 0.1) -> "Landscape":
        """Multiply γ; SMA restarts after the next synchronisation, as it is set to (``restart``).

        Raises
        ------
        ConfigurationError
            If the factor isn't greater than 0.
        """
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not factor > 0:
            raise ConfigurationError(f"factor is {factor!r}; it must be a number greater than 0, such as 0.1")
        with self._lock:
            settings, t = self.settings, self._iteration
            settings = adjusted(settings, {"learning_rate": settings.learning_rate * factor})
            told = f"γ × {factor:g} = {settings.learning_rate:.3g}"
            self._course.change(Change(t, t, "adjustment", ("drop",), told, settings))
            restart = getattr(settings.algorithm, "restart", "never")
            if restart != "never":
                next_one = (t // settings.sync_period + 1) * settings.sync_period
                keeps = restart == "copy_on_lr_change"
                told = "learners are z: γ dropped" if keeps else "restart: γ dropped"
                self._course.change(Change(next_one, t, "restart", ("drop",), told, keeps_momentum=keeps))
        return self

    def next_iteration(self) -> Iteration:
        """Return the next iteration taken apart: g_j, c_j, what moves z. Nothing moves by that.

        Examples
        --------
        >>> one = Landscape("saddle", learners=2, noise=0.0).run(1).next_iteration()
        >>> bool((one.before.learners + one.steps - one.corrections == one.after.learners).all())
        True
        """
        with self._lock:
            return iteration_of(self.surface, self.state, self.settings)

    def figure(self) -> "go.Figure":
        """Return a static figure: the surface with trails, learners and z until now, and the loss by iteration."""
        from crossbow_lab.landscape.figures import figure  # plotly is imported where there is something to draw

        return figure(self)

    def iteration_figure(self) -> "go.Figure":
        """Return a static figure of the next iteration: what moves each learner, and z."""
        from crossbow_lab.landscape.iteration_figures import iteration_figure

        return iteration_figure(self)

    def dashboard(self, ui: str = "auto") -> "LandscapeDashboard":
        """Show the lab under this cell: live, or where nobody looks a static report of what there is.

        A landscape has one dashboard: where it is open already, this shows another view of it.

        Parameters
        ----------
        ui : str
            "live"; "off" for a static report; "auto": off where ``CROSSBOW_HEADLESS`` is set, and not to 0.
        """
        from crossbow_lab.landscape.dashboard import open_dashboard

        self._opened = open_dashboard(self, self._opened, ui)
        return self._opened
