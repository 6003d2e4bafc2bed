"""The controls of what can be adjusted while a session trains, and the presets."""

import dataclasses
import html
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ipywidgets

from crossbow_lab.averaging import (
    ALGORITHMS,
    SSGD,
    AsyncEAMSGD,
    KungFuSMA,
    PolyakRuppert,
    algorithm_name,
    alpha_limit,
    has_field,
    resolve_alpha,
)
from crossbow_lab.dashboard.actions import Actions
from crossbow_lab.dashboard.control import Control
from crossbow_lab.dashboard.presets import PRESETS
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session import Session, Snapshot
from crossbow_lab.session.setting import Setting

_MOST_ALPHA = 1.33  # the bound for k = 1 tends to 4/3
_RATES = (-4.0, 1.0)
_NARROW = {"description_width": "11em"}


class Settings:
    """A control for each setting, and presets.

    Parameters
    ----------
    session : what they adjust.
    actions : says what came of a preset.

    Attributes
    ----------
    box : the widget that holds them.
    """

    def __init__(self, session: Session, actions: Actions) -> None:
        self._session, self._actions = session, actions
        self._recipe = session.recipe
        self._controls = self._make()
        grid = ipywidgets.Box([control.box for control in self._controls]).add_class("cb-settings")
        self.box = ipywidgets.VBox([grid, self._make_presets()])

    def show(self, now: Snapshot) -> None:
        """Show what is in force and what is requested."""
        wanted = after(now)
        for control in self._controls:
            control.show(now.setting, wanted)

    def refuse(self, names: tuple[str, ...], why: str) -> None:
        """Say beside the controls of these settings why what was asked for wasn't done."""
        for control in self._controls:
            if set(control.names) & set(names):
                control.refuse(why)

    def _make(self) -> list[Control[Setting]]:
        """Return all controls."""
        recipe = self._recipe
        period = _slider(ipywidgets.IntSlider, "sync-period", "sync period τ", 1, 64, 1)
        return [
            *usual(self._session),
            Control(
                _choice(
                    "algorithm", "algorithm", [(algorithm_name(kind()), name) for name, kind in ALGORITHMS.items()]
                ),
                ("algorithm",),
                lambda s: type(s.algorithm).__name__,
                self._adjust_kind,
                lambda _: "another algorithm restarts averaging",
                lambda name: algorithm_name(ALGORITHMS[name]()),
            ),
            Control(period, ("sync_period",), lambda s: _of(s, "sync_period"), _adjust(self._session, "sync_period")),
            *self._of_algorithm(),
            Control(
                _choice("executor", "executor", _executors(recipe.device)),
                ("executor",),
                lambda s: s.executor,
                _adjust(self._session, "executor"),
                lambda _: "how the device runs its learners",
            ),
        ]

    def _of_algorithm(self) -> list[Control[Setting]]:
        """Return the controls of what belongs to the algorithm."""
        alpha = _slider(ipywidgets.FloatSlider, "alpha", "correction α", 0.005, _MOST_ALPHA, 0.25)
        automatic = ipywidgets.Checkbox(True, description="α = 1/k (auto)", indent=True, style=_NARROW)
        central = _slider(ipywidgets.FloatSlider, "momentum", "central momentum μ", 0.0, 0.99, 0.9)
        local = _slider(ipywidgets.FloatSlider, "local-momentum", "local momentum", 0.0, 0.99, 0.0)
        for slider, step in ((alpha, 0.005), (central, 0.01), (local, 0.01)):
            slider.step, slider.readout_format = step, ".3g"
        what = ("algorithm",)
        return [
            Control(
                automatic.add_class("cb-alpha-auto"),
                what,
                lambda s: _of(s, "alpha") is None if has_field(s.algorithm, "alpha") else None,
                lambda is_auto: self._adjust_algorithm(alpha=None if is_auto else alpha.value),
                _stable_range,
            ),
            Control(alpha, what, _alpha, lambda value: self._adjust_algorithm(alpha=value), _stable_range),
            Control(
                central,
                what,
                lambda s: _of(s, "momentum"),
                lambda value: self._adjust_algorithm(momentum=value),
                lambda s: "of the one model" if isinstance(s.algorithm, SSGD) else "of z",
            ),
            Control(
                local,
                what,
                lambda s: _of(s, "local_momentum"),
                lambda value: self._adjust_algorithm(local_momentum=value),
                lambda _: "of each learner; 0 is the paper's",
            ),
        ]

    def _adjust_kind(self, name: str) -> None:
        """Ask for another algorithm, with what was changed of the present one and both have."""
        present = after(self._session.snapshot).algorithm
        usual, known = type(present)(), {field.name for field in dataclasses.fields(ALGORITHMS[name])}
        changed = {
            field.name
            for field in dataclasses.fields(present)
            if getattr(present, field.name) != getattr(usual, field.name)
        }
        self._session.adjust(algorithm=ALGORITHMS[name](**{key: getattr(present, key) for key in changed & known}))

    def _adjust_algorithm(self, **changes: Any) -> None:
        """Ask for the present algorithm with something changed."""
        present = after(self._session.snapshot).algorithm
        self._session.adjust(algorithm=dataclasses.replace(present, **changes))

    def _make_presets(self) -> ipywidgets.Widget:
        """Return the presets: a choice, why, and a button that takes it."""
        choice = _choice("preset", "preset", [(preset.name, number) for number, preset in enumerate(PRESETS)])
        button = ipywidgets.Button(description="use preset").add_class("cb-use-preset")
        why = ipywidgets.HTML().add_class("cb-why")

        def explain(_: object = None) -> None:
            why.value = html.escape(PRESETS[choice.value].why)

        def use(_: object) -> None:
            preset = PRESETS[choice.value]
            changes = preset.changes(self._session.snapshot.setting, self._recipe)
            self._actions.at_once(lambda: self._session.adjust(**changes))

        explain()
        choice.observe(explain, "value")
        button.on_click(use)
        return ipywidgets.HBox([choice, button, why]).add_class("cb-presets")


def usual(session: Session) -> list[Control[Setting]]:
    """Return the controls that every algorithm has: learners, batch size and learning rate."""
    recipe = session.recipe
    learners = _slider(ipywidgets.IntSlider, "n-learners", "learners k", 1, recipe.max_learners, recipe.learners)
    batch = _slider(ipywidgets.IntSlider, "batch-size", "batch size b", 1, 128, min(128, recipe.batch_size))
    low, high = min(_RATES[0], math.log10(recipe.learning_rate)), max(_RATES[1], math.log10(recipe.learning_rate))
    rate = _slider(ipywidgets.FloatLogSlider, "learning-rate", "learning rate γ", low, high, recipe.learning_rate)
    rate.step, rate.readout_format = 0.05, ".3g"
    return [
        Control(learners, ("learners",), lambda s: s.learners, _adjust(session, "learners"), _aggregate),
        Control(batch, ("batch_size",), lambda s: s.batch_size, _adjust(session, "batch_size"), _aggregate),
        Control(rate, ("learning_rate",), lambda s: s.learning_rate, _adjust(session, "learning_rate"), _rate),
    ]


def _adjust(session: Session, name: str) -> Callable[[Any], None]:
    """Return what asks for another value of a setting."""
    return lambda value: session.adjust(**{name: value})


def _slider(kind: Any, name: str, label: str, least: float, most: float, value: float) -> Any:
    """Return a slider that tells each step of a drag while it is dragged."""
    slider = kind(value=value, min=least, max=most, description=label, style=_NARROW, continuous_update=True)
    return slider.add_class(f"cb-{name}")


def _choice(name: str, label: str, options: list[tuple[str, Any]]) -> Any:
    """Return a choice among few."""
    return ipywidgets.Dropdown(options=options, description=label, style=_NARROW).add_class(f"cb-{name}")


def _executors(device: str) -> list[tuple[str, str]]:
    """Return the executors there are on a device."""
    names = ("loop", "fused", "streams") if device.startswith("cuda") else ("loop", "fused")
    return [(name, name) for name in names]


def after(now: Snapshot) -> Setting:
    """Return the setting that will be in force when all that is requested has been done, as far as it can be."""
    setting = now.setting
    for name, value in now.requested:
        with suppress(ConfigurationError):
            setting = setting.adjusted({name: value})
    return setting


def _of(setting: Setting, name: str) -> Any:
    """Return what the algorithm has by this name, or None."""
    return getattr(setting.algorithm, name) if has_field(setting.algorithm, name) else None


def _alpha(setting: Setting) -> float | None:
    """Return alpha as it is used; None where there is none."""
    has_one = has_field(setting.algorithm, "alpha")
    return resolve_alpha(setting.algorithm, setting.total_learners) if has_one else None


def _stable_range(setting: Setting) -> str:
    """Say which values alpha may have."""
    algorithm = setting.algorithm
    limit = alpha_limit(algorithm, setting.total_learners)
    if limit is None:
        return f"{algorithm_name(algorithm)} corrects nothing"
    reach = (
        "0 ≤ α ≤ 1"
        if isinstance(algorithm, KungFuSMA | PolyakRuppert | AsyncEAMSGD)
        else f"stable: 0 < α < {limit:.3f}"
    )
    return f"{reach}; now {resolve_alpha(algorithm, setting.total_learners):.4g}"


def _rate(setting: Setting) -> str:
    """Say the learning rate exactly: the slider shows the nearest of its steps."""
    return f"γ = {setting.learning_rate:.6g}"


def _aggregate(setting: Setting) -> str:
    """Say what learners and batch size make together."""
    of = "k·b" if setting.devices == 1 else f"on {setting.devices} devices"
    return f"aggregate batch {of} = {setting.aggregate_batch}"
