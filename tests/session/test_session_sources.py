"""Names in recipes, and what they stand for."""

import sys
import threading
import types
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from crossbow_lab.errors import ConfigurationError, RecipeError
from crossbow_lab.session.sources import (
    find_dataset,
    find_loss,
    find_model,
    frozen_sha256,
    imported,
    name_of,
    weights_sha256,
)
from crossbow_lab.workloads import as_dataset, load_dataset


def top_level() -> nn.Module:
    """Return a model."""
    return nn.Linear(5, 3)


class TopLevel(nn.Linear):
    """A model that needs no arguments."""

    def __init__(self) -> None:
        super().__init__(5, 3)

    def method(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        ("mlp", "mlp"),
        (top_level, f"{__name__}:top_level"),
        (TopLevel, f"{__name__}:TopLevel"),
        (nn.functional.mse_loss, "torch.nn.functional:mse_loss"),
        (lambda: 3, None),
        (TopLevel.method, None),
        (partial(top_level), None),
        (TopLevel(), None),
        (3, None),
        (None, None),
    ],
)
def test_what_can_be_imported_again_has_a_name(thing: object, name: str | None) -> None:
    """Functions and classes at the top of a module; nothing else."""
    assert name_of(thing) == name


def test_what_hides_behind_another_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function whose module has something else under its name, or that is nowhere to be found."""
    module = types.ModuleType("somewhere")
    monkeypatch.setitem(sys.modules, "somewhere", module)
    namespace: dict[str, Any] = {"__name__": "somewhere"}
    exec("def made(): pass", namespace)  # noqa: S102  (a function with a module of our choice)
    assert name_of(namespace["made"]) is None
    module.made = namespace["made"]  # type: ignore[attr-defined]
    assert name_of(namespace["made"]) == "somewhere:made"
    namespace["__name__"] = "no_such_module"
    exec("def made(): pass", namespace)  # noqa: S102
    assert name_of(namespace["made"]) is None


def test_a_named_data_set_has_its_name(blobs: Any) -> None:
    """Also as an object; one's own has none."""
    assert name_of(load_dataset("digits")) == "digits"
    assert name_of(as_dataset(blobs)) is None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_package:thing", "no_such_package:thing can't be imported .ModuleNotFoundError"),
        ("torch:no_such_thing", "AttributeError"),
        (":thing", "ValueError"),
        ("torch:", "can't be imported"),
        ("bad module:thing", "can't be imported"),
    ],
)
def test_what_cannot_be_imported_says_why(path: str, message: str) -> None:
    """And how a path is written."""
    with pytest.raises(RecipeError, match=message):
        imported(path, allow_imports=True)


def test_nothing_is_imported_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even looked at."""
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"imported {name}"))
    with pytest.raises(RecipeError, match=r"use Session\(recipe, allow_imports=True\)"):
        imported("os:system", allow_imports=False)


class CallableDataset:
    """A map-style Dataset that can also be called."""

    def __call__(self) -> None:
        """Fail."""
        raise AssertionError("it is no factory")

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((2,), float(index)), index % 2


def test_a_dataset_that_is_callable_is_still_a_dataset() -> None:
    """Only functions are called."""
    assert len(find_dataset(CallableDataset(), data_dir=None, allow_imports=False).train) == 4


def test_a_loss_must_be_a_name_or_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """By import path as well."""
    module = types.ModuleType("losses")
    module.three, module.mean = 3, torch.mean  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "losses", module)
    assert find_loss("mse", allow_imports=False) == "mse"
    assert find_loss("losses:mean", allow_imports=True) is torch.mean
    with pytest.raises(ConfigurationError, match="loss must be a name or a function"):
        find_loss("losses:three", allow_imports=True)


def test_models_made_in_many_threads_have_their_own_seeds() -> None:
    """The generator of torch is shared by threads; nobody seeds it under another's hands."""
    data, found = load_dataset("digits"), {}

    def make(seed: int) -> None:
        for turn in range(6):
            model = find_model("mlp" if turn % 2 else _slow, data, seed=seed, allow_imports=False)
            found[seed, turn] = weights_sha256(model)

    def _slow() -> nn.Module:
        return nn.Sequential(*[nn.Linear(64, 64) for _ in range(8)])

    threads = [threading.Thread(target=make, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        assert len({found[seed, turn] for turn in (1, 3, 5)}) == 1
        assert len({found[seed, turn] for turn in (0, 2, 4)}) == 1
    assert len(set(found.values())) == 8


def test_hashes_see_parameters_buffers_and_what_is_frozen() -> None:
    """Each tensor's bytes, of any dtype and shape."""
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.register_buffer("flags", torch.tensor([True, False]))
    before, frozen = weights_sha256(model), frozen_sha256(model)
    model[1].num_batches_tracked.add_(1)
    assert weights_sha256(model) != before
    assert frozen_sha256(model) == frozen
    model[0].requires_grad_(False)
    assert frozen_sha256(model) != frozen
