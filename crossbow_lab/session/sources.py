"""Finds the model, data set and loss that a recipe names, and names those that a user hands over."""

import copy
import hashlib
import importlib
import sys
import threading
from typing import Any

import torch
from torch import Tensor, nn

from crossbow_lab.errors import ModelError, RecipeError
from crossbow_lab.learners import Loss, check_loss
from crossbow_lab.workloads import DataSet, as_dataset, build_model, load_dataset

# torch has one CPU generator for all threads: two sessions made at once must not seed it under each other's hands.
_SEEDING = threading.Lock()


def name_of(thing: object) -> str | None:
    """Return how a recipe can name ``thing``: a string itself, a function's import path, a data set's name.

    None if nothing would find it again.
    """
    if isinstance(thing, str):
        return thing
    if isinstance(thing, DataSet):
        return thing.name if thing.is_named else None
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not callable(thing) or module in (None, "__main__") or name is None or "." in name or "<" in name:
        return None
    found = getattr(sys.modules.get(str(module)), str(name), None)
    return f"{module}:{name}" if found is thing else None


def imported(path: str, *, allow_imports: bool) -> Any:
    """Import what ``"package.module:name"`` names.

    Raises
    ------
    RecipeError
        If imports are not allowed, or there is no such thing.
    """
    if not allow_imports:
        raise RecipeError(
            f"the recipe names code to import: {path}. If you trust it, use Session(recipe, allow_imports=True)"
        )
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # a module may raise anything while it is imported
        raise RecipeError(
            f"{path} can't be imported ({type(error).__name__}: {error}); it must be package.module:name, with "
            "the package installed or on sys.path"
        ) from error


def find_dataset(dataset: object, *, data_dir: str | None, allow_imports: bool) -> DataSet:
    """Return the data set that a name, an import path, a function or the user's own data stands for."""
    if isinstance(dataset, str) and ":" in dataset:
        dataset = imported(dataset, allow_imports=allow_imports)
    if callable(dataset) and not hasattr(dataset, "__getitem__"):  # a map-style Dataset may be callable too
        dataset = dataset()
    if isinstance(dataset, str):
        return load_dataset(dataset, data_dir=data_dir)
    return as_dataset(dataset)


def find_model(model: object, data: DataSet, *, seed: int, allow_imports: bool) -> nn.Module:
    """Return a fresh model: a named one, a factory's, or a copy of the user's own with its present weights.

    A factory runs with torch's CPU generator seeded with ``seed``; the generator's state is put back afterwards.

    Raises
    ------
    ModelError
        If a factory fails, or returns something else than an nn.Module.
    """
    if isinstance(model, nn.Module):
        return _copied(model)
    if isinstance(model, str) and ":" not in model:
        _, target = data.train.fetch(torch.tensor([0]))
        n_outputs = data.n_classes or target.numel()
        with _SEEDING:
            return build_model(model, input_shape=data.input_shape, n_classes=n_outputs, seed=seed)
    factory = imported(model, allow_imports=allow_imports) if isinstance(model, str) else model
    if not callable(factory):
        raise ModelError(f"model is {model!r}; give a name, an nn.Module, or a function that returns one")
    with _SEEDING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            built = factory()
        except Exception as error:  # whatever a user's function raises
            raise ModelError(f"the model factory failed ({type(error).__name__}: {error})") from error
    if not isinstance(built, nn.Module):
        raise ModelError(f"the model factory returned {type(built).__name__}; it must return an nn.Module")
    return built


def _copied(model: nn.Module) -> nn.Module:
    """Return a copy of the user's model."""
    try:
        return copy.deepcopy(model)
    except Exception as error:  # whatever a user's attributes raise
        raise ModelError(
            f"{type(model).__name__} can't be copied ({error}); give a function that returns a new one"
        ) from error


def find_loss(loss: object, *, allow_imports: bool) -> Loss:
    """Return a named loss's name, or the function that was given or that an import path names.

    Raises
    ------
    RecipeError, ConfigurationError
        If it can't be imported, or is neither a known name nor a function.
    """
    if isinstance(loss, str) and ":" in loss:
        loss = imported(loss, allow_imports=allow_imports)
    check_loss(loss)  # type: ignore[arg-type]  # whatever it is, it is refused or a Loss
    return loss  # type: ignore[return-value]


def weights_sha256(model: nn.Module) -> str:
    """Return the SHA-256 of a model's parameters and buffers, in order."""
    return _sha256([*model.parameters(), *model.buffers()])


def frozen_sha256(model: nn.Module) -> str:
    """Return the SHA-256 of the parameters that aren't trained, in order."""
    return _sha256([parameter for parameter in model.parameters() if not parameter.requires_grad])


def _sha256(tensors: list[Tensor]) -> str:
    """Return the SHA-256 of tensors' bytes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
