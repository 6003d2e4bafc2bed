"""Before devices train together: they find each other, and make sure that they are of one kind and have one code."""

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]  # which torch's own __init__ does

from crossbow_lab.content import code_sha256
from crossbow_lab.errors import ConfigurationError, DeviceLost

_PATIENCE_S = 120.0
_LOOK_EVERY_S = 0.02


@dataclass(frozen=True)
class Hello:
    """What a member says of itself.

    Attributes
    ----------
    device : such as "cuda:1".
    kind : the device's model and memory.
    code : SHA-256 of the package's code.
    torch : its version.
    """

    device: str
    kind: str
    code: str
    torch: str


def hello_of(device: str) -> Hello:
    """Describe this process."""
    kind = "CPU"
    if device.startswith("cuda"):
        found = torch.cuda.get_device_properties(torch.device(device))
        kind = f"{found.name} with {found.total_memory / 2**30:.0f} GiB"
    return Hello(device, kind, code_sha256(), torch.__version__)


def meet(
    store: Store, rank: int, size: int, hello: Hello, check: Callable[[], None] = lambda: None
) -> tuple[tuple[str, ...], Store]:
    """Wait until all members are there, and hold them against each other.

    The store may hold what members wrote that are gone, for torchrun keeps it when it starts processes again. So every
    member has a number of its own, rank 0 calls the roll by those, and each answers to its own number only.

    Parameters
    ----------
    check : called again and again while it waits; raises where waiting has become hopeless.

    Returns
    -------
    Everybody's device, by rank, and a store of this meeting's own.

    Raises
    ------
    ConfigurationError
        If members are unlike.
    DeviceLost
        If one doesn't come.
    """
    own = {"number": uuid.uuid4().hex, **asdict(hello)}
    store.set(f"hello/{rank}", json.dumps(own))
    attend = _call_the_roll if rank == 0 else _answer
    end_s = time.monotonic() + _PATIENCE_S
    while (roll := attend(store, rank, size, own["number"])) is None:
        check()
        if time.monotonic() > end_s:
            missing = [str(other) for other in range(size) if not store.check([f"hello/{other}"])]
            whom = f"rank {', '.join(missing)}" if missing else "another device"
            raise DeviceLost(f"{whom} did not come within {_PATIENCE_S:g} s")
        time.sleep(_LOOK_EVERY_S)
    members = _hellos(roll)
    check_alike(members)
    return tuple(each.device for each in members), PrefixStore(roll[0]["number"], store)


def _call_the_roll(store: Store, rank: int, size: int, number: str) -> list[dict[str, str]] | None:
    """Write down who is there; return the roll once all have answered to it."""
    del rank
    keys = [f"hello/{other}" for other in range(size)]
    if not store.check(keys):
        return None
    roll = [json.loads(store.get(key)) for key in keys]
    check_alike(_hellos(roll))
    store.set("roll", json.dumps(roll))
    answers = [f"{number}/{member['number']}" for member in roll[1:]]
    return roll if store.check(answers) else None


def _answer(store: Store, rank: int, size: int, number: str) -> list[dict[str, str]] | None:
    """Answer to the roll, and return it, once this process is on it."""
    if not store.check(["roll"]):
        return None
    roll: list[dict[str, str]] = json.loads(store.get("roll"))
    if len(roll) != size or roll[rank]["number"] != number:
        return None
    store.set(f"{roll[0]['number']}/{number}", "here")
    return roll


def _hellos(roll: list[dict[str, str]]) -> list[Hello]:
    """Return what the members on a roll say of themselves."""
    return [Hello(**{name: value for name, value in each.items() if name != "number"}) for each in roll]


def check_alike(members: Sequence[Hello]) -> None:
    """Refuse members that can't train together.

    Raises
    ------
    ConfigurationError
        Naming the ranks that differ from rank 0, in what, and what to do.

    Examples
    --------
    >>> one = Hello("cpu", "CPU", "ab", "2.13.0")
    >>> check_alike([one, one])
    """
    for name, what, remedy in (
        ("code", "has another version of crossbow_lab", "install the same one on all nodes"),
        ("torch", "has another torch", "install the same one on all nodes"),
        ("kind", "is another kind of device", "take devices of one kind: the slowest makes all others wait"),
    ):
        first = getattr(members[0], name)
        for rank, member in enumerate(members):
            found = getattr(member, name)
            if found != first:
                raise ConfigurationError(f"rank {rank} {what}: {found[:40]}, but rank 0 has {first[:40]}; {remedy}")
