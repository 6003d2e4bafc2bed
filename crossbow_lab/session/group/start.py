"""Starts the other devices of a session: a process each, with a trainer that follows this one's."""

import pickle
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # which torch's own __init__ does

from crossbow_lab.devices.group import Group, Member, check_nccl
from crossbow_lab.devices.meeting import hello_of, meet
from crossbow_lab.devices.workers import Workers
from crossbow_lab.errors import ConfigurationError
from crossbow_lab.session.recipe import Recipe

FOLLOWER = "crossbow_lab.session.group.follower"
STORE_TIMEOUT = timedelta(seconds=120)
_HERE = "127.0.0.1"


@dataclass(frozen=True)
class Job:
    """What a follower is sent.

    Attributes
    ----------
    member : which one it is.
    port : where it finds the others, on this machine.
    own : the user's own objects, `crossbow_lab.session.build.Own`.
    """

    member: Member
    port: int
    own: Any


def start_group(recipe: Recipe, own: Any, lost_after_s: float) -> Group:
    """Start a process for each device but the first, and return the group that this process leads.

    Parameters
    ----------
    own : Own
    lost_after_s : see `crossbow_lab.devices.workers.Workers`.

    Raises
    ------
    ConfigurationError
        If another process can't be given the user's own objects, a GPU is named twice, or devices are unlike.
    DeviceUnavailable, DeviceLost
        If a device isn't there, or its process fails.
    """
    _check(recipe, own)
    size = recipe.n_devices
    store = TCPStore(_HERE, 0, is_master=True, wait_for_workers=False, timeout=STORE_TIMEOUT)
    jobs = [Job(Member(rank, size, recipe.devices[rank]), store.port, own) for rank in range(1, size)]
    workers = Workers(FOLLOWER, recipe.devices, jobs, lost_after_s)

    def check() -> None:
        if workers.loss is not None:
            raise workers.loss

    try:
        _, met = meet(store, 0, size, hello_of(recipe.device), check)
        return Group(met, Member(0, size, recipe.device), is_local=True, workers=workers)
    except BaseException:
        workers.close()
        raise


def meet_leader(job: Job) -> Group:
    """Return a follower's group."""
    store = TCPStore(_HERE, job.port, is_master=False, timeout=STORE_TIMEOUT)
    _, met = meet(store, job.member.rank, job.member.size, hello_of(job.member.device))
    return Group(met, job.member, is_local=True)


def _check(recipe: Recipe, own: Any) -> None:
    """Refuse what other processes can't be given."""
    if recipe.device.startswith("cuda"):
        check_nccl()
        twice = sorted({name for name in recipe.devices if recipe.devices.count(name) > 1})
        if twice:
            raise ConfigurationError(f"{', '.join(twice)} is named twice in devices; every GPU has one process")
    try:
        content = pickle.dumps(own)
    except Exception as error:  # whatever a user's object raises
        raise ConfigurationError(
            f"the model, data or loss can't be given to another process ({error}); {_REMEDY}"
        ) from error
    if b"__main__" in content:
        raise ConfigurationError(f"the model, data or loss is made of code in __main__; {_REMEDY}")


_REMEDY = (
    "on several devices each has a process of its own, which must find the code: put the class or function into a "
    "module (net.py beside the notebook), import it from there, and restart the kernel"
)
