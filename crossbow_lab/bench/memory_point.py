"""One memory measurement: ``python -m crossbow_lab.bench.memory_point JSON``, in a process of its own."""

import ctypes
import gc
import json
import sys
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from crossbow_lab.bench.memory import activation_bytes, bound_bytes
from crossbow_lab.bench.ours import our_training
from crossbow_lab.bench.subjects import Subject, prepared, subject_data, subject_model

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def main(argument: str) -> None:
    """Measure one point and print the bytes as JSON.

    Parameters
    ----------
    argument : str
        A `Point` as JSON.
    """
    point = json.loads(argument)
    subject = Subject(**point["subject"])
    sys.stdout.write(json.dumps(measure_here(subject, point["executor"], point["n_iterations"])))


def measure_here(subject: Subject, executor: str, n_iterations: int) -> dict[str, Any]:
    """Measure in this process, which should be fresh.

    Parameters
    ----------
    subject : Subject
        What to train.
    executor : str
        With what.
    n_iterations : int
        For how long.

    Returns
    -------
    dict
        ``measured_bytes``, ``library_bytes``, ``bound_bytes``, ``activation_bytes`` and ``n_parameters``; or
        ``skipped``, why not.
    """
    if not (_STATUS.exists() and _CLEAR.exists()):
        return {"skipped": "needs Linux's /proc/self/status and clear_refs"}
    data = subject_data(subject)
    model = subject_model(subject, data)
    loaded_bytes = _resident_bytes()
    batch = prepared(data, subject.batch_size)
    learner_activation_bytes = activation_bytes(model, *batch)
    _plain_step(model, *batch)
    our_training(Subject("logreg", subject.dataset, 1, 1), data, executor).run(2)
    gc.collect()
    _give_back()
    before_bytes = _resident_bytes()
    _CLEAR.write_text("5")  # from here on the peak is that of what follows
    our_training(subject, data, executor).run(n_iterations)
    peak_bytes = _status_bytes("VmHWM")
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "measured_bytes": peak_bytes - before_bytes,
        "library_bytes": before_bytes - loaded_bytes,
        "bound_bytes": bound_bytes(subject.n_learners, n_parameters, learner_activation_bytes),
        "activation_bytes": learner_activation_bytes,
        "n_parameters": n_parameters,
    }


def _plain_step(model: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    """Run the plain module forward and backward, so that the libraries have what they need of it."""
    functional.cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
    model.zero_grad()


def _give_back() -> None:
    """Return freed memory to the system, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _resident_bytes() -> int:
    """Return the memory that this process has in RAM now."""
    return _status_bytes("VmRSS")


def _status_bytes(key: str) -> int:
    """Return one of the sizes that Linux keeps of this process."""
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise KeyError(key)


if __name__ == "__main__":
    main(sys.argv[1])
