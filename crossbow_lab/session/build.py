"""Turns a recipe and the user's own objects into a trainer; refuses what can't work before anything trains."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from crossbow_lab.devices.group import Group
from crossbow_lab.errors import (
    ConfigurationError,
    CrossbowError,
    DeviceUnavailable,
    ExecutorError,
    ModelError,
    RecipeError,
)
from crossbow_lab.learners import (
    Loss,
    Preparation,
    check_batch,
    draws_random_numbers,
    learner_loss,
)
from crossbow_lab.learners.dropout import KeyedDropout
from crossbow_lab.session.evaluation import classifies
from crossbow_lab.session.group.start import start_group
from crossbow_lab.session.recipe import Recipe
from crossbow_lab.session.sources import find_dataset, find_loss, find_model, name_of, weights_sha256
from crossbow_lab.session.threads import using_threads
from crossbow_lab.session.trainer import Trainer
from crossbow_lab.workloads import DataSet

Model = str | nn.Module | Callable[[], nn.Module]


@dataclass(frozen=True)
class Built:
    """A trainer with the recipe it follows, executor and threads chosen, and why they were chosen."""

    recipe: Recipe
    trainer: Trainer
    reason: str


@dataclass(frozen=True)
class Own:
    """The user's own objects, in place of what a recipe names.

    Attributes
    ----------
    model, dataset, loss : objects, or None to take what the recipe names.
    data_dir : folder with data sets, or None.
    allow_imports : whether import paths in the recipe may be imported.
    lost_after_s : a device that shows no sign of life for so many seconds is taken for lost.
    """

    model: nn.Module | Callable[[], nn.Module] | None = None
    dataset: object = None
    loss: Callable[..., Any] | None = None
    data_dir: str | None = None
    allow_imports: bool = False
    lost_after_s: float = 8.0


def build(recipe: Recipe, own: Own, group: Group | None = None) -> Built:
    """Find model and data, check that they fit together, choose the executor, and make the trainer.

    Where there are several devices, start the processes of the others, or take those that are there already.

    Raises
    ------
    ConfigurationError, DataError, ModelError, RecipeError, ExecutorError, DeviceUnavailable
        Whatever can't work, said before training starts.
    """
    device = _device(recipe.device)
    data, model, loss = _sources(recipe, own)
    check_batch(data, recipe.setting.total_learners, recipe.batch_size)
    model = model.to(device=device, dtype=getattr(torch, recipe.dtype)).train()
    recipe = _with_content(recipe, data, model)
    if recipe.augment and data.augmentation is None:
        raise ConfigurationError(f"augment is True, but {data.name} has no augmentation; leave it out")
    if recipe.augment is None:
        recipe = replace(recipe, augment=data.augmentation is not None)
    has_dropout = _try_out(recipe, model, data, loss)
    if group is None and recipe.devices:
        group = start_group(recipe, own, own.lost_after_s)
    try:
        trainer = _make_trainer(recipe, model, data, loss, has_dropout=has_dropout, group=group)
        _check_script(recipe, trainer)
        built = _with_executor(recipe, trainer)
        with trainer.together.telling("build", recipe=built.recipe.to_json(), has_dropout=has_dropout):
            trainer.together.agree(lambda: None)
    except BaseException:
        if group is not None:
            group.close()
        raise
    return built


def build_beside(recipe: Recipe, own: Own, group: Group, *, has_dropout: bool) -> Trainer:
    """Make the trainer of a device that follows a leader, from the leader's complete recipe.

    Raises
    ------
    ConfigurationError, DataError, ModelError, RecipeError, ExecutorError, DeviceUnavailable
        As `build`: other data or weights than the leader's among them.
    """
    recipe = replace(recipe, device=group.member.device)
    device = _device(recipe.device)
    data, model, loss = _sources(recipe, own)
    model = model.to(device=device, dtype=getattr(torch, recipe.dtype)).train()
    _with_content(recipe, data, model)
    trainer = _make_trainer(recipe, model, data, loss, has_dropout=has_dropout, group=group)
    trainer.prepare_step(trainer.setting)
    return trainer


def rebuild(built: Built) -> Built:
    """Return the same with a trainer that has trained nothing; what was adjusted before a checkpoint is dropped.

    Raises
    ------
    ConfigurationError
        If the initial weights are gone, or there is no memory for a second trainer beside the first.
    """
    old, recipe = built.trainer, built.recipe
    model = old.work.model
    if weights_sha256(model) != recipe.weights_sha256:
        raise ConfigurationError(
            f"the initial weights of {type(model).__name__} are gone: a checkpoint holds later ones only; make a new "
            "session with the model that the first one was made with"
        )
    with old.together.telling("rebuild"):
        trainer = another(old, recipe)
    old.together.leave()
    return replace(built, trainer=trainer)


def another(old: Trainer, recipe: Recipe) -> Trainer:
    """Return a trainer like another, by this recipe, that has trained nothing."""
    work, group = old.work, old.together.group
    return _make_trainer(recipe, work.model, old.data, old.loss, has_dropout=work.has_dropout, group=group)


def _make_trainer(
    recipe: Recipe, model: nn.Module, data: DataSet, loss: Loss, *, has_dropout: bool, group: Group | None
) -> Trainer:
    """Return a trainer, or say that there is no memory for one."""
    try:
        return Trainer(recipe, model, data, loss, has_dropout=has_dropout, group=group)
    except (RuntimeError, MemoryError) as error:
        raise ConfigurationError(
            f"there is no memory for max_learners={recipe.max_learners} learners of {type(model).__name__} "
            f"({error}); lower max_learners"
        ) from error


def _sources(recipe: Recipe, own: Own) -> tuple[DataSet, nn.Module, Loss]:
    """Return what the recipe names, or the user's own in its place.

    Raises
    ------
    RecipeError
        If something has no name and wasn't given either, or isn't what the recipe names.
    """
    given = {"model": own.model, "dataset": own.dataset, "loss": own.loss}
    if any(getattr(recipe, name) is None and value is None for name, value in given.items()):
        raise RecipeError(f"this recipe can't be run by itself; {recipe.missing}")
    if own.loss is not None and recipe.loss is not None and name_of(own.loss) != recipe.loss:
        raise RecipeError(f"the recipe's loss is {recipe.loss!r}, but another one was given; leave it out")
    dataset = recipe.dataset if own.dataset is None else own.dataset
    data = find_dataset(dataset, data_dir=own.data_dir, allow_imports=own.allow_imports)
    named = recipe.model if own.model is None else own.model
    model = find_model(named, data, seed=recipe.seed, allow_imports=own.allow_imports)
    loss = find_loss(recipe.loss if own.loss is None else own.loss, allow_imports=own.allow_imports)
    return data, model, loss


def _with_content(recipe: Recipe, data: DataSet, model: nn.Module) -> Recipe:
    """Note the content of the initial weights and data, or refuse others than the recipe's.

    Raises
    ------
    RecipeError
        If the recipe was recorded with other weights or data.
    """
    weights = weights_sha256(model)
    for what, recorded, found in (
        ("initial weights", recipe.weights_sha256, weights),
        ("data", recipe.data_sha256, data.fingerprint),
    ):
        if recorded and recorded != found:
            raise RecipeError(
                f"the {what} are not those of the recipe (SHA-256 {found[:12]}…, recorded {recorded[:12]}…); use "
                "the same model code, data and package versions, or clear the recipe's field to go on anyway"
            )
    return replace(recipe, weights_sha256=weights, data_sha256=data.fingerprint)


def _try_out(recipe: Recipe, model: nn.Module, data: DataSet, loss: Loss) -> bool:
    """Run model and loss on one replica's batch; tell whether it has dropout, or raise what should be known.

    The model's buffers and torch's generators are left as they were.
    """
    dtype, device = getattr(torch, recipe.dtype), torch.device(recipe.device)
    first = torch.arange(recipe.setting.replica_batch)
    inputs, targets = Preparation(data, device, dtype)(*data.train.fetch(first))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        has_dropout = draws_random_numbers(model, inputs)
        with KeyedDropout(torch.zeros((), dtype=torch.int64, device=device)), torch.enable_grad():
            outputs = model(inputs)
    except CrossbowError:
        raise
    except Exception as error:  # whatever a user's forward pass raises
        raise ModelError(
            f"{type(model).__name__} fails on one batch of {data.name}, of shape {tuple(inputs.shape)}: {error}; "
            "give a model that takes such batches, or another batch size"
        ) from error
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(before[name])
    with torch.enable_grad():
        _check_outputs(model, data, loss, outputs, targets)
    try:
        draws_random_numbers(_Objective(loss, targets), outputs.detach())
    except ExecutorError as error:
        raise ExecutorError(f"in the loss, not in the model: {error}") from error
    return has_dropout


class _Objective(nn.Module):
    """A loss as a module of the model's outputs."""

    def __init__(self, loss: Loss, targets: Tensor) -> None:
        super().__init__()
        self._loss, self._targets = loss, targets

    def forward(self, outputs: Tensor) -> Tensor:
        """Return the loss of one batch."""
        return learner_loss(self._loss, outputs, self._targets)


def _check_outputs(model: nn.Module, data: DataSet, loss: Loss, outputs: Any, targets: Tensor) -> None:
    """Refuse outputs that don't fit the targets, and losses that nothing can be learnt from."""
    name = type(model).__name__
    if not isinstance(outputs, Tensor):
        raise ModelError(f"{name} returns {type(outputs).__name__}; it must return one tensor")
    shape = tuple(outputs.shape)
    if loss == "cross_entropy" and data.n_classes is None:
        raise ConfigurationError(f'{data.name} has real targets; use loss="mse" or a function of (output, target)')
    if loss == "cross_entropy" and not classifies(data, outputs):
        raise ModelError(
            f"{name} gives outputs of shape {shape} for {len(targets)} samples, but {data.name} has "
            f"{data.n_classes} classes; give the model that many outputs: ({len(targets)}, {data.n_classes})"
        )
    if loss == "mse" and outputs.numel() != targets.numel():
        raise ModelError(
            f"{name} gives outputs of shape {shape}, but the targets have shape {tuple(targets.shape)}; "
            'loss="mse" needs one output for each target value'
        )
    try:
        value = learner_loss(loss, outputs, targets)
    except Exception as error:  # whatever a user's loss raises
        raise ConfigurationError(
            f"the loss fails on outputs of shape {shape} and targets of shape {tuple(targets.shape)}: {error}"
        ) from error
    if not isinstance(value, Tensor) or value.dim() != 0:
        raise ConfigurationError("the loss must return one number for a batch: a tensor of shape ()")
    if not value.requires_grad and any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigurationError(
            "the loss has no gradient: it must depend on the model's output through differentiable operators"
        )


def _check_script(recipe: Recipe, trainer: Trainer) -> None:
    """Refuse a recipe with an adjustment that can't be made.

    Raises
    ------
    RecipeError
        Naming the adjustment.
    """
    setting = trainer.setting
    for adjustment in recipe.adjustments:
        try:
            setting = trainer.check(adjustment.changes, setting)
        except ConfigurationError as error:
            raise RecipeError(
                f"the recipe's adjustment at iteration {adjustment.iteration} can't be made: {error}"
            ) from error


def _with_executor(recipe: Recipe, trainer: Trainer) -> Built:
    """Choose executor and threads where the recipe leaves it open."""
    executor, threads, reason = recipe.executor, recipe.threads, "as the recipe says"
    if recipe.devices and threads is None and recipe.device == "cpu":  # they are processes on the same cores
        threads = max(1, torch.get_num_threads() // recipe.n_devices)
    if executor == "auto":
        with using_threads(threads):
            choice = trainer.choose()
        executor, threads, reason = choice.executor, recipe.threads or choice.threads, choice.reason
    recipe = replace(recipe, executor=executor, threads=threads or torch.get_num_threads())
    trainer.recipe, trainer.setting = recipe, recipe.setting
    return Built(recipe, trainer, reason)


def _device(name: str) -> torch.device:
    """Return a device that is there.

    Raises
    ------
    ConfigurationError, DeviceUnavailable
        If the name means nothing, or this machine has no such device.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigurationError(f'device {name!r} is not a device; use "cpu" or "cuda:0"') from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable(
            f'device {name!r} was asked for, but torch finds no CUDA device here; use device="cpu", or install '
            "a CUDA build of torch and an NVIDIA driver (crossbow-lab doctor says what is missing)"
        )
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise DeviceUnavailable(
            f'device {name!r} can\'t be used here ({error}); use device="cpu" or "cuda:0"'
        ) from error
    return device
