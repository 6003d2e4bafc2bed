"""Which devices may train together, and which algorithms may span them."""

from typing import Any

import torch

from crossbow_lab.averaging import EASGD, SMA, SSGD, Algorithm, algorithm_name
from crossbow_lab.errors import ConfigurationError, DeviceUnavailable

SPANNING: tuple[type[Algorithm], ...] = (SMA, EASGD, SSGD)
"""Algorithms whose learners need nothing of each other but one sum."""


def find_devices(devices: Any) -> tuple[str, ...]:
    """Return the names of the devices that are asked for.

    Parameters
    ----------
    devices : "all" for every CUDA device of this machine, or a list of names such as ``["cuda:0", "cuda:1"]``.

    Raises
    ------
    ConfigurationError, DeviceUnavailable
        If it is neither, kinds are mixed, a GPU is named twice, or there is no GPU for "all".

    Examples
    --------
    >>> find_devices(["cpu", "cpu"])
    ('cpu', 'cpu')
    """
    if devices == "all":
        count = torch.cuda.device_count()
        if not count:
            raise DeviceUnavailable(
                'devices="all" means every CUDA device, but torch finds none here; use devices=["cpu", "cpu"] to try '
                'several processes on the CPU, or device="cpu" (crossbow-lab doctor says what is missing)'
            )
        return tuple(f"cuda:{index}" for index in range(count))
    if isinstance(devices, str) or not isinstance(devices, list | tuple) or not devices:
        raise ConfigurationError(
            f'devices is {devices!r}; give a list of names such as ["cuda:0", "cuda:1"], or "all"; one device alone is '
            'device="cuda:0"'
        )
    names = tuple(devices)
    if len(names) == 1 and isinstance(names[0], str):
        return names
    return check_devices(names)


def check_devices(devices: Any) -> tuple[str, ...]:
    """Return the devices of a recipe: none, or two at least of one kind.

    Raises
    ------
    ConfigurationError
        If they are something else.
    """
    if not isinstance(devices, list | tuple) or not all(isinstance(name, str) for name in devices):
        raise ConfigurationError(f'devices is {devices!r}; give names such as ("cuda:0", "cuda:1")')
    names = tuple(devices)
    if len(names) == 1:
        raise ConfigurationError(f"devices is {names!r}; one device alone is device={names[0]!r}")
    kinds = {name.split(":")[0] for name in names}
    if len(kinds) > 1:
        raise ConfigurationError(
            f"devices {', '.join(names)} are of {len(kinds)} kinds; all must be of one, because the slowest would make "
            "all others wait and no two kinds round alike"
        )
    if kinds - {"cpu", "cuda"}:
        raise ConfigurationError(f'devices {", ".join(names)}: only "cpu" and "cuda:0", "cuda:1" … can train together')
    if "cuda" in names:
        raise ConfigurationError(f'devices {", ".join(names)}: say which GPU each one is: "cuda:0", "cuda:1"')
    return names


def check_one_device(what: str, n_devices: int) -> None:
    """Refuse what several devices don't do yet.

    Raises
    ------
    ConfigurationError
        Saying what to do instead.

    Examples
    --------
    >>> check_one_device("the timeline", 1)
    """
    if n_devices > 1:
        raise ConfigurationError(f"{what} works on one device, not on {n_devices}; use a session with device=...")


def check_spans(algorithm: Algorithm, n_devices: int) -> None:
    """Refuse an algorithm that can't run on so many devices.

    Raises
    ------
    ConfigurationError
        Naming those that can.

    Examples
    --------
    >>> check_spans(SMA(), 8)
    """
    if n_devices > 1 and not isinstance(algorithm, SPANNING):
        able = ", ".join(algorithm_name(kind()) for kind in SPANNING)
        raise ConfigurationError(
            f"{algorithm_name(algorithm)} runs on one device only; on {n_devices} devices use one of {able}"
        )
