"""A process that torchrun has started, one of several on one machine or more: leads or follows, without a notebook.

``torchrun --nnodes=2 --nproc-per-node=8 -m crossbow_lab train recipe.json --folder record``: rank 0 leads and writes
the record; when torchrun has lost a worker and starts all of them again, they go on from the last checkpoint there.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from torch.distributed import rendezvous  # type: ignore[attr-defined]  # which torch's own __init__ does

from crossbow_lab.devices.group import Group, Member
from crossbow_lab.devices.meeting import hello_of, meet
from crossbow_lab.errors import ConfigurationError, DeviceUnavailable
from crossbow_lab.session import checkpoint as checkpoints
from crossbow_lab.session.build import Own, build
from crossbow_lab.session.group.follower import Follower
from crossbow_lab.session.opening import rebuild_from
from crossbow_lab.session.recipe import Recipe
from crossbow_lab.session.session import Session

_TIMEOUT = timedelta(seconds=60)
_LAST = "last.safetensors"
_RECORD = ("history.jsonl", "learners.jsonl", "events.jsonl")


def is_launched() -> bool:
    """Tell whether torchrun, or somebody with its environment variables, has started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def lead_or_follow(recipe: Recipe, own: Own, folder: Path | None, lead: Callable[[Session], None]) -> None:
    """Train as one of several processes; returns when all of them are done.

    Parameters
    ----------
    recipe : the same everywhere; its learners are those of each device.
    folder : where rank 0 keeps the record, and looks for the checkpoint to go on from; on several machines all must
        see the same one, if any but the first may be rank 0 after a restart.
    lead : called on rank 0 with the session, to train it.

    Raises
    ------
    ConfigurationError
        If the recipe is for another number or kind of devices, the master's port is taken, or processes are unlike.
    DeviceLost
        If another process is gone, or hasn't answered for a minute.
    """
    device = _own_device(recipe)
    group, devices = _join(device)
    if not group.leads:
        Follower(group, own).follow()
        return
    last = None if folder is None else folder / _LAST
    threads = recipe.threads or torch.get_num_threads()  # torchrun has given each process its share
    if last is not None and last.exists():
        _check_fits(checkpoints.read(last).recipe, devices, str(last))
        built, past = rebuild_from(last, own, group)
        _set_aside(last.parent)
        session = Session._of(built, past, folder)
    else:
        recipe = replace(recipe, device=devices[0], devices=devices, threads=threads)
        session = Session._of(build(recipe, own, group), None, folder)
    with session:
        lead(session)
        group.order("end")


def _own_device(recipe: Recipe) -> str:
    """Return this process's device, of the recipe's kind.

    Raises
    ------
    ConfigurationError, DeviceUnavailable
        If the recipe is for another number of devices, or there are too few here.
    """
    size = int(os.environ["WORLD_SIZE"])
    if recipe.devices and len(recipe.devices) != size:
        raise ConfigurationError(
            f"the recipe is for {len(recipe.devices)} devices, but {size} processes were started; start as many, or "
            "take devices out of the recipe to train as many learners on each"
        )
    if not recipe.device.startswith("cuda"):
        return recipe.device
    index = int(os.environ.get("LOCAL_RANK", "0"))
    if index >= torch.cuda.device_count():
        raise DeviceUnavailable(
            f"local rank {index} has no GPU: torch finds {torch.cuda.device_count()} here; start one process for each, "
            f"--nproc-per-node={torch.cuda.device_count()}"
        )
    return f"cuda:{index}"


def _join(device: str) -> tuple[Group, tuple[str, ...]]:
    """Return the group, and everybody's device."""
    try:
        store, rank, size = next(iter(rendezvous("env://")))
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise ConfigurationError(
            f"no meeting at {place} ({str(error).splitlines()[0]}); if another program has the port, give another: "
            "torchrun --master-port=29511, or --standalone on one machine"
        ) from error
    devices, store = meet(store, rank, size, hello_of(device))
    is_local = os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]
    return Group(store, Member(rank, size, device), is_local=is_local, timeout=_TIMEOUT), devices


def _check_fits(recipe: Recipe, devices: tuple[str, ...], path: str) -> None:
    """Refuse a checkpoint of another layout."""
    if recipe.devices != devices:
        raise ConfigurationError(
            f"{path} was trained on {', '.join(recipe.devices) or recipe.device}, but here are {', '.join(devices)}; "
            "start as many processes as then, or give another --folder"
        )


def _set_aside(folder: Path) -> None:
    """Move the record of an interrupted run away: the checkpoint holds all of it that is gone on from."""
    number = 1
    while (aside := folder / f"interrupted-{number}").exists():
        number += 1
    aside.mkdir()
    for name in _RECORD:
        if (folder / name).exists():
            (folder / name).rename(aside / name)
