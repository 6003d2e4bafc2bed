"""The live dashboard of a landscape: its widgets, and the one thread that moves learners and shows them."""

import html
import queue
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np

from crossbow_lab.dashboard.actions import reason
from crossbow_lab.dashboard.board import Board, Line, Plot
from crossbow_lab.dashboard.columns import X_AXES
from crossbow_lab.dashboard.control import put
from crossbow_lab.dashboard.figures import COLOURS
from crossbow_lab.dashboard.looks import close_all, style
from crossbow_lab.dashboard.pump import Pump
from crossbow_lab.landscape.controls import Controls, stability
from crossbow_lab.landscape.frames import frame_of, marks_of, moment_of
from crossbow_lab.landscape.grids import Grid, grid_of
from crossbow_lab.landscape.plane import Plane

if TYPE_CHECKING:
    from crossbow_lab.landscape.landscape import Landscape

_RATE_HZ = 20.0
_BUDGET_S = 0.035  # of each 50 ms, for simulating
_PIECE = 20_000  # learner-iterations between two looks at the clock
_SPEEDS = (0.0, 3.0, 1.5)  # iterations a second: powers of ten, from, to, at first
_MOST_ITERATIONS = 1_000_000
_COLUMNS = ("loss_at_z", "mean_loss", "mean_to_z")
_INK = "#7F7F7F"


class Live:
    """Widgets and pump of one landscape.

    What a person does is asked for by observers, on any thread, and done by the pump alone.

    Parameters
    ----------
    landscape : Landscape

    Attributes
    ----------
    box : the widget that holds all others.
    pump : what moves and shows.
    is_playing : whether it goes on by itself.
    """

    def __init__(self, landscape: "Landscape") -> None:
        self._landscape = landscape
        self._wishes: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self.is_playing = False
        self._owed, self._message, self._is_refusal = 0.0, "", False
        self._shown: object = None
        self._grid: Grid | None = None
        self._scene, self._told = -1, (-1, -1, 0)  # of the board: generation, branch, rows
        self.plane = Plane(self._hear)
        self.board = Board({"losses": _COLUMNS}, _plots())
        self.controls = Controls(landscape, self.ask)
        self.speed = ipywidgets.FloatLogSlider(
            10 ** _SPEEDS[2],
            min=_SPEEDS[0],
            max=_SPEEDS[1],
            step=0.05,
            description="iterations/s",
            readout_format=",.0f",
        ).add_class("cb-speed")
        self._status, self._numbers = ipywidgets.HTML(), ipywidgets.HTML()
        self.buttons = self._make_buttons()
        row = ipywidgets.HBox([*self.buttons.values(), self.speed]).add_class("cb-buttons")
        beside = ipywidgets.Box([self.plane, self.board]).add_class("cb-beside")
        parts = (style(), self._status, self._numbers, row, beside, self.controls.box)
        self.box = ipywidgets.VBox(parts).add_class("cb-dashboard").add_class("cb-landscape")
        self.pump = Pump(self._tick, _RATE_HZ, self._fail)
        self.pump.tick()
        self.pump.start()

    def ask(self, wish: Callable[[], object]) -> None:
        """Have something done by the pump, soon."""
        self._wishes.put(wish)

    def _make_buttons(self) -> dict[str, ipywidgets.Button]:
        """Return the buttons by name."""
        lab = self._landscape
        looks = {"layout": ipywidgets.Layout(), "style": ipywidgets.ButtonStyle()}

        def button(name: str, label: str, tooltip: str, action: Callable[[], object]) -> ipywidgets.Button:
            made = ipywidgets.Button(description=label, tooltip=tooltip, **looks).add_class(f"cb-{name}")
            made.on_click(lambda _: self.ask(action))
            return made

        def begin(seed: int | None = None) -> None:
            lab.reset(seed=seed)

        return {
            "play": button("play", "play", "Go on by itself", lambda: self._play(True)),
            "pause": button("pause", "pause", "Stand still", lambda: self._play(False)),
            "back": button("back", "step back", "One iteration back", lambda: self._step(-1)),
            "step": button("step", "step", "One iteration", lambda: self._step(1)),
            "step10": button("step10", "step ×10", "Ten iterations", lambda: self._step(10)),
            "reset": button("reset", "same seed", "Begin again: same start, same noise", begin),
            "reseed": button("reseed", "new seed", "Begin again with other noise", lambda: begin(lab.seed + 1)),
            "restart": button("restart", "restart averaging", "Set all learners to z", lab.restart_averaging),
            "drop": button("drop", "γ × 0.1", "Drop the learning rate; SMA restarts", lab.drop_learning_rate),
        }

    def _play(self, is_on: bool) -> None:
        """Go on by itself, or stand still."""
        self.is_playing, self._owed = is_on, 0.0

    def _step(self, iterations: int) -> None:
        """Go so many iterations on, or back; and stand still."""
        self._play(False)
        lab = self._landscape
        if iterations > 0:
            lab.run(iterations)
        elif lab.iteration > 0:
            lab.seek(lab.iteration + iterations)

    def _hear(self, content: dict[str, Any]) -> None:
        """Ask for what a person did on the picture."""
        lab, kind = self._landscape, content.get("type")
        if kind == "seek":

            def seek() -> None:
                self._play(False)
                lab.seek(min(int(content["iteration"]), lab.head))

            self.ask(seek)
        elif kind == "start":
            self.ask(lambda: lab.reset(start=(content["x"], content["y"])))
        elif kind == "window":
            self.ask(lambda: self._look(content["x"], content["y"]))

    def _look(self, x: list[float], y: list[float]) -> None:
        """Show a part of the surface in detail."""
        view = (float(x[0]), float(x[1])), (float(y[0]), float(y[1]))
        self.plane.window(grid_of(self._landscape.surface, view, like=self._grid), self._scene)

    def _tick(self) -> None:
        """Do what was asked for, go on if it plays, and show what is new."""
        while not self._wishes.empty():
            wish = self._wishes.get()
            self._message, self._is_refusal = "", False
            try:
                wish()
            except Exception as error:  # in an observer nobody would see it
                self._message, self._is_refusal = reason(error), True
        if self.is_playing:
            self._go_on()
        self._show()

    def _go_on(self) -> None:
        """Simulate as many iterations as are due, or as there is time for."""
        lab, end_s = self._landscape, time.monotonic() + _BUDGET_S
        self._owed = min(self._owed + self.speed.value * self.pump.period_s, self.speed.value)
        while self._owed >= 1.0 and time.monotonic() < end_s and not lab.has_diverged:
            n = min(int(self._owed), max(1, _PIECE // lab.learners))
            lab.run(n)
            self._owed -= n
        if lab.has_diverged or lab.iteration >= _MOST_ITERATIONS:
            self._play(False)

    def _show(self) -> None:
        """Show what is new."""
        lab = self._landscape
        with lab.held():
            now = (moment_of(lab), self.is_playing, self._message)
            if now == self._shown:
                self.plane.tell_again()
                self.board.append()
                return
            is_moved = self._shown is None or now[0] != self._shown[0]  # type: ignore[index]
            self._shown = now
            if self._grid is None or lab.scene != self._scene:
                self._grid, self._scene = grid_of(lab.surface, lab.surface.view), lab.scene
                self.plane.scene(lab.surface.name, self._grid, lab.surface.minima, self._scene)
            self.plane.frame(*frame_of(lab, is_playing=self.is_playing))
            if is_moved:
                self._plot()
            self.controls.show()
            self._write()

    def _plot(self) -> None:
        """Send the board what is new; all of it where what was recorded has changed."""
        lab = self._landscape
        trail, (generation, branch, n) = lab.course.trail(), self._told
        if (generation, branch) != (lab.generation, lab.course.branch):
            self.board.clear()
            n = 0
        rows = np.empty((len(X_AXES) + len(_COLUMNS), len(trail.iterations) - n), np.float32)
        rows[: len(X_AXES)] = trail.iterations[n:]
        with np.errstate(over="ignore", invalid="ignore"):
            begun = float(lab.surface.loss(*np.array(lab.start)))
            ceiling = begun + 4.0 * abs(begun - (self._grid.low if self._grid else begun)) + 1e-9
            distance = np.hypot(*(trail.means[n:] - trail.centres[n:]).T)
            distance = np.fmin(distance, np.hypot(*np.diff(lab.surface.view)[:, 0])).round(12)
            rows[-3:] = np.fmin(trail.centre_losses[n:], ceiling), np.fmin(trail.mean_losses[n:], ceiling), distance
        rows[~np.isfinite(rows)] = np.nan
        for at, text, kind in marks_of(lab):
            self.board.mark(f"{at}", (at,) * len(X_AXES), text, "restart" if kind == "restart" else "adjustment")
        self.board.until(None if lab.iteration == lab.head else lab.iteration)
        self.board.append({"losses": rows})
        self._told = lab.generation, lab.course.branch, len(trail.iterations)

    def _write(self) -> None:
        """Write state and numbers."""
        lab, unstable = self._landscape, (self._landscape.alpha or 0) >= (self._landscape.alpha_bound or np.inf)
        state = "failed" if lab.has_diverged else "running" if self.is_playing else "paused"
        name = {"failed": "diverged", "running": "playing", "paused": "paused"}[state]
        message, kind = self._message, "refused" if self._is_refusal else "hint"
        if not message and (unstable or lab.has_diverged):
            message, kind = _warning(lab, is_unstable=unstable), "refused"
        put(
            self._status,
            "value",
            f'<div class="cb-status" role="status" aria-live="polite" data-state="{name}">'
            f'<span class="cb-state cb-state-{state}">{name}</span>'
            f'<span class="cb-message cb-{kind}">{html.escape(message)}</span></div>',
        )
        put(self._numbers, "value", _numbers(lab))

    def _fail(self, error: BaseException) -> None:
        """Say that the pump has ended."""
        self._status.value = (
            '<div class="cb-status" role="status" data-state="failed"><span class="cb-state cb-state-failed">failed'
            f'</span><span class="cb-message cb-refused">{html.escape(reason(error))}; run the cell again</span></div>'
        )

    def close(self) -> None:
        """Stop the pump, and take the widgets from all pages."""
        self.is_playing = False
        self.pump.stop()
        close_all(self.box)


def _plots() -> tuple[Plot, ...]:
    """Return the plots beside the picture."""
    losses = (
        Line("mean_loss", "learners, their mean", "losses", colour=COLOURS["SMA"]),
        Line("loss_at_z", "z", "losses", colour=_INK),
    )
    distance = (Line("mean_to_z", "distance", "losses", colour=_INK),)
    return Plot("Loss", "loss", losses), Plot("From the learners' mean to z", "distance", distance, from_zero=True)


def _warning(lab: "Landscape", *, is_unstable: bool) -> str:
    """Say what goes wrong, and what to do."""
    why = stability(lab) if is_unstable else "the steps are too large for the surface: try a smaller γ or less noise"
    gone = "some numbers aren't finite any more; " if lab.has_diverged else ""
    end = ": z and the learners' mean drive each other away, without any gradient" if is_unstable else ""
    return f"{gone}{why}{end}"


def _numbers(lab: "Landscape") -> str:
    """Return the numbers as HTML."""
    state = lab.state
    with np.errstate(all="ignore"):
        at_z = float(lab.surface.loss(*state.centre))
        mean = float(lab.surface.loss(*state.learners.T).mean())
        apart = float(np.hypot(*(state.learners - state.centre).T).mean())
    cells = [
        ("iteration", f"{lab.iteration:,}", f"of {lab.head:,} recorded"),
        ("loss at z", _said(at_z, ".5g"), ""),
        ("mean loss", _said(mean, ".5g"), "of the learners"),
        ("divergence", _said(apart, ".4g"), "mean distance of the learners to z"),
        ("learners", f"{lab.learners:,}", ""),
        ("seed", f"{lab.seed}", "of the noise"),
    ]
    shown = "".join(
        f'<div class="cb-cell" title="{html.escape(title)}"><div>{name}</div><b>{value}</b></div>'
        for name, value, title in cells
    )
    return f'<div class="cb-numbers">{shown}</div>'


def _said(value: float, form: str) -> str:
    """Write a number, or a dash where there is none."""
    return format(value, form) if np.isfinite(value) else "–"
