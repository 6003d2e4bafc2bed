"""Before devices train together: they find each other, and make sure that they are of one kind and have one code."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch.distributed import Store  # type: ignore[attr-defined]  # which torch's own __init__ does

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


def meet(store: Store, rank: int, size: int, hello: Hello, check: Callable[[], None] = lambda: None) -> tuple[str, ...]:
    """Wait until all members are there, and hold them against each other; return their devices, by rank.

    Parameters
    ----------
    check : called again and again while it waits; raises where waiting has become hopeless.

    Raises
    ------
    ConfigurationError
        If members are unlike.
    DeviceLost
        If one doesn't come.
    """
    store.set(f"hello/{rank}", json.dumps(asdict(hello)))
    keys = [f"hello/{other}" for other in range(size)]
    end_s = time.monotonic() + _PATIENCE_S
    while not store.check(keys):
        check()
        if time.monotonic() > end_s:
            missing = [str(other) for other, key in enumerate(keys) if not store.check([key])]
            raise DeviceLost(f"rank {', '.join(missing)} did not come within {_PATIENCE_S:g} s")
        time.sleep(_LOOK_EVERY_S)
    found = [Hello(**json.loads(store.get(key))) for key in keys]
    check_alike(found)
    return tuple(each.device for each in found)


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
