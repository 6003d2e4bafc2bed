"""The controls of a landscape: a control for each setting, which asks, and shows what is in force."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets

from crossbow_lab.averaging import EASGD, SMA, SSGD, algorithm_name, has_field
from crossbow_lab.dashboard.control import Control
from crossbow_lab.landscape.surfaces import SURFACES

if TYPE_CHECKING:
    from crossbow_lab.landscape.landscape import Landscape

_KINDS: tuple[type[SMA | EASGD | SSGD], ...] = (SMA, EASGD, SSGD)
_NARROW = {"description_width": "11em"}
_LEARNERS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64, 100, 200, 500, 1000, 2000, 5000, 10_000)
_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 512, 1024)
_ALPHAS = (-4.0, 0.18)  # up to 1.5, beyond the widest bound, 4/3
_RATES, _NOISES = (-5.0, 0.5), 200.0

Ask = Callable[[Callable[[], object]], None]


class Controls:
    """A control for each setting of a landscape.

    Parameters
    ----------
    landscape : Landscape
    ask : takes what is to be done, for the dashboard's one thread to do.

    Attributes
    ----------
    box : the widget that holds them.
    """

    def __init__(self, landscape: "Landscape", ask: Ask) -> None:
        self._landscape, self._ask = landscape, ask
        self._controls = [*self._of_surface(), *self._of_learners(), *self._of_algorithm()]
        self.box = ipywidgets.Box([control.box for control in self._controls]).add_class("cb-settings")

    def show(self) -> None:
        """Show what is in force."""
        for control in self._controls:
            control.show(self._landscape, self._landscape)

    def _adjust(self, name: str) -> Callable[[Any], None]:
        """Return what asks for another value of a setting."""
        return lambda value: self._ask(lambda: self._landscape.adjust(**{name: value}))

    def _of_surface(self) -> "list[Control[Landscape]]":
        """Return the controls of the surface and the starting point."""
        lab = self._landscape
        names = list(dict.fromkeys([lab.surface.name, *SURFACES]))
        own = lab.surface
        surface = ipywidgets.Dropdown(options=names, description="surface", value=own.name, style=_NARROW)

        def choose(name: str) -> None:
            self._ask(lambda: lab.reset(surface=own if name == own.name else name))

        def begin_at(axis: int) -> Callable[[float], None]:
            def ask(value: float) -> None:
                self._ask(lambda: lab.reset(start=tuple(value if i == axis else lab.start[i] for i in (0, 1))))  # type: ignore[arg-type]

            return ask

        fields = [
            ipywidgets.FloatText(lab.start[axis], description=f"start {'xy'[axis]}", step=0.1, style=_NARROW)
            for axis in (0, 1)
        ]
        return [
            Control(_named(surface, "surface"), (), lambda lab: lab.surface.name, choose, _about_surface),
            Control(
                _named(fields[0], "start-x"),
                (),
                lambda lab: lab.start[0],
                begin_at(0),
                lambda _: "or drag on the contours; begins again",
            ),
            Control(_named(fields[1], "start-y"), (), lambda lab: lab.start[1], begin_at(1)),
        ]

    def _of_learners(self) -> "list[Control[Landscape]]":
        """Return the controls of the learners and their own SGD."""
        lab = self._landscape
        learners = _counts("learners k", _LEARNERS, lab.learners)
        batch = _counts("batch size b", _BATCHES, lab.settings.batch_size)
        rate = _log("learning rate γ", *_RATES, 0.02, lab.settings.learning_rate, ".3g")
        most = max(_NOISES, 2 * lab.settings.noise)
        noise = _linear("noise of gradients", 0.0, most, 0.5, lab.settings.noise)
        return [
            Control(
                _named(learners, "learners"),
                (),
                lambda lab: _nearest(_LEARNERS, lab.learners),
                self._adjust("learners"),
                lambda lab: f"k = {lab.learners:,}; k·b = {lab.learners * lab.settings.batch_size:,}",
            ),
            Control(
                _named(batch, "batch-size"),
                (),
                lambda lab: _nearest(_BATCHES, lab.settings.batch_size),
                self._adjust("batch_size"),
                lambda lab: f"noise / √b = {lab.settings.noise / math.sqrt(lab.settings.batch_size):.3g}",
            ),
            Control(
                _named(noise, "noise"),
                (),
                lambda lab: lab.settings.noise,
                self._adjust("noise"),
                lambda _: "σ of one sample's gradient",
            ),
            Control(
                _named(rate, "learning-rate"),
                (),
                lambda lab: lab.settings.learning_rate,
                self._adjust("learning_rate"),
                lambda lab: f"γ = {lab.settings.learning_rate:.6g}",
            ),
        ]

    def _of_algorithm(self) -> "list[Control[Landscape]]":
        """Return the controls of what belongs to the algorithm."""
        lab = self._landscape
        kind = ipywidgets.Dropdown(
            options=[(algorithm_name(kind()), kind.__name__) for kind in _KINDS], description="algorithm", style=_NARROW
        )
        alpha = _log("correction α", *_ALPHAS, 0.01, lab.alpha or 0.25, ".3g")
        automatic = ipywidgets.Checkbox(True, description="α = 1/k (auto)", indent=True, style=_NARROW)
        central = _linear("central momentum μ", 0.0, 0.99, 0.01, 0.9)
        local = _linear("local momentum", 0.0, 0.99, 0.01, 0.0)
        period = ipywidgets.IntSlider(1, min=1, max=64, description="sync period τ", style=_NARROW)
        return [
            Control(
                _named(kind, "algorithm"),
                (),
                lambda lab: type(lab.settings.algorithm).__name__,
                self._choose_kind,
                lambda _: "another algorithm restarts averaging",
            ),
            Control(
                _named(automatic, "alpha-auto"),
                (),
                lambda lab: _own(lab, "alpha") is None if has_field(lab.settings.algorithm, "alpha") else None,
                lambda is_auto: self._ask(lambda: lab.adjust(alpha=None if is_auto else alpha.value)),
                stability,
            ),
            Control(_named(alpha, "alpha"), (), lambda lab: lab.alpha, self._adjust("alpha"), stability),
            Control(
                _named(central, "momentum"),
                (),
                lambda lab: _own(lab, "momentum"),
                self._adjust("momentum"),
                lambda lab: "of the one model" if isinstance(lab.settings.algorithm, SSGD) else "of z",
            ),
            Control(
                _named(local, "local-momentum"),
                (),
                lambda lab: _own(lab, "local_momentum"),
                self._adjust("local_momentum"),
                lambda _: "of each learner; 0 is the paper's",
            ),
            Control(
                _named(period, "sync-period"),
                (),
                lambda lab: _own(lab, "sync_period"),
                self._adjust("sync_period"),
                lambda _: "iterations between corrections",
            ),
        ]

    def _choose_kind(self, name: str) -> None:
        """Ask for another algorithm, with what both have as it was set."""

        def change() -> None:
            before = self._landscape.settings.algorithm
            kind = next(kind for kind in _KINDS if kind.__name__ == name)
            shared = ("alpha", "local_momentum", "sync_period")
            kept = {field: getattr(before, field) for field in shared if has_field(before, field)}
            self._landscape.adjust(algorithm=kind(**{k: v for k, v in kept.items() if has_field(kind(), k)}))

        self._ask(change)


def stability(lab: "Landscape") -> str:
    """Say for which α averaging is stable, and whether it is.

    Examples
    --------
    >>> from crossbow_lab.landscape import Landscape
    >>> stability(Landscape(learners=8))
    'stable: 0 < α < 0.384; now 0.125'
    >>> stability(Landscape(learners=8).adjust(alpha=0.5))
    'UNSTABLE: α = 0.5 ≥ 0.384'
    """
    alpha, bound = lab.alpha, lab.alpha_bound
    if alpha is None or bound is None:
        return f"{algorithm_name(lab.settings.algorithm)} corrects nothing"
    if alpha >= bound:
        return f"UNSTABLE: α = {alpha:.4g} ≥ {bound:.3g}"
    return f"stable: 0 < α < {bound:.3g}; now {alpha:.4g}"


def _own(lab: "Landscape", name: str) -> Any:
    """Return what the algorithm has by this name, or None."""
    algorithm = lab.settings.algorithm
    return getattr(algorithm, name) if has_field(algorithm, name) else None


def _about_surface(lab: "Landscape") -> str:
    """Say how many minima a surface has."""
    n = len(lab.surface.minima)
    return f"× marks {'its least point' if n == 1 else f'its {n} least points'}" if n else "a function of your own"


def _nearest(counts: tuple[int, ...], value: int) -> int:
    """Return the count that a slider shows for a value: its nearest, by its factor."""
    return min(counts, key=lambda count: abs(math.log(count / value)))


def _counts(label: str, counts: tuple[int, ...], value: int) -> Any:
    """Return a slider over a few counts: a step is one where there are few, and hundreds where there are many."""
    looks: dict[str, Any] = {"description": label, "style": _NARROW}
    options = [(f"{count:,}", count) for count in counts]
    return ipywidgets.SelectionSlider(options=options, value=_nearest(counts, value), **looks)


def _named(widget: Any, name: str) -> Any:
    """Return a widget that style sheets and tests know by a name."""
    return widget.add_class(f"cb-{name}")


def _log(label: str, low: float, high: float, step: float, value: float, form: str) -> Any:
    """Return a slider whose steps are factors; low and high are powers of ten, wide enough for the value."""
    power = math.log10(value) if value > 0 else low
    reach: dict[str, Any] = {"min": min(low, power), "max": max(high, power), "step": step}
    looks: dict[str, Any] = {"description": label, "style": _NARROW, "readout_format": form}
    return ipywidgets.FloatLogSlider(value=max(value, 10**low), **reach, **looks)


def _linear(label: str, low: float, high: float, step: float, value: float) -> Any:
    """Return a slider."""
    looks: dict[str, Any] = {"description": label, "style": _NARROW, "readout_format": ".3g"}
    return ipywidgets.FloatSlider(min(max(value, low), high), min=low, max=high, step=step, **looks)
