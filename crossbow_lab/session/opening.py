"""Turns what a user gives a session into what it is made of: a recipe, a trainer, a loop, and where it is recorded."""

import numbers
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossbow_lab.devices import find_devices
from crossbow_lab.devices.group import Group
from crossbow_lab.errors import ConfigurationError, nearest
from crossbow_lab.session import checkpoint as checkpoints
from crossbow_lab.session.build import Built, Own, build
from crossbow_lab.session.checks import check_positive
from crossbow_lab.session.driver import Driver
from crossbow_lab.session.loop import Loop
from crossbow_lab.session.recipe import Recipe
from crossbow_lab.session.requests import Requests
from crossbow_lab.session.sources import name_of
from crossbow_lab.surroundings import RUN_FOLDER_VARIABLE

_SETTINGS = (
    "algorithm",
    "learners",
    "batch_size",
    "learning_rate",
    "seed",
    "learning_rate_steps",
    "learning_rate_policy",
    "weight_decay",
    "executor",
    "device",
    "dtype",
    "amp",
    "augment",
    "batch_norm",
    "evaluate_every",
    "max_learners",
    "threads",
    "devices",
)
_OTHERS = ("model", "dataset", "loss", "data_dir", "folder", "own_model", "allow_imports", "lost_after_s")


def read_arguments(arguments: dict[str, Any]) -> tuple[Recipe, Own]:
    """Return the recipe to follow and the user's own objects.

    Parameters
    ----------
    arguments : those of `crossbow_lab.session.Session`, by name; None where one wasn't given.

    Raises
    ------
    ConfigurationError
        If an argument is unknown, contradicts another or is outside its legal range.
    """
    for name in arguments["unknown"]:
        raise ConfigurationError(f"Session has no setting {name!r}; {nearest(name, (*_SETTINGS, *_OTHERS))}")
    given = {name: arguments[name] for name in _SETTINGS if arguments[name] is not None}
    model, dataset, loss = arguments["model"], arguments["dataset"], arguments["loss"]
    follows_recipe = isinstance(model, Recipe)
    allow_imports = arguments["allow_imports"]
    _path_or_none("folder", arguments["folder"])
    own = Own(
        model=arguments["own_model"] if isinstance(model, Recipe | str) else model,
        dataset=None if isinstance(dataset, str) else dataset,
        loss=None if isinstance(loss, str) else loss,
        data_dir=_path_or_none("data_dir", arguments["data_dir"]),
        allow_imports=not follows_recipe if allow_imports is None else bool(allow_imports),
        lost_after_s=_patience(arguments["lost_after_s"]),
    )
    if isinstance(model, Recipe):
        words = {"dataset": dataset, "loss": loss}
        given |= {name: word for name, word in words.items() if isinstance(word, str)}
        if given:
            raise ConfigurationError(
                f"a recipe was given, and {', '.join(given)} too; change the recipe instead: "
                f"dataclasses.replace(recipe, {next(iter(given))}=...)"
            )
        return model, own
    if arguments["own_model"] is not None:
        raise ConfigurationError("own_model goes with a recipe; give the model itself as model")
    return _new_recipe(model, dataset, loss, given), own


def rebuild_from(path: Path, own: Own, group: Group | None = None) -> tuple[Built, checkpoints.Checkpoint]:
    """Return what a checkpoint was made of, as it was then, and the rest of the checkpoint.

    Its recipe is that of the start, without the adjustments made since.

    Raises
    ------
    CheckpointError
        If the file is damaged, cut short, or written by a newer version.
    """
    past = checkpoints.read(path)
    # The weights of the user's own module are whatever they are: the checkpoint has those that count.
    built = build(past.recipe if own.model is None else replace(past.recipe, weights_sha256=""), own, group)
    try:
        checkpoints.load(path, built.trainer, past)
    except BaseException:
        built.trainer.together.release()
        raise
    start = replace(built.recipe, weights_sha256=past.recipe.weights_sha256, adjustments=(), iterations=None)
    return replace(built, recipe=start), past


def get_ready(built: Built, folder: Path | None, past: checkpoints.Checkpoint | None) -> tuple[Loop, Driver, Requests]:
    """Return what trains: the loop, who drives it, and what is asked of it.

    An executor that can't run the model says so now, before anything is written.
    """
    built.trainer.prepare_step(built.trainer.setting)
    try:
        loop = Loop(built, _record_folder(folder), past)
    except BaseException:
        built.trainer.together.release()
        raise
    driver = Driver(loop)
    built.trainer.together.when_lost(driver.lose)
    return loop, driver, Requests(loop, driver)


def _record_folder(folder: Path | None) -> Path | None:
    """Return where a session is recorded as it trains: the folder that is given, else a new one of the run's record.

    Inside a run (see `crossbow_lab.runs`) every session is on disk while it trains, so that it can be watched, and a
    kill loses nothing. Elsewhere a session without a folder lives in memory.
    """
    if folder is not None:
        return folder
    run_folder = os.environ.get(RUN_FOLDER_VARIABLE)
    if not run_folder:
        return None
    number = 1
    while True:
        made = Path(run_folder, "sessions", f"unrecorded-{number}")
        try:
            made.mkdir(parents=True)
        except FileExistsError:  # another session's, perhaps of another thread
            number += 1
        except OSError as error:
            raise ConfigurationError(f"the run's record {run_folder} can't be written to ({error})") from error
        else:
            return made


def _new_recipe(model: Any, dataset: Any, loss: Any, given: dict[str, Any]) -> Recipe:
    """Return the recipe of a session that is made from settings."""
    if not isinstance(model, str) and not callable(model):
        raise ConfigurationError(f"model is {model!r}; give a name, an nn.Module, or a function that returns one")
    learners = given.get("learners")
    if "devices" in given:
        if "device" in given:
            raise ConfigurationError(f"device={given['device']!r} and devices={given['devices']!r}: give one of them")
        names = find_devices(given.pop("devices"))
        given |= {"device": names[0], "devices": names if len(names) > 1 else ()}
    if "max_learners" not in given and isinstance(learners, numbers.Integral):
        given["max_learners"] = max(Recipe.max_learners, int(learners))
    return Recipe(
        model=name_of(model),
        dataset="digits" if dataset is None else name_of(dataset),
        loss="cross_entropy" if loss is None else name_of(loss),
        **given,
    )


def _patience(seconds: Any) -> float:
    """Return how long a device may be silent."""
    return Own.lost_after_s if seconds is None else check_positive("lost_after_s", seconds)


def _path_or_none(name: str, path: Any) -> str | None:
    """Return a path as text, None for none."""
    if path is not None and not isinstance(path, str | Path):
        raise ConfigurationError(f"{name} is {path!r}; it must be a path")
    return None if path is None else str(path)
