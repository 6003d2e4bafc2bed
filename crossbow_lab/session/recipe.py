"""The recipe: all that is needed to run a session again, live adjustments included."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from crossbow_lab.averaging import SMA, Algorithm, algorithm_from_json, algorithm_to_json, check_fits
from crossbow_lab.devices import check_devices, check_spans
from crossbow_lab.errors import ConfigurationError, RecipeError, nearest
from crossbow_lab.learners import check_executor, check_loss
from crossbow_lab.session.checks import check_not_negative, check_positive, check_whole
from crossbow_lab.session.policies import Policy, check_policy, factor_at, policy_from_json, policy_to_json
from crossbow_lab.session.setting import (
    Adjustment,
    Setting,
    adjustments_from_json,
    adjustments_to_json,
    check_algorithm,
)

SCHEMA = 3
_CHOICES = {"dtype": ("float32", "float64"), "batch_norm": ("average", "recalibrate")}
_TEXTS = ("executor", "device", "dtype", "batch_norm", "weights_sha256", "data_sha256")


@dataclass(frozen=True)
class Recipe:
    """What was asked, complete enough to be run again to the same bits on the same hardware and versions.

    Attributes
    ----------
    model : str or None
        A name of the zoo, or the import path ``"package.module:factory"``; None if it can't be named.
    dataset : str or None
        A data set's name, or the import path of a function that returns one; None if it can't be named.
    algorithm : any of `crossbow_lab.averaging.ALGORITHMS`
    learners, batch_size : int >= 1
        Learners per device, which on one device is k; and b, samples per learner per iteration.
    learning_rate : float > 0
    learning_rate_steps : tuple of (epoch, learning rate)
        From that epoch on, that learning rate.
    learning_rate_policy : one of `crossbow_lab.session.policies`, or None
        What learning_rate is multiplied with at each iteration. Not beside learning_rate_steps.
    weight_decay : float >= 0
        L2, part of each learner's gradient.
    loss : str or None
        A named loss, or an import path; None if it can't be named.
    seed : int, 0 <= seed < 2**63
        Seeds the model's weights, the order of samples, augmentation and dropout.
    executor : str
        "loop", "fused", "streams" (on CUDA) or "auto"; a session replaces "auto" by what it chose.
    threads : int or None
        CPU threads; None means as many as torch uses. A session replaces None by what it used.
    device, dtype : str
        Such as "cpu" and "float32". With several devices, the first of them.
    devices : tuple of str
        Two devices or more, one process each, such as ``("cpu", "cpu")``; k is then learners times devices. Empty: one
        device.
    amp : bool
        Mixed precision: forward and backward passes in bfloat16 where torch's autocast finds it safe; weights,
        gradients and averaging stay in float32.
    augment : bool or None
        Whether training samples are varied; None: as the data set says. A session replaces None by what it did.
    batch_norm : str
        Where z's batch-norm statistics come from: "average" over learners, or "recalibrate" on training
        samples.
    evaluate_every : float > 0
        Epochs between evaluations of z.
    max_learners : int
        Rows of each device's bank.
    weights_sha256, data_sha256 : str
        Content of the initial weights and of the data: a replay refuses others. Empty until a session fills
        them.
    adjustments : tuple of Adjustment, in the order in which they are made
    iterations : int or None
        Where the session ended; None if nothing says so.

    Raises
    ------
    ConfigurationError
        If a value is outside its legal range.
    """

    model: str | None
    dataset: str | None
    algorithm: Algorithm = dataclasses.field(default_factory=SMA)
    learners: int = 4
    batch_size: int = 16
    learning_rate: float = 0.05
    learning_rate_steps: tuple[tuple[float, float], ...] = ()
    learning_rate_policy: Policy | None = None
    weight_decay: float = 0.0
    loss: str | None = "cross_entropy"
    seed: int = 0
    executor: str = "auto"
    threads: int | None = None
    device: str = "cpu"
    dtype: str = "float32"
    amp: bool = False
    augment: bool | None = None
    batch_norm: str = "average"
    evaluate_every: float = 1.0
    max_learners: int = 64
    weights_sha256: str = ""
    data_sha256: str = ""
    adjustments: tuple[Adjustment, ...] = ()
    iterations: int | None = None
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check every value against its legal range, and keep numbers as Python's own."""
        self._check_texts()
        for name in ("learners", "batch_size", "max_learners"):
            self._keep(name, check_whole(name, getattr(self, name)))
        for name in ("threads", "iterations"):
            if getattr(self, name) is not None:
                self._keep(name, check_whole(name, getattr(self, name)))
        for name in ("learning_rate", "evaluate_every"):
            self._keep(name, check_positive(name, getattr(self, name)))
        self._keep("weight_decay", check_not_negative("weight_decay", self.weight_decay))
        self._keep("seed", check_whole("seed", self.seed, least=0))
        if self.seed >= 2**63:
            raise ConfigurationError(f"seed is {self.seed}; it must be below 2**63")
        if not isinstance(self.amp, bool) or (self.amp and self.dtype != "float32"):
            raise ConfigurationError(
                f"amp is {self.amp!r} with dtype {self.dtype!r}; it must be True or False, and True needs float32"
            )
        if not isinstance(self.augment, bool | None):
            raise ConfigurationError(f"augment is {self.augment!r}; it must be True, False or None")
        if self.learners > self.max_learners:
            raise ConfigurationError(
                f"learners is {self.learners}, but max_learners is {self.max_learners}; raise max_learners"
            )
        self._keep("learning_rate_steps", _checked_steps(self.learning_rate_steps))
        if self.learning_rate_policy is not None and self.learning_rate_steps:
            raise ConfigurationError(
                f"learning_rate_steps and learning_rate_policy={check_policy(self.learning_rate_policy)} both say what "
                "the rate is; give one of them. MultiStepDecay(at=(epoch, ...), by=0.1) has steps, too"
            )
        if self.learning_rate_policy is not None:
            check_policy(self.learning_rate_policy)
        self._keep("devices", check_devices(self.devices))
        check_fits(check_algorithm(self.algorithm), self.learners * self.n_devices)
        check_spans(self.algorithm, self.n_devices)
        self._keep("adjustments", _checked_order(self.adjustments))

    def _check_texts(self) -> None:
        """Check the settings that are words."""
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str):
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}; it must be a text")
        for name in ("model", "dataset", "loss"):
            if not isinstance(getattr(self, name), str | None):
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}; a recipe needs a name, or None")
        check_executor(self.executor)
        if self.loss is not None and ":" not in self.loss:
            check_loss(self.loss)
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}; {nearest(getattr(self, name), known)}")

    def _keep(self, name: str, value: object) -> None:
        """Set a field while the recipe is made."""
        object.__setattr__(self, name, value)

    @property
    def n_devices(self) -> int:
        """How many devices train."""
        return len(self.devices) or 1

    @property
    def setting(self) -> Setting:
        """What learners train with at the start."""
        policy, rate = self.learning_rate_policy, self.learning_rate
        rate = rate if policy is None else rate * factor_at(policy, 0, 0.0)
        return Setting(self.algorithm, self.learners, self.batch_size, rate, self.executor, self.n_devices)

    @property
    def replayable(self) -> bool:
        """Whether everything in it has a name, so that it can be run elsewhere."""
        return not self.missing

    @property
    def missing(self) -> str:
        """What keeps it from being replayed elsewhere; empty if nothing does."""
        unnamed = [what for what in ("model", "dataset", "loss") if getattr(self, what) is None]
        if not unnamed:
            return ""
        return (
            f"not replayable: the {' and the '.join(unnamed)} can't be named. Give a name, or a function at the "
            "top level of an importable module. Where you still have the object itself, Session(recipe, "
            "own_model=..., dataset=..., loss=...) runs the recipe again"
        )

    def to_json(self) -> str:
        """Return the recipe as JSON text."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["algorithm"] = algorithm_to_json(self.algorithm)
        fields["learning_rate_policy"] = policy_to_json(self.learning_rate_policy)
        fields["adjustments"] = adjustments_to_json(self.adjustments)
        return json.dumps({"schema": SCHEMA, **fields}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Read a recipe; nothing in it is executed or imported.

        Raises
        ------
        RecipeError
            If it isn't JSON, has a newer schema, or holds an unknown field.
        ConfigurationError
            If a value is outside its legal range.
        """
        fields = _fields_of(text, known=[field.name for field in dataclasses.fields(cls)])
        try:
            fields["algorithm"] = algorithm_from_json(fields["algorithm"])
            fields["learning_rate_policy"] = policy_from_json(fields.get("learning_rate_policy"))
            fields["adjustments"] = adjustments_from_json(fields.get("adjustments", ()))
            return cls(**fields)
        except ConfigurationError:
            raise
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RecipeError(f"the recipe is damaged: {error}; take an undamaged copy") from error


def _fields_of(text: str, *, known: list[str]) -> dict[str, Any]:
    """Return the fields of a recipe's JSON text, none of them unknown."""
    try:
        fields = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise RecipeError(f"this is not a recipe: it isn't JSON ({error}); give what to_json() wrote") from error
    if not isinstance(fields, dict) or "schema" not in fields:
        raise RecipeError("this is not a recipe: it has no 'schema'; give what recipe.to_json() wrote")
    schema = fields.pop("schema")
    if isinstance(schema, bool) or not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
        raise RecipeError(
            f"the recipe has schema {schema!r}, but this version reads 1 to {SCHEMA}; upgrade crossbow-lab"
        )
    for name in fields:
        if name not in known:
            raise RecipeError(f"the recipe has an unknown field {name!r}; {nearest(name, known)}")
    missing = [name for name in ("model", "dataset", "algorithm") if name not in fields]
    if missing:
        raise RecipeError(f"the recipe has no {' and no '.join(missing)}; take an undamaged copy")
    return fields


def _checked_steps(steps: Any) -> tuple[tuple[float, float], ...]:
    """Return learning-rate steps whose epochs ascend."""
    try:
        pairs = [(epoch, learning_rate) for epoch, learning_rate in steps]
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"learning_rate_steps is {steps!r}; give pairs of (epoch, learning rate), such as ((10, 0.01),)"
        ) from error
    checked = tuple(
        (
            check_positive("the epoch of a learning-rate step", epoch),
            check_positive("the learning rate of a step", learning_rate),
        )
        for epoch, learning_rate in pairs
    )
    epochs = [epoch for epoch, _ in checked]
    if epochs != sorted(set(epochs)):
        raise ConfigurationError(f"learning_rate_steps are at epochs {epochs}; each must be later than the one before")
    return checked


def _checked_order(adjustments: tuple[Adjustment, ...]) -> tuple[Adjustment, ...]:
    """Return adjustments whose iterations don't descend."""
    adjustments = tuple(adjustments)
    if not all(isinstance(adjustment, Adjustment) for adjustment in adjustments):
        raise ConfigurationError("adjustments must be Adjustment(iteration, {name: value}) objects")
    iterations = [adjustment.iteration for adjustment in adjustments]
    if iterations != sorted(iterations):
        raise ConfigurationError(f"adjustments are at iterations {iterations}; none may be before the last")
    return adjustments
