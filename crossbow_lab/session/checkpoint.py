"""Checkpoints: one safetensors file with all that is needed to go on to the same bits. Reading executes nothing."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from crossbow_lab.averaging import algorithm_from_json, algorithm_to_json, local_momentum
from crossbow_lab.errors import CheckpointError, CrossbowError
from crossbow_lab.session.checks import check_not_negative, check_whole
from crossbow_lab.session.history import entries_from_json
from crossbow_lab.session.instruments import LossSums
from crossbow_lab.session.recipe import Recipe
from crossbow_lab.session.setting import Adjustment, Setting, adjustments_from_json, adjustments_to_json
from crossbow_lab.session.sources import frozen_sha256
from crossbow_lab.session.trainer import Progress, Trainer

SCHEMA = 3
_FORMAT, _STATE = "crossbow_lab checkpoint", "state"
_CENTRAL = ("centre", "centre_velocity")


@dataclass(frozen=True)
class Memory:
    """What an observer knows beside the record.

    Attributes
    ----------
    elapsed_s, evaluation_s : the clocks.
    losses : summed since the last row of the history.
    """

    elapsed_s: float
    evaluation_s: float
    losses: LossSums


@dataclass(frozen=True)
class Checkpoint:
    """All of a checkpoint that isn't a tensor.

    Attributes
    ----------
    recipe : with the adjustments made so far.
    script, end : adjustments still to be made and the iteration to end at, where a recipe was being replayed.
    setting, progress : of the trainer.
    frozen_sha256 : content of the model's parameters that aren't trained, and so aren't in the file.
    entries : of the record, by log.
    memory : of the observer.
    """

    recipe: Recipe
    script: tuple[Adjustment, ...]
    end: int | None
    setting: Setting
    progress: Progress
    frozen_sha256: str
    entries: dict[str, list[Any]]
    memory: Memory


def save(path: Path, trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint; ``path`` holds either the old file or the whole new one.

    Parameters
    ----------
    checkpoint : JSON values of `Checkpoint`'s recipe, script, end, entries and memory.

    Raises
    ------
    CheckpointError
        If z isn't finite, so that nobody could go on from it, or the file can't be written.
    """
    if not bool(torch.isfinite(trainer.bank.centre).all()):
        raise CheckpointError(
            "training has diverged: nothing could go on from this checkpoint, so none was written; "
            "restore an earlier one"
        )
    state = {
        "schema": SCHEMA,
        **_standing(trainer.setting, trainer.progress),
        "frozen_sha256": frozen_sha256(trainer.work.model),
        **checkpoint,
    }
    tensors = {name: place.contiguous() for name, place in collected(trainer).items()}
    # As a tensor: a long history would be longer than safetensors' header may be.
    tensors[_STATE] = torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, draft, metadata={"format": _FORMAT})
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        draft.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path} can't be written ({error}); training is as it was: free space, or give another path"
        ) from error


def collected(trainer: Trainer) -> dict[str, Tensor]:
    """Return what a checkpoint holds, by name, with the rows of all devices' learners where there are several."""
    places, group = _places(trainer), trainer.together.group
    if group is None or not group.is_open:
        return places
    with trainer.together.telling("collect"):
        return {name: place if name in _CENTRAL else group.gather_rows(place) for name, place in places.items()}


def _places(trainer: Trainer) -> dict[str, Tensor]:
    """Return the parts of the bank that a checkpoint holds, by their names in the file."""
    bank, (weights, _, velocity) = trainer.bank, trainer.state
    places = {"weights": weights, "centre": bank.centre, "centre_velocity": bank.centre_velocity}
    if velocity is not None:
        places["local_velocity"] = velocity
    replicas = trainer.setting.replicas
    return places | {f"buffers.{name}": rows[:replicas] for name, rows in bank.buffers.items()}


def read(path: Path) -> Checkpoint:
    """Return everything of a checkpoint that isn't a tensor.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, not ours, or newer than this version.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; give the path that session.checkpoint(path) wrote")
    try:
        with safe_open(path, framework="pt") as file:
            is_ours = (file.metadata() or {}).get("format") == _FORMAT
            text = bytes(file.get_tensor(_STATE).numpy()) if is_ours else b""
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged, cut short or no checkpoint ({error}); use an earlier checkpoint"
        ) from error
    if not is_ours:
        raise CheckpointError(
            f"{path} is a safetensors file, but not a checkpoint of crossbow_lab; "
            "give the path that session.checkpoint(path) wrote"
        )
    try:
        return _parsed(path, json.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        reason = str(error) if isinstance(error, CrossbowError) else f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{path} is damaged ({reason}); use an earlier checkpoint") from error


def _parsed(path: Path, state: dict[str, Any]) -> Checkpoint:
    """Return a checkpoint from its JSON values; raises what Python raises where they are something else."""
    if state["schema"] > SCHEMA:
        raise CheckpointError(f"{path} has schema {state['schema']}, newer than {SCHEMA}; upgrade crossbow-lab")
    setting, progress = _stood(state)
    for name, value in asdict(progress).items():
        if name == "base_rate":
            check_not_negative(name, value)
        else:
            check_whole(name, int(value) if name == "restart_due" else value, least=0)
    memory, losses = state["memory"], state["memory"]["losses"]
    return Checkpoint(
        recipe=Recipe.from_json(state["recipe"]),
        script=adjustments_from_json(state["script"]),
        end=None if state["end"] is None else check_whole("end", state["end"]),
        setting=setting,
        progress=progress,
        frozen_sha256=str(state["frozen_sha256"]),
        entries=entries_from_json(state["entries"]),
        memory=Memory(
            elapsed_s=check_not_negative("elapsed_s", memory["elapsed_s"]),
            evaluation_s=check_not_negative("evaluation_s", memory["evaluation_s"]),
            losses=LossSums(
                sums=tuple(float(value) for value in losses["sums"]),
                counts=tuple(int(value) for value in losses["counts"]),
                sum=float(losses["sum"]),
                iterations=int(losses["iterations"]),
            ),
        ),
    )


def to_json(
    recipe: Recipe, script: tuple[Adjustment, ...], end: int | None, entries: dict[str, Any], memory: Memory
) -> dict[str, Any]:
    """Return what `save` writes beside the trainer's own state."""
    return {
        "recipe": recipe.to_json(),
        "script": adjustments_to_json(script),
        "end": end,
        "entries": entries,
        "memory": asdict(memory),
    }


def load(path: Path, trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's tensors and numbers into a trainer that was built from its recipe.

    Raises
    ------
    CheckpointError
        If a tensor is missing, or has another shape or dtype than the trainer's, or the model's frozen parameters
        are others.
    """
    if frozen_sha256(trainer.work.model) != checkpoint.frozen_sha256:
        raise CheckpointError(
            f"the model's parameters that aren't trained are not those of {path}, which doesn't hold them; "
            "give the model with the weights that it had"
        )
    standing = _standing(checkpoint.setting, checkpoint.progress)
    with safe_open(path, framework="pt") as file, torch.no_grad():
        whole = _read_places(path, file, trainer, checkpoint.setting)
        with trainer.together.telling("load", standing=standing):
            put(trainer, standing, whole)


def put(trainer: Trainer, standing: dict[str, Any], whole: dict[str, Tensor] | None) -> None:
    """Make a trainer stand where a checkpoint stood.

    Parameters
    ----------
    standing : setting and progress, as JSON values
    whole : what the checkpoint holds, by name; None on a device that the leader hands its part.
    """
    trainer.take_over(*_stood(standing))
    group = trainer.together.group
    for name, place in _places(trainer).items():
        if group is None and whole is not None:
            place.copy_(whole[name])
        elif group is not None and name in _CENTRAL:
            if whole is not None:
                place.copy_(whole[name])
            group.copy(place)
        elif group is not None:
            group.scatter_rows(None if whole is None else whole[name], place)


def _read_places(path: Path, file: Any, trainer: Trainer, setting: Setting) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, each of the shape and dtype that the trainer's bank asks for."""
    found = {}
    for name, (shape, dtype) in _shapes(trainer, setting).items():
        try:
            tensor = file.get_tensor(name)
        except SafetensorError as error:
            raise CheckpointError(f"{path} doesn't fit its own recipe: {error}") from error
        if tensor.shape != shape or tensor.dtype != dtype:
            raise CheckpointError(
                f"{path} doesn't fit its own recipe: {name} is {tensor.dtype} of shape {tuple(tensor.shape)}, "
                f"not {dtype} of shape {tuple(shape)}; use an undamaged checkpoint"
            )
        found[name] = tensor
    return found


def _shapes(trainer: Trainer, setting: Setting) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Return the shape and dtype of everything that a checkpoint with this setting holds, by name."""
    bank, k = trainer.bank, setting.total_replicas
    rows = {"weights": bank.weights} | {f"buffers.{name}": each for name, each in bank.buffers.items()}
    if local_momentum(setting.algorithm) > 0:
        rows["local_velocity"] = bank.local_velocity
    places = {name: torch.Size((k, *each.shape[1:])) for name, each in rows.items()}
    centre = dict.fromkeys(_CENTRAL, (bank.centre.shape, bank.centre.dtype))
    return centre | {name: (shape, rows[name].dtype) for name, shape in places.items()}


def _standing(setting: Setting, progress: Progress) -> dict[str, Any]:
    """Return how a trainer stands as JSON values."""
    written = {**asdict(setting), "algorithm": algorithm_to_json(setting.algorithm)}
    return {"setting": written, "progress": asdict(progress)}


def _stood(state: dict[str, Any]) -> tuple[Setting, Progress]:
    """Read what `_standing` wrote; every value of the setting is checked."""
    algorithm = algorithm_from_json(state["setting"]["algorithm"])
    setting = Setting(**{**state["setting"], "algorithm": algorithm})
    values = {name: value for name, value in vars(setting).items() if name != "devices"}
    return setting.adjusted(values), Progress(**state["progress"])
