"""What works on this machine, what doesn't, and what to do about it."""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from crossbow_lab.errors import CrossbowError
from crossbow_lab.resources import resource
from crossbow_lab.runs.environment import code_version, hardware, packages

_OK, _MISSING = "ok", "missing"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    topic : str
        ``hardware``, ``software``, ``executors`` or ``data sets``.
    item : str
        What was looked at.
    status : str
        ``ok`` or ``missing``.
    detail : str
        What was found, or what to do.
    """

    topic: str
    item: str
    status: str
    detail: str


def examine(*, data_dir: str | Path | None = None) -> list[Finding]:
    """Look at hardware, versions, executors and data sets. Changes nothing and downloads nothing.

    Parameters
    ----------
    data_dir : str or Path, optional
        Where to look for data sets; see `crossbow_lab.workloads.load_dataset`.

    Returns
    -------
    list of Finding
        In the order in which they are to be read.
    """
    return [*_hardware(), *_software(), *_executors(), *map(_shortened, find_datasets(data_dir=data_dir))]


def find_datasets(*, data_dir: str | Path | None = None) -> list[Finding]:
    """Say for every named data set where it is, or how to get it. Downloads nothing.

    Parameters
    ----------
    data_dir : str or Path, optional
        Where to look; see `crossbow_lab.workloads.load_dataset`.
    """
    from crossbow_lab.workloads import DATASET_NAMES, load_dataset

    found = []
    for name in DATASET_NAMES:
        try:
            data = load_dataset(name, data_dir=data_dir, download=False)
        except CrossbowError as error:
            found.append(Finding("data sets", name, _MISSING, str(error)))
            continue
        n_test = 0 if data.test is None else len(data.test)
        shape = "x".join(str(length) for length in data.input_shape)
        place = _place(name, data_dir)
        found.append(Finding("data sets", name, _OK, f"{len(data.train):,} + {n_test:,} samples {shape} in {place}"))
    return found


def _shortened(finding: Finding) -> Finding:
    """Leave how to get a data set to ``crossbow-lab data``."""
    what, stop, _ = finding.detail.partition(". ")
    return replace(finding, detail=f"{what}; see crossbow-lab data") if stop else finding


def _place(name: str, data_dir: str | Path | None) -> Path:
    """Return the folder that holds the first file of a data set that is there."""
    import pooch

    from crossbow_lab.workloads.catalogue import PUBLISHED

    if name not in PUBLISHED:
        return resource("data")
    named = data_dir or os.environ.get("CROSSBOW_DATA")
    roots = [Path(named).expanduser().absolute()] if named else []
    if data_dir is None:
        roots.append(Path(pooch.os_cache("crossbow-lab")))
    content = next(iter(PUBLISHED[name].contents))
    places = [root / folder for root in roots for folder in PUBLISHED[name].folders]
    return next(place for place in places if any((place / file).is_file() for file in PUBLISHED[name].holders(content)))


def _hardware() -> Iterator[Finding]:
    """Describe the machine."""
    machine = hardware()
    yield Finding("hardware", "processor", _OK, f"{machine['cpu']}, {machine['cores']} cores for this process")
    if machine["memory_bytes"]:
        yield Finding("hardware", "memory", _OK, f"{machine['memory_bytes'] / 2**30:.1f} GiB")
    for gpu in machine["gpus"]:
        yield Finding("hardware", "GPU", _OK, f"{gpu['name']}, {gpu['memory']}, driver {gpu['driver']}")
    if not machine["gpus"]:
        yield Finding("hardware", "GPU", _MISSING, "no NVIDIA driver answers; everything runs on the processor")
    yield Finding("hardware", "system", _OK, machine["system"])


def _software() -> Iterator[Finding]:
    """List the versions that decide what a run does."""
    code = code_version()
    revision = f" at {code['revision'][:12]}" if code["revision"] else ""
    yield Finding(
        "software", "crossbow_lab", _OK, f"{code['version']}{revision}{' + changes' * bool(code['is_dirty'])}"
    )
    for name, version in packages().items():
        status = _MISSING if version is None else _OK
        yield Finding("software", name, status, version or "reinstall: pip install crossbow-lab")


def _executors() -> Iterator[Finding]:
    """Try every executor and device."""
    for name in ("loop", "fused"):
        yield _attempt(f"{name} on cpu", lambda name=name: _train_briefly(name, "cpu"))  # type: ignore[misc]
    import torch

    if torch.cuda.is_available():
        for name in ("loop", "fused", "streams"):
            yield _attempt(f"{name} on cuda", lambda name=name: _train_briefly(name, "cuda"))  # type: ignore[misc]
    else:
        built = f"torch {torch.__version__} was built {'with' if torch.version.cuda else 'without'} CUDA"
        way = "check the driver with nvidia-smi" if torch.version.cuda else "install torch's CUDA build"
        yield Finding("executors", "cuda", _MISSING, f"{built}; {way}")
    yield _kernels()
    yield _compiler()


def _attempt(item: str, work: Callable[[], str]) -> Finding:
    """Turn work that may fail into a finding."""
    try:
        return Finding("executors", item, _OK, work())
    except Exception as error:  # a doctor reports whatever is wrong
        return Finding("executors", item, _MISSING, f"{type(error).__name__}: {error}")


def _train_briefly(executor: str, device: str) -> str:
    """Train a few iterations and say that it went well."""
    from crossbow_lab.session import Session

    with Session("mlp", "digits", learners=2, batch_size=4, executor=executor, device=device) as session:
        session.run(iterations=3)
        return f"trained the mlp for {session.snapshot.iteration} iterations"


def _kernels() -> Finding:
    """Say whether the CUDA kernels can run here."""
    import torch

    from crossbow_lab.kernels import why_not

    reason = why_not(torch.device("cuda"))
    if reason is not None:
        return Finding("executors", "CUDA kernels", _MISSING, reason)
    return Finding("executors", "CUDA kernels", _OK, f"CuPy is there to compile them for CUDA {torch.version.cuda}")


def _compiler() -> Finding:
    """Look for the C++ compiler that torch.compile's Inductor calls on a CPU."""
    name = os.environ.get("CXX") or next((name for name in ("g++", "clang++") if shutil.which(name)), None)
    if name is not None and shutil.which(name):
        return Finding("executors", "compiler", _OK, f"{shutil.which(name)}; torch.compile can use it")
    how = "apt-get install g++" if platform.system() == "Linux" else "install a C++ compiler"
    detail = f"no C++ compiler, so no torch.compile on the processor; loop and fused don't need it; {how}"
    return Finding("executors", "compiler", _MISSING, detail)
